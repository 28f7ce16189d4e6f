"""Stage 6, contributions: what each contributor's part was worth, and the ledger that pays for it.

Belongs here: Shapley estimates, estimates from the tournament, and the settlement of a round. Does not belong here: their mathematics
(see ``crowd_assets.mechanisms``) and the transaction (see ``resources.rounds.book``).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import polars as pl
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    MaterializeResult,
    asset,
)
from numpy.typing import NDArray

from crowd_assets.assets import OWNERS
from crowd_assets.assets.procurement import auction_clearing
from crowd_assets.assets.seed import TARGET, Target, find_target
from crowd_assets.assets.selection import aligned_model, selected_model
from crowd_assets.jobs import generator_for, rounds_partition
from crowd_assets.mechanisms.auctions.lots import MONEY_QUANTUM
from crowd_assets.mechanisms.estimates import kept_points, rank_points, regression_points, solvent_points
from crowd_assets.mechanisms.ledger import (
    DEPOSITS,
    TREASURY,
    Entry,
    contributor_account,
    contributor_of,
    deposit_account,
    held_back,
    totals,
    transfer,
    unbalanced,
)
from crowd_assets.mechanisms.shapley import distance_shapley, estimate_shapley, mean_over_runs
from crowd_assets.mechanisms.target import centroid_game
from crowd_assets.quality.gate import passed_round
from crowd_assets.report import display
from crowd_assets.round.tournament import (
    EMBEDDED_CONTRIBUTORS,
    LARGE_CROWD,
    Standing,
    Tournament,
    deposits_before,
    standing,
    standings,
    tournament,
)
from resources.feedback.inbox import InboxResource
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round, RoundBook, round_id_of
from resources.rounds.records import surroundings
from resources.settings.settings import CrowdSettings
from resources.warehouse.duckdb import WarehouseResource
from sensors import CREDITS_TAG

SHOWN = 5
LEAST_CORRELATION = 0.5  # what points by rank reach at worst in the paper's own simulation


@asset(
    group_name="6_contributions",
    kinds={"numpy", "duckdb"},
    owners=OWNERS,
    deps=[selected_model],
    partitions_def=rounds_partition,
)
def shapley_estimates(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
) -> MaterializeResult[None]:
    """What each contributor's demonstrations were worth in this round: by how much they lowered the loss on the target's texts
    while their candidate trained (In-Run Data Shapley, arXiv 2406.11011), or Shapley values of the game in which a coalition
    is as good as its mean point in Φ is close to the target (CROWD_SHAPLEY_METHOD)."""
    round_ = passed_round(warehouse, context.partition_key)
    written = embedded(frames.read("validated_feedback", round_.round_id), embedder)
    frame, about = values_of(
        round_, settings, warehouse, frames, embedder, find_target(settings, embedder, frames), written
    )
    warehouse.replace_round("contributions", round_.round_no, frame)
    frames.write(EMBEDDED_CONTRIBUTORS, round_.round_id, written, settled=round_.settled)
    shown = frame.sort("shapley_value", descending=True)
    worth = dict(frame.select("contributor_id", "shapley_value").iter_rows())
    in_run = settings.shapley_method == "in_run"
    unit = "nats a token of the target's texts" if in_run else "target distance"
    return MaterializeResult(
        metadata=display.rounded({"contributors": frame.height, "method": frame["method"][0], **about})
        | {
            "value_of_everybody": frame["shapley_value"].sum(),
            "values": display.plot(
                display.bars(
                    list(shown["contributor_id"]),
                    list(shown["shapley_value"]),
                    errors=list(shown["standard_error"].fill_null(0.0)),
                    axis=f"Shapley value, in {unit}",
                    highlighted=lambda name: worth[name] > 0,
                )
            ),
        }
    )


@asset(
    group_name="6_contributions",
    kinds={"numpy", "duckdb"},
    owners=OWNERS,
    deps=[shapley_estimates],
    partitions_def=rounds_partition,
)
def contributor_estimates(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
) -> MaterializeResult[None]:
    """What each contributor adds, estimated from every candidate so far and who trained it, and the points that the open
    epoch would pay by that. Each round restates them; they are posted when the epoch closes."""
    round_ = passed_round(warehouse, context.partition_key)
    frame, epoch = estimates_of(round_, settings, warehouse, frames, find_target(settings, embedder, frames))
    warehouse.replace_round("contributor_estimates", round_.round_no, frame)
    warehouse.replace_round("epochs", round_.round_no, epoch)
    shown = frame.sort("estimate", descending=True)
    estimated = dict(frame.select("contributor_id", "estimate").iter_rows())
    about = {"scheme": frame["scheme"][0], "contributors": frame.height}
    return MaterializeResult(
        metadata=display.rounded(about | epoch.row(0, named=True))
        | {
            "estimates": display.plot(
                display.intervals(
                    list(shown["contributor_id"]),
                    list(shown["estimate"]),
                    list(shown["standard_error"]),
                    axis="estimated contribution, in target distance (standard errors)",
                    highlighted=lambda name: estimated[name] > 0,
                )
            )
        }
    )


@asset(
    group_name="6_contributions",
    kinds={"duckdb"},
    owners=OWNERS,
    deps=[selected_model, aligned_model, contributor_estimates, auction_clearing],
    partitions_def=rounds_partition,
    check_specs=[
        AssetCheckSpec("ledger_balances", asset="point_ledger", description="Every unit of the ledger sums to zero."),
        AssetCheckSpec(
            "points_track_shapley",
            asset="point_ledger",
            description=f"Points so far correlate with Shapley values so far by {LEAST_CORRELATION} or more, where there are "
            "enough of both to say.",
        ),
        AssetCheckSpec(
            "within_budget",
            asset="point_ledger",
            description="The round's payments are at least what the awarded sellers asked and at most its budget.",
        ),
    ],
)
def point_ledger(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
    inbox: InboxResource,
    trainer: TrainerResource,
) -> MaterializeResult:
    """The settlement of a round, in one transaction: the points of the epoch's rounds where the round closes it, what is held
    back of them as deposits, payments to the sellers, the next base model, and the record that audits start from. Double entry:
    what a contributor receives, the treasury gives. A settled round is never rewritten; a second run posts nothing."""
    round_ = passed_round(warehouse, context.partition_key)
    awards = warehouse.read_round("awards", round_.round_no).filter("awarded")
    epoch = warehouse.read_round("epochs", round_.round_no).row(0, named=True)
    aim = find_target(settings, embedder, frames)
    entries = entries_of(round_, settings, warehouse, frames, aim)
    base_model, next_model = models_of(round_, warehouse)
    about = surroundings(
        settings.model_dump(),
        seed=round_.seed,
        phi=embedder.identity,
        target=aim.key,
        root=trainer.root_identity(),
        models=[base_model, next_model, *warehouse.read_round("candidates", round_.round_no)["model"]],
        frames=frames.of_round(round_.round_id) | {TARGET: frames.path(TARGET, aim.key)},
        segments=inbox.segment_paths(round_.from_seq, round_.to_seq),
    )
    posted = RoundBook(warehouse).settle(
        round_,
        as_frame(entries),
        base_model=base_model,
        next_model=next_model,
        now=datetime.now(UTC),
        about=about,
    )
    points = standings(warehouse, round_.round_no)
    if unknown := set(settings.forfeited_names) - set(points["contributor_id"]):
        context.log.warning("CROWD_FORFEITED names who wrote no demonstration here: %s", ", ".join(sorted(unknown)))
    paid = awards["payment"].sum() or Decimal(0)
    budget = Decimal(settings.budget)
    uneven = unbalanced(entries)
    below = awards.filter(pl.col("payment") < pl.col("asked_price"))
    earned = _points_and_values(points, warehouse, round_.round_no)
    correlation = _correlation(earned)
    context.instance.add_run_tags(context.run.run_id, {CREDITS_TAG: str(paid)})
    tracked: display.Metadata = {}
    if correlation is not None:
        tracked = {
            "correlation_with_shapley": round(correlation, 4),
            "points_and_shapley": display.plot(
                display.scatter(
                    earned["shapley_value"].to_list(),
                    earned["points"].to_list(),
                    x="Shapley values so far",
                    y="points so far",
                    title=f"correlation {correlation:.2f} over {earned.height} contributors",
                )
            ),
        }
    # Checks that a tuple returns beside the result are dropped by Dagster 1.13 without a word.
    return MaterializeResult(
        metadata={
            "entries": len(entries),
            "posted_now": posted,
            "points_posted": float(-totals(entries).get((TREASURY, "point"), Decimal(0))),
            "points_held_back": float(sum(entry.amount for entry in entries if entry.account.startswith(DEPOSITS))),
            "epoch_closes": epoch["closes"],
            "reliability_of_values": round(epoch["reliability"], 4),
            "credits_paid": float(paid),
            "next_model": next_model or "root",
            **tracked,
            "top": display.table(points.head(SHOWN)),
            "bottom": display.table(points.tail(SHOWN)),
        },
        check_results=[
            AssetCheckResult(
                check_name="ledger_balances",
                passed=not uneven,
                severity=AssetCheckSeverity.ERROR,
                metadata={unit: str(amount) for unit, amount in uneven.items()},
            ),
            AssetCheckResult(
                check_name="points_track_shapley",
                passed=correlation is None or correlation >= LEAST_CORRELATION,
                severity=AssetCheckSeverity.WARN,
                metadata={"correlation": "too little to say" if correlation is None else correlation},
            ),
            AssetCheckResult(
                check_name="within_budget",
                passed=paid <= budget and below.is_empty(),
                severity=AssetCheckSeverity.ERROR,
                metadata={"paid": str(paid), "budget": str(budget), "awards_below_asked_price": below.height},
            ),
        ],
    )


def embedded(valid: pl.DataFrame, embedder: EmbedderResource) -> pl.DataFrame:
    """Who demonstrated what in a round: ``contributor_id``, how many ``demonstrations``, and the mean ``vector`` of them."""
    demonstrations = valid.filter(pl.col("kind") == "demonstration")
    contributors = demonstrations["contributor_id"].unique().sort()
    vectors = embedder.embed(list(demonstrations["response"]))
    owner = contributors.search_sorted(demonstrations["contributor_id"]).to_numpy()
    counts = np.bincount(owner, minlength=len(contributors))
    means = np.zeros((len(contributors), vectors.shape[1]))
    np.add.at(means, owner, vectors / counts[owner, None])
    return pl.DataFrame({"contributor_id": contributors, "demonstrations": counts, "vector": means.tolist()})


def values_of(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
    aim: Target,
    written: pl.DataFrame,
) -> tuple[pl.DataFrame, display.Metadata]:
    """Rows of ``contributions``, and how much they rest on.

    Args:
        written: As :func:`embedded` gives it.
    """
    contributors = written["contributor_id"]
    about: display.Metadata
    if settings.shapley_method == "in_run":
        of_runs = warehouse.read_round("contributor_values", round_.round_no).pivot(
            "contributor_id", index="seed_index", values="loss_reduction"
        )
        values, errors = mean_over_runs(of_runs.select(list(contributors)).to_numpy())
        method = f"in-run, order {settings.value_order}"
        about = {"seeds": of_runs.height}
    else:
        base_texts = list(frames.read("generations", round_.round_id)["base"])
        means = np.array(written["vector"].to_list())
        empty, rng = embedder.embed(base_texts).mean(axis=0), generator_for(round_, "shapley")
        if len(contributors) > LARGE_CROWD:
            estimates = distance_shapley(means, aim.vector, empty=empty, rng=rng)
        else:
            estimates = estimate_shapley(
                centroid_game(means, aim.vector, empty=empty),
                len(contributors),
                permutations=settings.shapley_permutations,
                rng=rng,
                exact_up_to=settings.exact_shapley_up_to,
            )
        values, errors = estimates.values, estimates.standard_errors
        method = f"centroid, {estimates.method}"
        about = {"evaluations": estimates.evaluations}
    columns = {"contributor_id": contributors, "shapley_value": values, "standard_error": errors}
    frame = pl.DataFrame(columns | {"method": [method] * len(contributors)})
    return frame.with_columns(pl.col("standard_error").fill_nan(None)), about


def estimates_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, aim: Target
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of ``contributor_estimates`` and of ``epochs``."""
    found = tournament(warehouse, frames, round_.round_no, including=True, memory=settings.memory_rounds)
    assert found is not None  # this round is in it
    by_rank = settings.points_scheme == "rank"
    scheme = "surrogate" if by_rank else settings.points_scheme
    known = standing(found, scheme, aim.vector, generator_for(round_, "estimates"))
    first = _first_of_epoch(warehouse, round_.round_no, found.round_ids)
    reliability = found.reliability
    provisional = np.zeros(len(found.contributors))
    if not by_rank:
        provisional = _epoch_points(found, known, first, settings, warehouse).sum(axis=0)
    frame = pl.DataFrame(
        {
            "contributor_id": found.contributors,
            "scheme": [scheme] * len(found.contributors),
            "estimate": known.estimates,
            "standard_error": known.standard_errors,
            "provisional_points": provisional,
        }
    )
    epoch = {
        "first_round_no": int(found.round_ids[first][1:]),
        "closes": by_rank or len(found.round_ids) - first >= settings.epoch_rounds,
        "reliability": reliability.reliability,
        "observed_variance": reliability.observed_variance,
        "noise_variance": reliability.noise_variance,
    }
    return frame, pl.DataFrame([epoch])


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
        points = _epoch_points(found, known, first, settings, warehouse)
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


