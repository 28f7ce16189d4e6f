"""The settlement of a round: the entries that it posts, and the models that it ends with.

Belongs here: entries from what the round wrote. Does not belong here: the transaction (see ``resources.rounds``), the rule of pay
(see ``mechanisms.payouts``).
"""

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.money import MONEY_QUANTUM
from crowd_assets.mechanisms.ledger import (
    TREASURY,
    Entry,
    contributor_account,
    contributor_of,
    deposit_account,
    held_back,
    totals,
    transfer,
)
from crowd_assets.mechanisms.payouts import rank_points
from crowd_assets.round.points import epoch_points
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import Target
from crowd_assets.round.tournament import (
    Tournament,
    deposits_before,
    standing,
    tournament,
)
from resources.files.frames import FramesResource
from resources.rounds.book import Round, round_id_of
from resources.settings.settings import CrowdSettings
from resources.warehouse.base import WarehouseResource


def entries_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, aim: Target
) -> list[Entry]:
    """What a round posts: points, where it closes an epoch or they go by rank, what is held back of them, and payments."""
    epoch = warehouse.read_round("epochs", round_.round_no).row(0, named=True)
    points_due: list[Entry] = []
    if settings.points_scheme == "rank":
        points_due = rank_entries(round_, settings, warehouse)
    elif epoch["closes"]:
        found = tournament(warehouse, frames, round_.round_no, including=True, memory=settings.memory_rounds)
        assert found is not None  # this round is in it
        known = standing(found, settings.points_scheme, aim.vector, generator_for(round_, "estimates"))
        first = found.round_ids.index(round_id_of(epoch["first_round_no"]))
        points = epoch_points(found, known, first, settings, warehouse)
        points_due = _epoch_entries(round_, found, points, first, settings)
    if epoch["closes"]:
        points_due += deposit_entries(round_, settings, points_due, deposits_before(warehouse, round_.round_no))
    return [*points_due, *_payment_entries(round_, warehouse.read_round("awards", round_.round_no).filter("awarded"))]


def models_of(round_: Round, warehouse: WarehouseResource) -> tuple[str | None, str | None]:
    """The model that a round began with, and the one that the next begins with; None is the root."""
    selection = warehouse.read_round("selections", round_.round_no)
    alignment = warehouse.read_round("alignments", round_.round_no).row(0, named=True)
    selected = selection.filter("selected")["model"].item()
    base = selection.filter(pl.col("role") == "base")["model"].item()
    return base, alignment["model"] if alignment["kept"] else selected


def _epoch_entries(
    round_: Round, found: Tournament, points: NDArray[np.float64], first: int, settings: CrowdSettings
) -> list[Entry]:
    entries: list[Entry] = []
    for round_id, of_round in zip(found.round_ids[first:], points, strict=True):
        for contributor, amount in zip(found.contributors, of_round, strict=True):
            exact = Decimal(str(round(float(amount), 6))).quantize(MONEY_QUANTUM)
            accounts = (TREASURY, contributor_account(contributor))
            reason = f"contribution, by {settings.points_scheme}"
            entries += _points_moved(round_, accounts, exact, reason, f"earned in {round_id}, {contributor}")
    return entries


def _points_moved(
    round_: Round, accounts: tuple[str, str], amount: Decimal, reason: str, reference: str
) -> list[Entry]:
    """Points from the first account to the second, or back where ``amount`` is below zero; of none there are no entries."""
    if not amount:
        return []
    debit, credit = accounts if amount > 0 else accounts[::-1]
    entries = transfer(
        round_id=round_.round_id,
        debit_account=debit,
        credit_account=credit,
        unit="point",
        amount=abs(amount),
        reason=reason,
        reference=reference,
    )
    return list(entries)


