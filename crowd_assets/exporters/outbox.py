"""Comparison tasks as the outbox publishes them, read from a file or from the whole folder.

Belongs here: that. Does not belong here: publishing them (see ``crowd_assets.assets.procurement``).
"""

from pathlib import Path
from typing import Any

from crowd_assets.importers.records import Skipped, SourceError
from crowd_assets.importers.rows import read_rows

FIELDS = ("comparison_id", "prompt", "response_a", "response_b")


def read_comparisons(source: Path) -> list[dict[str, Any]]:
    """The comparisons of a file or of all files of a folder, each once.

    Raises:
        SourceError: there is none, or one is broken: what the platform wrote itself is not repaired.
    """
    files = sorted(source.glob("r*.jsonl")) if source.is_dir() else [source]
    comparisons: dict[str, dict[str, Any]] = {}
    for file in files:
        for row in read_rows(file):
            if isinstance(row, Skipped):
                raise SourceError(f"{file}, line {row.row}: {row.reason}")
            number, task = row
            if not all(isinstance(task.get(name), str) for name in FIELDS):
                raise SourceError(f"{file}, line {number}: expected {', '.join(FIELDS)}")
            comparisons[task["comparison_id"]] = task
    if not comparisons:
        raise SourceError(
            f"{source}: no comparison there; rounds publish comparisons in comparison_tasks of the outbox"
        )
    return list(comparisons.values())