def _first_of_epoch(warehouse: WarehouseResource, round_no: int, round_ids: tuple[str, ...]) -> int:
    """Place in ``round_ids`` of the first round whose points no earlier round has posted."""
    closed = warehouse.read_before("epochs", round_no).filter("closes")["round_no"].max()
    return 0 if closed is None else sum(int(round_id[1:]) <= int(str(closed)) for round_id in round_ids)


def _epoch_points(
    found: Tournament, known: Standing, first: int, settings: CrowdSettings, warehouse: WarehouseResource
) -> NDArray[np.float64]:
    """Points of each round of the open epoch, (rounds, N): what the model gained, shared by who took part and shifted
    by what each is estimated to add, less what newcomers, copyists and those found cheating are not paid. A contributor who
    holds the crowd back may end below zero."""
    gains, sent = found.gains[first:], found.demonstrations[first:]
    payouts = regression_points(
        known.estimates,
        found.participated[first:],
        gains,
        spread=known.spread,
        work=np.minimum(sent, settings.paid_demonstrations) if settings.pay_by == "demonstrations" else None,
    )
    if settings.covered_points:
        payouts = solvent_points(payouts, gains)
    payouts = kept_points(
        payouts,
        found.participated.sum(axis=0),
        _copied(found, first, warehouse),
        least_rounds=min(settings.points_after_rounds, len(found.round_ids)),
        copy_discount=settings.copy_discount,
    )
    caught = np.isin(found.contributors, settings.forfeited_names)
    payouts = np.where(caught & (payouts > 0), 0.0, payouts)
    return payouts * float(settings.points_per_distance)


