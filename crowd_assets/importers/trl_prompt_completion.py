"""Tables of prompts and completions, as TRL's SFTTrainer reads them.

Layout: https://huggingface.co/docs/trl/dataset_formats, section "Prompt-completion": columns ``prompt`` and
``completion``, each text (standard format) or a list of ``{"role", "content"}`` messages (conversational format); and
section "Language modeling", conversational: one column ``messages`` whose last message is the completion.

Belongs here: that layout in all three variants. Does not belong here: pairs (see ``trl_preference``).
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from crowd_assets.importers.records import Record, RowError, Skipped, demonstration, identifier_of, text_of, ticks
from crowd_assets.importers.rows import read_rows
from crowd_assets.importers.trl_preference import DEFAULT_CONTRIBUTOR


def read(
    source: Path,
    *,
    start: datetime,
    contributor: str = DEFAULT_CONTRIBUTOR,
    contributor_column: str | None = None,
) -> Iterator[Record]:
    """One demonstration a row, one second apart.

    Args:
        source: ``.jsonl``, ``.json`` or ``.parquet``.
        start: when the first demonstration was submitted.
        contributor: who wrote it, where no column says so.
        contributor_column: column that says who wrote it; a row without it is skipped.
    """
    clock = ticks(start)
    for row in read_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        number, cells = row
        submitted_at = next(clock)
        try:
            prompt, completion = split(cells)
            who = contributor
            if contributor_column is not None:
                who = identifier_of(cells.get(contributor_column), contributor_column)
            yield demonstration(who, text_of(prompt, "prompt"), text_of(completion, "completion"), submitted_at)
        except RowError as error:
            yield error.at(number)


def split(cells: dict[str, Any]) -> tuple[object, object]:
    """Prompt and completion of a row, whichever of the variants it comes in.

    Raises:
        RowError: it has messages that do not end with an answer.
    """
    messages = cells.get("messages")
    if messages is None or cells.get("completion") is not None:
        return cells.get("prompt"), cells.get("completion")
    last = messages[-1] if isinstance(messages, list) and len(messages) > 1 else None
    if not isinstance(last, dict) or last.get("role") != "assistant":
        raise RowError("messages do not end with one of the assistant", messages)
    return messages[:-1], messages[-1:]
