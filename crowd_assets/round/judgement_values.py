"""What judgements added to a round's aligned model, by labeler: a value that is reported and not paid.

Belongs here: rows of ``pair_values`` and ``judgement_values`` from frames and tables. Does not belong here: what a pair was worth (see
``resources.training.preference_values``), how a pair's value is shared out (see ``mechanisms.judgement_values``).
"""

import numpy as np
import polars as pl

from crowd_assets.mechanisms.judgement_values import judgement_values, report_effects
from crowd_assets.round.labelers import heard_on
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.selection import compared
from resources.files.frames import FramesResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource

PAIRS, VALUES = "pair_values", "judgement_values"  # the tables
PAIRS_SCHEMA = {"comparison_id": pl.String(), "value": pl.Float64()}
VALUES_SCHEMA = {"labeler_id": pl.String(), "judgements": pl.Int64(), "value": pl.Float64()}


def pairs_of(
    round_: Round,
    settings: CrowdSettings,
    frames: FramesResource,
    trainer: TrainerResource,
    parent: str | None,
    model: str,
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Rows of ``pair_values``: by how many nats each comparison that ``model`` was trained on lowered the mean loss of those kept out; and that
    loss before and after."""
    training, held_out = compared(frames.read("aggregated_preferences", round_.round_id), round_, settings)
    found = trainer.pair_values(
        parent,
        model,
        [pair for _, pair in training],
        [pair for _, pair in held_out],
        beta=settings.alignment_beta,
        max_tokens=settings.max_tokens,
    )
    rows = pl.DataFrame({"comparison_id": [name for name, _ in training], "value": found.values}, schema=PAIRS_SCHEMA)
    return rows, {"held_out_loss_before": found.loss_before, "held_out_loss_after": found.loss_after}


def values_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> pl.DataFrame:
    """Rows of ``judgement_values``: by labeler how many judgements stand behind the aligned model's pairs, and what they added, in nats: the
    ``pair_values``, each shared out by how far every report moved the aggregate."""
    pairs = warehouse.read_round(PAIRS, round_.round_no).sort("comparison_id")
    if pairs.is_empty():
        return pl.DataFrame(schema=VALUES_SCHEMA)
    heard = heard_on(round_, settings, warehouse, frames, pairs["comparison_id"].to_list())
    assert heard is not None  # pairs were judged

    def pool(coalition: np.ndarray, report: np.ndarray) -> np.ndarray:
        return heard.pooled(coalition, heard.labeler[report], heard.report[report])

    effects = report_effects(heard.slot, pool, rng=generator_for(round_, "judgement values"))
    worth = pairs["value"].to_numpy()
    values = judgement_values(heard.slot, heard.labeler, effects, worth, labelers=len(heard.labelers))
    frame = pl.DataFrame(
        {
            "labeler_id": heard.labelers,
            "judgements": np.bincount(heard.labeler, minlength=len(heard.labelers)),
            "value": values,
        },
        schema=VALUES_SCHEMA,
    )
    return frame.filter(pl.col("judgements") > 0).sort("labeler_id")