def _copied(found: Tournament, first: int, warehouse: WarehouseResource) -> NDArray[np.float64]:
    """Share of near duplicates in what each sent in each round of the open epoch, (rounds, N), of those whom the detector
    flagged in that round for more of them than others have."""
    place = {contributor: index for index, contributor in enumerate(found.contributors)}
    shares = np.zeros((len(found.round_ids) - first, len(place)))
    for row, round_id in zip(shares, found.round_ids[first:], strict=True):
        flagged = warehouse.query(
            "SELECT contributor_id, value FROM quality_contributors WHERE round_no = $n AND flagged "
            "AND detector = 'near_duplicates'",
            {"n": int(round_id[1:])},
        )
        for contributor, share in flagged.iter_rows():
            if contributor in place:
                row[place[contributor]] = share
    return shares


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


def _points_and_values(points: pl.DataFrame, warehouse: WarehouseResource, round_no: int) -> pl.DataFrame:
    """``points`` so far of each contributor and the ``shapley_value`` summed so far."""
    values = warehouse.query(
        "SELECT contributor_id, sum(shapley_value) AS shapley_value FROM contributions WHERE round_no <= $n "
        "GROUP BY contributor_id",
        {"n": round_no},
    )
    return values.join(points, on="contributor_id", how="inner").sort("contributor_id")


def _correlation(both: pl.DataFrame) -> float | None:
    """Pearson correlation of points with Shapley values; None where either does not vary."""
    if both.height < 3 or both["points"].n_unique() < 2 or both["shapley_value"].n_unique() < 2:
        return None
    return float(np.corrcoef(both["points"].to_numpy(), both["shapley_value"].to_numpy())[0, 1])
