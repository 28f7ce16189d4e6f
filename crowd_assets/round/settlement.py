"""The settlement of a round: the entries that it posts, and the models that it ends with.

Belongs here: entries from what the round wrote. Does not belong here: the transaction (see ``resources.rounds``), the rule of pay
(see ``mechanisms.payouts``).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import polars as pl

from crowd_assets.mechanisms.auctions.money import MONEY_QUANTUM
from crowd_assets.mechanisms.ledger import (
    TREASURY,
    Entry,
    contributor_account,
    contributor_of,
    deposit_account,
    held_back,
    reversal,
    totals,
    transfer,
)
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from crowd_assets.round.judging import PAY
from crowd_assets.round.tournament import deposits_before
from resources.rounds.book import Round
from resources.rounds.corrections import Correction
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import round_id_of


def entries_of(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    points: pl.DataFrame,
    corrections: Sequence[Correction] = (),
) -> list[Entry]:
    """What a round posts: the points of ``points`` where the round closes an epoch, what is held back of them, payments for
    answers and judgements, and corrections of what earlier rounds posted.

    Args:
        points: Rows of ``contributor_points``.
    """
    closes = warehouse.read_round("epochs", round_.round_no)["closes"].item()
    points_due: list[Entry] = []
    if closes:
        points_due = point_entries(round_, settings, warehouse, points)
        harm = dict(points.group_by("contributor_id").agg(pl.col("harm").sum()).filter(pl.col("harm") > 0).iter_rows())
        points_due += deposit_entries(round_, settings, points_due, deposits_before(warehouse, round_.round_no), harm)
    bought = _payment_entries(round_, warehouse.read_round("awards", round_.round_no).filter("awarded"))
    judged = _judging_entries(round_, warehouse.read_round(PAY, round_.round_no))
    return [*points_due, *bought, *judged, *correction_entries(round_, warehouse, corrections)]


def models_of(round_: Round, warehouse: WarehouseResource) -> tuple[str | None, str | None]:
    """The model that a round began with, and the one that the next begins with; None is the root."""
    selection = warehouse.read_round("selections", round_.round_no)
    alignment = warehouse.read_round("alignments", round_.round_no).row(0, named=True)
    selected = selection.filter("selected")["model"].item()
    base = selection.filter(pl.col("role") == "base")["model"].item()
    return base, alignment["model"] if alignment["kept"] else selected


def point_entries(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, points: pl.DataFrame
) -> list[Entry]:
    """Points as the estimate wrote them, each named after the round that it was earned in, or, by rank, after the group.

    Args:
        points: Rows of ``contributor_points``: ``earned_in_round``, ``contributor_id`` and ``points``, which may be below zero.

    Returns:
        Two entries a row with points, from the treasury to the contributor or back, rounded to 6 decimal places.
    """
    by_rank = POINTS_SCHEMES[settings.points_scheme].every_round
    groups = warehouse.read_round("contributor_groups", round_.round_no).select("contributor_id", "group_index")
    entries: list[Entry] = []
    for row in points.join(groups, on="contributor_id", how="left").iter_rows(named=True):
        name = row["contributor_id"]
        exact = Decimal(str(round(row["points"], 6))).quantize(MONEY_QUANTUM)
        reason = "rank of the group's candidate" if by_rank else f"contribution, by {settings.points_scheme}"
        earned = f"group {row['group_index']}" if by_rank else f"earned in {round_id_of(row['earned_in_round'])}"
        entries += _points_moved(round_, (TREASURY, contributor_account(name)), exact, reason, f"{earned}, {name}")
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


def correction_entries(round_: Round, warehouse: WarehouseResource, corrections: Sequence[Correction]) -> list[Entry]:
    """Of each correction the reversal of the whole transaction that its entry is half of, and what it should have been.

    Args:
        corrections: Those that this round posts, in the order of their posting.

    Returns:
        Entries that sum to zero in each unit.
    """
    entries: list[Entry] = []
    for correction in corrections:
        rows = warehouse.query(
            "SELECT half.* FROM ledger half JOIN ledger wrong USING (round_no, unit, reason, reference) "
            "WHERE wrong.entry_id = $id AND abs(half.amount) = abs(wrong.amount) ORDER BY half.amount",
            {"id": correction.entry_id},
        )
        wrong = [Entry(**row) for row in rows.drop("round_no").iter_rows(named=True)]
        entries += reversal(wrong, round_id=round_.round_id, reason=f"reversed: {correction.reason}")
        if correction.amount:
            here = next(entry for entry in wrong if entry.entry_id == correction.entry_id)
            (there,) = (entry.account for entry in wrong if entry.entry_id != correction.entry_id)
            debit, credit = (there, here.account) if correction.amount > 0 else (here.account, there)
            entries += transfer(
                round_id=round_.round_id,
                debit_account=debit,
                credit_account=credit,
                unit=here.unit,
                amount=abs(correction.amount),
                reason=f"corrected: {correction.reason}",
                reference=here.entry_id,
            )
    return entries


def deposit_entries(
    round_: Round,
    settings: CrowdSettings,
    points_due: list[Entry],
    held: Mapping[str, Decimal],
    harm: Mapping[str, float] = MappingProxyType({}),
) -> list[Entry]:
    """What goes from names' accounts to their deposits and back when points are posted, and to the treasury from those who
    forfeit them or held the crowd back.

    Args:
        points_due: What the round posts of points.
        held: What deposits hold before, by contributor.
        harm: By how many points each held the crowd back in the epoch: its deposit answers for that, as far as it goes.
    """
    deposit, forfeited = Decimal(settings.deposit), set(settings.forfeited_names)
    earned = {contributor_of(account): due for (account, _), due in totals(points_due).items() if account != TREASURY}
    entries: list[Entry] = []
    for name in sorted({*earned, *held}):
        if name in forfeited:
            amount, reason = held.get(name, Decimal(0)), "deposit forfeited"
            accounts = (deposit_account(name), TREASURY)
        elif name in harm and held.get(name):
            amount, reason = min(held[name], Decimal(str(round(harm[name], 6)))), "harm, answered for by the deposit"
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


def _judging_entries(round_: Round, pay: pl.DataFrame) -> list[Entry]:
    entries: list[Entry] = []
    for labeler, basis, paid in pay.sort("labeler_id").select("labeler_id", "basis", "paid").iter_rows():
        if paid > 0:
            entries += transfer(
                round_id=round_.round_id,
                debit_account=TREASURY,
                credit_account=contributor_account(labeler),
                unit="credit",
                amount=paid,
                reason=f"judgements, by {basis}",
                reference=f"judged until {round_.round_id}, {labeler}",
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
