"""What a person at a terminal sees: the log of a run as plain lines, and the figures of a round as tables.

Belongs here: printing. Does not belong here: computing what is printed.
"""

import logging
from typing import Any

import polars as pl
from dagster import Field, InitLoggerContext, logger
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resources.plain_text import one_line

console = Console(highlight=False, soft_wrap=True)


@logger(
    config_schema={"log_level": Field(str, default_value="INFO", is_required=False, description="Least level shown.")},
    description="The log of a run as plain lines.",
)
def plain_lines(context: InitLoggerContext) -> logging.Logger:
    """A console logger without the run's id and time on every line."""
    level = logging.getLevelName(str(context.logger_config["log_level"]).upper())
    found = logging.Logger("crowd", level=level)
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter())
    found.addHandler(handler)
    return found


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        details: dict[str, Any] = getattr(record, "dagster_meta", {})
        step = details.get("step_key") or ""
        message = details.get("orig_message") or record.getMessage()
        level = "" if record.levelno < logging.WARNING else f"{record.levelname} "
        text = f"  {level}{f'{step}: ' if step else ''}{message}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def show(title: str, frame: pl.DataFrame) -> None:
    """Print a frame as a table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, type_ in frame.schema.items():
        table.add_column(name.replace("_", " "), justify="right" if type_.is_numeric() else "left")
    for row in frame.iter_rows():
        table.add_row(*("–" if cell is None else escape(_shown(cell)) for cell in row))
    console.print(table)
    console.print()


def _shown(cell: object) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else one_line(str(cell))
