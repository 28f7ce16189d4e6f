"""Records, and rows of every format, that tests of importers share."""

import json
from pathlib import Path

from crowd_assets.importers import records
from crowd_assets.importers.records import demonstration, start_of

START = start_of(records.DEFAULT_START)


FORMATS = [
    "goemotions",
    "convincing-arguments",
    "trl-preference",
    "trl-prompt-completion",
    "table",
    "csv",
    "auto",
    "ultrafeedback",
    "oasst",
    "wmt",
    "potato",
    "label-studio",
    "argilla",
]


def event(number: int, **payload: object) -> dict[str, object]:
    return demonstration(f"c{number % 3}", "p", f"response {number}", START, event_id=f"e{number}", **payload)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
