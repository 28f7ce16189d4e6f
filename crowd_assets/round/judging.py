"""What judgements earn in a round.

Belongs here: rows of ``judgement_pay`` from frames and tables. Does not belong here: the contract (see ``mechanisms.judging``) and entries
of the ledger (see ``round.settlement``).
"""

from decimal import ROUND_DOWN, Decimal

import numpy as np
import polars as pl

from crowd_assets.mechanisms.auctions.money import MONEY_QUANTUM
from crowd_assets.mechanisms.judging import AGREEMENT, OUTCOME, Earned, earned_by_agreement, earned_by_outcome, paid_out
from crowd_assets.round.labelers import Learnt, judged_of
from crowd_assets.round.rings import with_rings
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource

PAY = "judgement_pay"  # the table
PAY_SCHEMA = {
    "labeler_id": pl.String(),
    "basis": pl.String(),
    "scored": pl.Int64(),
    "score": pl.Float64(),
    "rate": pl.Float64(),
    "balance": pl.Float64(),
    "paid": pl.Decimal(18, 6),
}
USUAL = 10.0
"""Outcomes of one half that are added to the others' mean outcome, the baseline of a score."""


def pay_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, learnt: Learnt | None
) -> pl.DataFrame:
    """Rows of ``judgement_pay``: by labeler the ``basis`` of its pay, judgements ``scored`` and their ``score``, credits a point of it
    (``rate``), the ``balance`` in points that later scores must make up for, and what is ``paid``, in credits.

    Judgements on comparisons whose outcome the round brought are scored by it. In a home in which nothing was realised yet the round's
    judgements are scored by agreement with peers. Without a budget there are no rows.
    """
    budget = Decimal(settings.judging_budget)
    if not budget or learnt is None:
        return pl.DataFrame(schema=PAY_SCHEMA)
    labelers = learnt.labelers
    earned, basis = _earned(round_, settings, warehouse, frames, learnt, float(budget))
    before = warehouse.read_last_before(PAY, round_.round_no)
    known = dict(before.select("labeler_id", "balance").iter_rows())
    seen = set(warehouse.read_before(PAY, round_.round_no)["labeler_id"]) if round_.round_no > 1 else set()
    balance = np.array([known.get(name, 0.0 if name in seen else -settings.judging_dues) for name in labelers])
    done = paid_out(balance, earned.score)
    caught = set(settings.forfeited_names)
    credits = [
        Decimal(0) if name in caught else Decimal(points * earned.rate).quantize(MONEY_QUANTUM, ROUND_DOWN)
        for name, points in zip(labelers, done.paid.tolist(), strict=True)
    ]
    frame = pl.DataFrame(
        {
            "labeler_id": labelers,
            "basis": [basis] * len(labelers),
            "scored": earned.scored,
            "score": earned.score,
            "rate": [earned.rate] * len(labelers),
            "balance": done.balance,
            "paid": credits,
        },
        schema=PAY_SCHEMA,
    )
    concerned = (pl.col("scored") > 0) | ((pl.col("balance") < 0) & pl.col("labeler_id").is_in(sorted(seen)))
    return frame.filter(concerned).sort("labeler_id")


def _earned(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    learnt: Learnt,
    budget: float,
) -> tuple[Earned, str]:
    labelers = learnt.labelers
    if learnt.known.slots:
        outcomes = learnt.outcomes["preferred_a"].to_numpy()
        others = (0.5 * USUAL + outcomes.sum() - outcomes) / (USUAL + outcomes.size - 1) if outcomes.size else outcomes
        by_outcome = earned_by_outcome(
            learnt.labeler,
            learnt.report,
            outcomes[learnt.slot],
            labelers=len(labelers),
            budget=budget,
            baseline=others[learnt.slot],
            share=learnt.share if settings.judgement_shares else None,
        )
        return by_outcome, OUTCOME
    comparisons, slot, labeler, report, share = judged_of(round_, settings, warehouse, frames, labelers)
    ring = with_rings(pl.DataFrame({"contributor_id": labelers}), warehouse, round_.round_no)["ring"].rank("dense")
    by_agreement = earned_by_agreement(
        slot,
        labeler,
        report,
        slots=comparisons,
        labelers=len(labelers),
        budget=budget,
        ring=ring.cast(pl.Int64).to_numpy() - 1,
        share=share if settings.judgement_shares else None,
    )
    return by_agreement, AGREEMENT
