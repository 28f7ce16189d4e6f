"""What a round found out about its base model: why the base stayed, and the curves of learning rates.

Belongs here: those words and these tables. Does not belong here: finding them (see ``crowd_assets.round.rates``,
``crowd_assets.round.guard``), the page (see ``round``).
"""

from collections.abc import Sequence

import polars as pl

from crowd_assets.report.page import Column, Table, number, table
from crowd_assets.round.preference_rates import CURVE as OF_PREFERENCES
from crowd_assets.round.rates import CURVE
from resources.files.frames import FramesResource
from resources.rounds.book import Round


def why_the_base_stayed(candidates: pl.DataFrame, base_distance: float, refused: Sequence[str]) -> str:
    """In words, from the selection sample.

    Args:
        candidates: Rows of ``selections``: ``group_index`` and ``distance``.
        refused: What the guard said of candidates that would have won.
    """
    if refused:
        return f"The base stayed, as the guard refused what came nearer to the target: {'; '.join(refused)}."
    nearest = float(candidates["distance"].min())  # type: ignore[arg-type]
    figures = f"the nearest one's distance is {number(nearest, 3)}, the base's {number(base_distance, 3)}"
    if nearest >= base_distance:
        return f"The base stayed, as all {candidates.height} candidates are farther from the target: {figures}."
    return f"The base stayed, as none of {candidates.height} candidates is closer beyond chance: {figures}."


def rates_table(round_: Round, frames: FramesResource) -> Table | None:
    """The rates that the round tried for its candidates, and what each came to; None where it tried none."""
    columns = {
        "held_out_loss": Column("loss of texts kept out", 3),
        "general_loss": Column("loss of reference texts", 3),
        "distance": Column("distance", 3),
    }
    return _curve(CURVE, columns, round_, frames)


def preference_rates_table(round_: Round, frames: FramesResource) -> Table | None:
    """The rates that the round tried for QA-DPO, and what each came to; None where it tried none."""
    columns = {
        "preference_loss": Column("loss of pairs kept out", 3),
        "general_loss": Column("loss of reference texts", 3),
        "accuracy": Column("pairs ranked as the crowd does", 2),
    }
    return _curve(OF_PREFERENCES, columns, round_, frames)


def _curve(name: str, columns: dict[str, Column], round_: Round, frames: FramesResource) -> Table | None:
    if not frames.path(name, round_.round_id).exists():
        return None
    curve = frames.read(name, round_.round_id).with_columns(
        tried=pl.when(pl.col("learning_rate") == 0)
        .then(pl.lit("base"))
        .otherwise(pl.col("learning_rate").round_sig_figs(2).cast(pl.String)),
        result=pl.when("chosen").then(pl.lit("chosen")).otherwise(pl.lit("")),
    )
    return table(name, curve, {"tried": Column("learning rate"), **columns, "result": Column("result")})
