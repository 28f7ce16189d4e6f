"""Which layout a file has, by the keys of its first rows.

Belongs here: knowing layouts, and the words for one that nobody knows. Does not belong here: reading them (see each format).
"""

import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from crowd_assets.importers.chat import dialogue
from crowd_assets.importers.mapping import ready_mappings
from crowd_assets.importers.records import Skipped, SourceError, excerpt
from crowd_assets.importers.rows import (
    PARQUET,
    ZIP,
    begins_with,
    is_json,
    mark_of,
    read_rows,
    refuse_others,
    refuse_unmarked,
    workbook,
)
from crowd_assets.importers.trl_preference import CHOSEN
from resources.feedback.events import KINDS

LOOKED_AT = 3
WITHOUT_TEXTS = "add columns with the five systems' texts and `import table` with a mapping of responses and ranks, where rank is not -1"
Cells = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """What a file is: the importer that reads it, and the options that it needs."""

    command: str
    options: tuple[str, ...] = ()

    def shown(self, source: Path) -> str:
        """The command as it is typed."""
        return " ".join(["import", self.command, str(source), *self.options, "--out FOLDER"])


def _has(*names: str) -> Callable[[Cells], bool]:
    return lambda cells: all(cells.get(name) is not None for name in names)


def _is_label_studio(cells: Cells) -> bool:
    listed = cells.get("annotations", cells.get("completions"))
    of_tasks = isinstance(listed, list) and all(isinstance(each, dict) and "result" in each for each in listed)
    of_storage = "result" in cells and isinstance(cells.get("task"), dict)
    return of_storage or ("data" in cells and of_tasks) or {"annotator", "annotation_id"} <= set(cells)


def _is_argilla(cells: Cells) -> bool:
    of_version_1 = any(
        isinstance(value, list)
        and value
        and all(isinstance(each, dict) and {"user_id", "value"} <= set(each) for each in value)
        for value in cells.values()
    )
    return (
        ("fields" in cells and "responses" in cells)
        or of_version_1
        or any(str(name).endswith(".responses") for name in cells)
    )


def _is_ultrafeedback(cells: Cells) -> bool:
    listed = cells.get("completions")
    return "instruction" in cells and isinstance(listed, list) and all(isinstance(each, dict) for each in listed)


def _is_prompt_completion(cells: Cells) -> bool:
    asked = any(cells.get(name) for name in ("prompt", "instruction", "question", "query"))
    answered = any(cells.get(name) for name in ("completion", "response", "output", "answer"))
    if _has("prompt", "completions", "labels")(cells):
        return True
    if isinstance(cells.get("text"), str) and dialogue(cells["text"]):
        return True
    return (asked and answered) or any(cells.get(name) for name in ("messages", "conversations", "conversation"))


def _is_oasst(cells: Cells) -> bool:
    tree = cells.get("prompt")
    return (isinstance(tree, dict) and "replies" in tree) or _has("message_tree_id", "message_id", "role", "text")(
        cells
    )


def _is_potato(cells: Cells) -> bool:
    return "label_annotations" in cells or ("instance_id" in cells and any(":::" in name for name in cells))


BY_KEYS: dict[str, Callable[[Cells], bool]] = {
    "oasst": _is_oasst,
    "wmt": _has("system", "rater", "source", "target", "severity"),
    "potato": _is_potato,
    "label-studio": _is_label_studio,
    "argilla": _is_argilla,
    "ultrafeedback": _is_ultrafeedback,
    "trl-preference": lambda cells: any(_has(*names)(cells) for names in CHOSEN),
    "trl-prompt-completion": _is_prompt_completion,
}


def layout_of(source: Path) -> Layout:
    """The layout of a file.

    Raises:
        SourceError: nobody knows it; the message lists the fields that are there and how to import them.
    """
    head = begins_with(source)
    refuse_others(source, head)
    refuse_unmarked(source, head)
    if not head.strip():
        raise SourceError(f"{source}: the file is empty")
    if head.startswith(ZIP):
        rows: list[Cells] = [dict.fromkeys(_of_workbook(source), "x")]
    elif head.startswith(PARQUET) or is_json(head):
        seen = list(islice(read_rows(source), LOOKED_AT))
        rows = [row[1] for row in seen if not isinstance(row, Skipped)]
        if seen and not rows and isinstance(seen[0], Skipped):
            raise SourceError(f"{source}: no row can be read: {seen[0].shown()}")
    else:
        rows = [dict.fromkeys(_of_text(head), "x")]
    if any("system1rank" in cells for cells in rows):
        raise SourceError(f"{source}: rankings of WMT without the translations: {WITHOUT_TEXTS}")
    fields = list(dict.fromkeys(str(name) for row in rows for name in row))
    for cells in rows:
        if cells.get("kind") in KINDS:
            raise SourceError(f"{source}: feedback already; put it into the inbox as a .jsonl or .parquet file")
    fitting = {
        name: len(mapping.about)
        for name, mapping in ready_mappings().items()
        if mapping.about and any(_has(*mapping.about)(cells) for cells in rows)
    }
    if fitting:
        return Layout("table", ("--mapping", max(fitting, key=lambda name: fitting[name])))
    for command, fits in BY_KEYS.items():
        if any(fits(cells) for cells in rows):
            return Layout(command)
    raise SourceError(
        f"{source}: no layout that is known; write a mapping and `import table --mapping FILE`. It has the fields "
        f"{excerpt(', '.join(map(repr, fields)), 400) or 'none'}"
    )


def _of_text(head: bytes) -> list[str]:
    text = head.decode(mark_of(head) or "utf-8", "replace").lstrip("\ufeff")
    if text.startswith("sep="):  # as Excel writes it above the header
        text = text.partition("\n")[2]
    first = re.split(r"\r\n|\n|\r", text, maxsplit=1)[0]
    delimiter = max(",;\t|", key=first.count)
    try:
        return [name.strip() for name in next(csv.reader(io.StringIO(text), delimiter=delimiter), [])]
    except csv.Error:
        return first.split(delimiter)


def _of_workbook(source: Path) -> list[str]:
    with workbook(source) as sheet:
        return [str(value) for value in next(sheet.iter_rows(values_only=True), ()) if value is not None]
