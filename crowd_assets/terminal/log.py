"""What is seen of a round that runs in this terminal: its log as plain lines, or as JSON for programs, its figures as tables.

Belongs here: printing. Does not belong here: computing what is printed.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import polars as pl
from dagster import DagsterEvent, Field, InitLoggerContext, LoggerDefinition, logger

from crowd_assets.terminal.printing import print_table
from resources.common.progress import is_shown_as_a_bar
from resources.home.names import ROUND_TAG

OURS = ("crowd_assets", "resources", "sensors")


def console_logger(log_format: str) -> LoggerDefinition:
    """The log of a run on stderr, as ``CROWD_LOG_FORMAT`` says: ``text`` without its id and time on every line, or ``json``."""

    @logger(
        config_schema={
            "log_level": Field(str, default_value="INFO", is_required=False, description="Least level shown.")
        },
        description="The log of a run as plain lines, or as JSON.",
    )
    def console(context: InitLoggerContext) -> logging.Logger:
        level = logging.getLevelName(str(context.logger_config["log_level"]).upper())
        console_log = logging.Logger("crowd", level=level)
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter() if log_format == "json" else _PlainFormatter())
        handler.addFilter(lambda record: not is_shown_as_a_bar())
        console_log.addHandler(handler)
        return console_log

    return console


def use_json_lines() -> None:
    """Write what our modules log outside of runs as JSON, too: a warning that a store does not answer, say."""
    for name in OURS:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).propagate = False


class JsonFormatter(logging.Formatter):
    """One JSON object a line: when, level, logger and message; in a run also its id, job, round, step, and why a step failed."""

    def format(self, record: logging.LogRecord) -> str:
        details: dict[str, Any] = getattr(record, "dagster_meta", {})
        tags = details.get("job_tags") or {}
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": details.get("orig_message") or record.getMessage(),
            "run_id": details.get("run_id"),
            "job": details.get("job_name"),
            "round_id": tags.get(ROUND_TAG),
            "step": details.get("step_key"),
            "error": _reason(details) or (self.formatException(record.exc_info) if record.exc_info else None),
        }
        return json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=False)


def _reason(details: dict[str, Any]) -> str | None:
    """Why a step failed: class and message of what it raised, without what Dagster wraps around it."""
    event = details.get("dagster_event")
    error = event.step_failure_data.error if isinstance(event, DagsterEvent) and event.is_step_failure else None
    if error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    return error.message.strip() if error is not None else None


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        details: dict[str, Any] = getattr(record, "dagster_meta", {})
        step = details.get("step_key") or ""
        message = details.get("orig_message") or record.getMessage()
        level = "" if record.levelno < logging.WARNING else f"{record.levelname} "
        text = f"  {level}{f'{step}: ' if step else ''}{message}"
        if reason := _reason(details):
            text += f"\n  {level}{step}: {reason}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def show(title: str, frame: pl.DataFrame) -> None:
    """Print a frame as a table."""
    print_table(title, [(name, type_.is_numeric()) for name, type_ in frame.schema.items()], frame.iter_rows())
