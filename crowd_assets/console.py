"""What a person sees of a round that runs in this terminal: its log as plain lines, its figures as tables.

Belongs here: printing. Does not belong here: computing what is printed.
"""

import logging
from typing import Any

import polars as pl
from dagster import Field, InitLoggerContext, logger

from crowd_assets.terminal import print_table
from resources.progress import is_shown_as_a_bar


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
    handler.addFilter(lambda record: not is_shown_as_a_bar())
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
    print_table(title, [(name, type_.is_numeric()) for name, type_ in frame.schema.items()], frame.iter_rows())
