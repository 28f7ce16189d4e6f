"""Answers that a round's models wrote, under names like those of events, so that comparisons of them are read like those of bought answers.

Belongs here: these names, and the answers behind them. Does not belong here: which are compared (see ``crowd_assets.round.generated``).
"""

import re
from collections.abc import Iterable

import polars as pl

from resources.files.frames import FramesResource

NAMED = re.compile(r"(r\d+) (base|winner|aligned) (\d+)")
"""No event has such a name: those of events hold no spaces."""
ANSWERS = {
    "event_id": pl.String(),
    "prompt": pl.String(),
    "messages": pl.String(),
    "response": pl.String(),
}


def name_of(round_id: str, model: str, row: int) -> str:
    """The name of what a model (base, winner or aligned) wrote to a prompt of the round's report.

    Example:
        >>> name_of("r000002", "base", 3)
        'r000002 base 3'
    """
    return f"{round_id} {model} {row}"


def generated_answers(names: Iterable[str], frames: FramesResource) -> pl.DataFrame:
    """The answers behind those of ``names`` that are of models: columns of ``ANSWERS``, no two of one name; none of a round whose frames
    are gone."""
    of_round: dict[str, dict[str, tuple[str, int]]] = {}
    for name in names:
        if found := NAMED.fullmatch(name):
            of_round.setdefault(found[1], {})[name] = (found[2], int(found[3]))
    rows = []
    for round_id, wanted in of_round.items():
        written = written_in(round_id, frames)
        if written is None:
            continue
        for name, (model, at) in wanted.items():
            if model in written.columns and at < written.height:
                rows.append((name, written["prompt"][at], written["messages"][at], written[model][at]))
    return pl.DataFrame(rows, schema=ANSWERS, orient="row")


def written_in(round_id: str, frames: FramesResource) -> pl.DataFrame | None:
    """What models wrote to the prompts of a round's report: ``prompt``, ``messages`` (null where the prompt is no conversation), ``base``, ``winner``
    and, where alignment was kept, ``aligned``; None where nothing is stored."""
    if not frames.path("generations", round_id).exists():
        return None
    written = frames.read("generations", round_id)
    if "messages" not in written.columns:  # frames of earlier versions
        written = written.with_columns(messages=pl.lit(None, pl.String))
    if frames.path("aligned_generations", round_id).exists():
        aligned = frames.read("aligned_generations", round_id)
        written = pl.concat([written, aligned], how="horizontal")
    return written