def rank_entries(round_: Round, settings: CrowdSettings, warehouse: WarehouseResource) -> list[Entry]:
    """Rank points of every member who was not found cheating, if a candidate won; a round in which the base stayed earns nobody
    points."""
    candidates = warehouse.read_round("selections", round_.round_no).filter(pl.col("role") == "candidate")
    candidates = candidates.sort("group_index")
    if not candidates["selected"].any():
        return []
    members = warehouse.read_round("contributor_groups", round_.round_no).sort("contributor_id")
    position = candidates["group_index"].search_sorted(members["group_index"]).cast(pl.Int64).to_numpy()
    points = rank_points(candidates["distance"].to_numpy(), position)
    forfeited = set(settings.forfeited_names)
    entries: list[Entry] = []
    for contributor, group, amount in zip(members["contributor_id"], members["group_index"], points, strict=True):
        if amount > 0 and contributor not in forfeited:
            entries += transfer(
                round_id=round_.round_id,
                debit_account=TREASURY,
                credit_account=contributor_account(contributor),
                unit="point",
                amount=Decimal(str(amount)),
                reason="rank of the group's candidate",
                reference=f"group {group}, {contributor}",
            )
    return entries


def deposit_entries(
    round_: Round, settings: CrowdSettings, points_due: list[Entry], held: Mapping[str, Decimal]
) -> list[Entry]:
    """What goes from names' accounts to their deposits and back when points are posted, and to the treasury from those who
    forfeit them.

    Args:
        points_due: What the round posts of points.
        held: What deposits hold before, by contributor.
    """
    deposit, forfeited = Decimal(settings.deposit), set(settings.forfeited_names)
    earned = {contributor_of(account): due for (account, _), due in totals(points_due).items() if account != TREASURY}
    entries: list[Entry] = []
    for name in sorted({*earned, *held}):
        if name in forfeited:
            amount, reason = held.get(name, Decimal(0)), "deposit forfeited"
            accounts = (deposit_account(name), TREASURY)
        else:
            amount = held_back(held.get(name, Decimal(0)), earned.get(name, Decimal(0)), deposit)
            reason = "held back as deposit" if amount > 0 else "deposit paid back"
            accounts = (contributor_account(name), deposit_account(name))
        entries += _points_moved(round_, accounts, amount, reason, f"deposit of {name}")
    return entries


def _payment_entries(round_: Round, awards: pl.DataFrame) -> list[Entry]:
    entries: list[Entry] = []
    for award in awards.sort("event_id").iter_rows(named=True):
        if award["payment"] > 0:
            entries += transfer(
                round_id=round_.round_id,
                debit_account=TREASURY,
                credit_account=contributor_account(award["contributor_id"]),
                unit="credit",
                amount=award["payment"],
                reason="answer bought",
                reference=f"lot {award['lot_id']}, bid {award['event_id']}",
            )
    return entries


def as_frame(entries: list[Entry]) -> pl.DataFrame:
    """Entries as rows of the ledger, without their round's number."""
    return pl.DataFrame(
        {
            "entry_id": [entry.entry_id for entry in entries],
            "round_id": [entry.round_id for entry in entries],
            "account": [entry.account for entry in entries],
            "unit": [entry.unit for entry in entries],
            "amount": [entry.amount for entry in entries],
            "reason": [entry.reason for entry in entries],
            "reference": [entry.reference for entry in entries],
        },
        schema={
            "entry_id": pl.String,
            "round_id": pl.String,
            "account": pl.String,
            "unit": pl.String,
            "amount": pl.Decimal(18, 6),
            "reason": pl.String,
            "reference": pl.String,
        },
    )


def points_and_values(points: pl.DataFrame, warehouse: WarehouseResource, round_no: int) -> pl.DataFrame:
    """``points`` so far of each contributor and the ``shapley_value`` summed so far."""
    values = warehouse.query(
        "SELECT contributor_id, sum(shapley_value) AS shapley_value FROM contributions WHERE round_no <= $n "
        "GROUP BY contributor_id",
        {"n": round_no},
    )
    return values.join(points, on="contributor_id", how="inner").sort("contributor_id")


def correlation_of(both: pl.DataFrame) -> float | None:
    """Pearson correlation of points with Shapley values; None where either does not vary."""
    if both.height < 3 or both["points"].n_unique() < 2 or both["shapley_value"].n_unique() < 2:
        return None
    return float(np.corrcoef(both["points"].to_numpy(), both["shapley_value"].to_numpy())[0, 1])
