"""Tables of prompt, chosen and rejected answers, as TRL trains on them.

Layout: https://huggingface.co/docs/trl/dataset_formats, section "Preference": columns ``prompt``, ``chosen`` and
``rejected``, each text (standard format) or a list of ``{"role", "content"}`` messages (conversational format);
where there is no ``prompt``, what both answers begin with is the prompt.

Belongs here: that layout in all four variants. Does not belong here: tables with scores (see ``ultrafeedback``).
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from crowd_assets.importers.records import (
    Event,
    Record,
    RowError,
    Skipped,
    digest,
    identifier_of,
    positions,
    preference,
    text_of,
    ticks,
)
from crowd_assets.importers.rows import read_rows
from resources.feedback.events import is_visible

DEFAULT_CONTRIBUTOR = "trl"
LAST_TURN = "\n\nAssistant:"
"""What precedes an answer in dialogues that are written out as one text, as in Anthropic's hh-rlhf."""


def read(
    source: Path,
    *,
    start: datetime,
    contributor: str = DEFAULT_CONTRIBUTOR,
    contributor_column: str | None = None,
    id_column: str = "id",
    seed: int = 0,
) -> Iterator[Record]:
    """One preference a row, certain (1 or 0) that the chosen answer is better, one second apart.

    Whether the chosen answer stands at A is a coin that knows the two texts but not which was chosen.

    Args:
        source: ``.jsonl``, ``.json`` or ``.parquet``.
        start: when the first preference was submitted.
        contributor: who preferred, where no column says so.
        contributor_column: column that says who preferred; a row without it is skipped.
        id_column: column that identifies the comparison; where it is missing, the content does.
        seed: of the coin.
    """
    seen: dict[str, str] = {}
    clock = ticks(start)
    for row in read_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        number, cells = row
        submitted_at = next(clock)
        try:
            event = _preference(cells, submitted_at, contributor, contributor_column, id_column, seed)
            content = digest(event["prompt"], event["response_a"], event["response_b"])
            if seen.setdefault(event["comparison_id"], content) != content:
                raise RowError(
                    f"{id_column!r} names another comparison too: choose another --id-column",
                    event["comparison_id"],
                )
        except RowError as error:
            yield error.at(number)
            continue
        yield event


def _preference(
    cells: dict[str, Any],
    submitted_at: datetime,
    contributor: str,
    contributor_column: str | None,
    id_column: str,
    seed: int,
) -> Event:
    prompt, chosen, rejected = split(cells.get("prompt"), cells.get("chosen"), cells.get("rejected"))
    if chosen == rejected:
        raise RowError("chosen and rejected are the same")
    response_a, response_b = positions(seed, prompt, chosen, rejected)
    if cells.get(id_column) is None:
        comparison_id = digest(prompt, response_a, response_b)
    else:
        comparison_id = identifier_of(cells[id_column], id_column)
    if contributor_column is not None:
        contributor = identifier_of(cells.get(contributor_column), contributor_column)
    return preference(
        contributor,
        comparison_id,
        prompt,
        response_a,
        response_b,
        1.0 if response_a == chosen else 0.0,
        submitted_at,
    )


def split(prompt: object, chosen: object, rejected: object) -> tuple[str, str, str]:
    """Prompt, chosen and rejected as text, whichever of the four variants they come in.

    Raises:
        RowError: one of them is missing or of another type, or there is no common beginning to be the prompt.
    """
    if isinstance(chosen, list) and isinstance(rejected, list):
        shared = _shared_messages(chosen, rejected)
        if prompt is None:
            if not shared:
                raise RowError("no prompt, and the answers do not begin alike")
            prompt = chosen[:shared]
        chosen, rejected = chosen[shared:], rejected[shared:]
    elif prompt is None and isinstance(chosen, str) and isinstance(rejected, str):
        shared = _shared_text(chosen, rejected)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not is_visible(prompt):
            raise RowError("no prompt, and the answers do not begin alike")
    return text_of(prompt, "prompt"), text_of(chosen, "chosen"), text_of(rejected, "rejected")


def _shared_messages(chosen: list[Any], rejected: list[Any]) -> int:
    """How many messages both begin with, leaving at least one to each of them."""
    most = min(len(chosen), len(rejected)) - 1
    return next((index for index in range(most) if chosen[index] != rejected[index]), max(most, 0))


def _shared_text(chosen: str, rejected: str) -> int:
    """The length of what both begin with, up to the last turn of a dialogue or else the last whole word."""
    most = min(len(chosen), len(rejected))
    shared = next((index for index in range(most) if chosen[index] != rejected[index]), most)
    if (turn := chosen.rfind(LAST_TURN, 0, shared)) >= 0:
        return turn + len(LAST_TURN)
    while shared > 0 and not chosen[shared - 1].isspace():
        shared -= 1
    return shared
