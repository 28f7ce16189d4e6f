"""The figures that whoever runs a campaign asks for first: how far judges agree, how much is judged, how long and at what cost.

Belongs here: these figures from a home's rounds. Does not belong here: the coefficients (see ``mechanisms.agreement``), pages.
"""

from typing import Any

import numpy as np
import polars as pl

from crowd_assets.mechanisms.agreement import COEFFICIENTS, with_interval
from crowd_assets.mechanisms.agreement_of_pairs import cohen_of_pairs
from crowd_assets.mechanisms.labelers.base import AGREEMENT, OUTCOMES
from crowd_assets.mechanisms.sample_size import (
    comparisons_until_decided,
    comparisons_until_margin,
    items_until_interval,
)
from crowd_assets.round.asked import asked_of
from resources.feedback.events import accepted_at, completed
from resources.files.frames import FramesResource
from resources.rounds.book import Round, RoundBook
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import PEOPLES_LEDGER

RESAMPLES = 1_000
HALF_WIDTH = 0.05
"""How sure alpha, and a win rate, should be: the half width of a 95 % interval."""
FEWEST_SHARED = 8
MOST_TOPICS, MOST_PAIRS = 50, 50
JUDGED = (
    "round_id",
    "seq",
    "kind",
    "contributor_id",
    "comparison_id",
    "prompt",
    "probability_a",
    "preferred_a",
    "submitted_at",
    "judgement_share",
)

Figures = dict[str, Any]
FIGURES_SCHEMA = {"figure": pl.String(), "value": pl.Float64()}


def judgements_of(warehouse: WarehouseResource, frames: FramesResource, *, round_id: str | None = None) -> pl.DataFrame:
    """Valid preferences and outcomes of a home's rounds, or of ``round_id`` alone: one judgement of each labeler on each comparison, the
    first, with ``outcome`` where one was realised and ``seconds`` where a tool said when the task was accepted, or how long it took (``lead_time``)."""
    known = [each for each in RoundBook(warehouse).all() if round_id is None or each.round_id == round_id]
    round_ids = [each.round_id for each in known if frames.path("validated_feedback", each.round_id).exists()]
    if not round_ids:
        return pl.DataFrame(
            schema={
                "contributor_id": pl.String,
                "comparison_id": pl.String,
                "probability_a": pl.Float64,
                "judgement_share": pl.Float64,
            }
        )
    schema = completed(frames.read("validated_feedback", round_ids[-1])).schema
    events = (
        frames.scan("validated_feedback", round_ids, schema)
        .filter(pl.col("kind").is_in(["preference", "outcome"]))
        .select(*JUDGED, "payload")
        .collect()
        .sort("seq")
    )
    outcomes = (
        events.filter(pl.col("kind") == "outcome")
        .unique("comparison_id", keep="first", maintain_order=True)
        .select("comparison_id", outcome="preferred_a")
    )
    names = events["comparison_id"].unique().to_list()
    checks = asked_of(names, known[-1].round_no + 1, warehouse).select("comparison_id", "asked")
    events = (
        events.join(checks, on="comparison_id", how="left", maintain_order="left")
        .with_columns(comparison_id=pl.coalesce("asked", "comparison_id"))
        .drop("asked")
    )
    return (
        events.filter(pl.col("kind") == "preference")
        .unique(("contributor_id", "comparison_id"), keep="first", maintain_order=True)
        .with_columns(
            seconds=pl.coalesce(
                (pl.col("submitted_at") - accepted_at()).dt.total_milliseconds() / 1000,
                pl.col("payload").str.json_path_match("$.lead_time").cast(pl.Float64, strict=False),
            )
        )
        .with_columns(seconds=pl.when(pl.col("seconds") >= 0).then("seconds"))
        .join(outcomes, on="comparison_id", how="left", maintain_order="left")
        .drop("payload")
    )


def figures_of_round(round_: Round, warehouse: WarehouseResource, frames: FramesResource) -> pl.DataFrame:
    """Rows of ``agreement_figures``: by ``figure`` its ``value`` over what the round judged; a figure that is not defined is left out."""
    judged = judgements_of(warehouse, frames, round_id=round_.round_id)
    if judged.is_empty():
        return pl.DataFrame(schema=FIGURES_SCHEMA)
    counts = judged.group_by("comparison_id").len()["len"]
    flat: Figures = {
        "judgements": _judgements(judged),
        "items": counts.len(),
        "labelers": judged["contributor_id"].n_unique(),
        "judgements_an_item": judged.height / counts.len(),
        "items_judged_once": int((counts == 1).sum()),
    }
    for name, found in agreement_figures(judged, seed=round_.round_no).items():
        if isinstance(found, dict):
            flat |= {f"{name}{part}": found[key] for key, part in (("value", ""), ("low", "_low"), ("high", "_high"))}
        else:
            flat[name] = found
    flat |= _pace(judged) | _power(judged)
    rows = [(name, float(value)) for name, value in flat.items() if value is not None]
    return pl.DataFrame(rows, schema=FIGURES_SCHEMA, orient="row").sort("figure")


def shared_figures(warehouse: WarehouseResource, frames: FramesResource) -> Figures:
    """What ``campaign_figures`` says of all rounds, without anybody's name: for pages that everybody may see."""
    judged = judgements_of(warehouse, frames)
    if judged.is_empty():
        return {}
    named = ("pairs", "people")
    return {name: value for name, value in campaign_figures(judged, warehouse).items() if name not in named}


def agreement_figures(judged: pl.DataFrame, *, seed: int = 0, resamples: int = RESAMPLES) -> Figures:
    """Every coefficient with its 95 % interval over ``judged``, and how many more comparisons until alpha is known to ± 0.05.

    Coefficients take the side of a judgement (A, tie, B), that of the interval metric its probability.
    """
    rng = np.random.default_rng(seed)
    item = judged["comparison_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    report = judged["probability_a"].to_numpy()
    side = np.sign(report - 0.5)
    # The pairs of a ranking are one judgement: together they count as one item.
    share = np.bincount(item, judged["judgement_share"].fill_null(1.0)) / np.maximum(np.bincount(item), 1)
    weight = None if (share == 1).all() else share
    figures: Figures = {}
    for name in COEFFICIENTS:
        coefficient = with_interval(
            name, item, report if name == "alpha_interval" else side, resamples=resamples, rng=rng, weight=weight
        )
        figures[name] = {
            "value": _number(coefficient.value),
            "low": _number(coefficient.low),
            "high": _number(coefficient.high),
        }
        if name == "alpha_nominal":
            width = (coefficient.high - coefficient.low) / 2
            figures["items_with_two_judgements"], figures["judgements_on_them"] = (
                coefficient.items,
                coefficient.judgements,
            )
            more = (
                items_until_interval(width, coefficient.items, HALF_WIDTH) if np.isfinite(width) and width > 0 else None
            )
            figures["more_items_until_alpha_is_known"] = more
    return figures


def campaign_figures(
    judged: pl.DataFrame, warehouse: WarehouseResource, *, seed: int = 0, resamples: int = RESAMPLES
) -> Figures:
    """All that a manager asks: ``agreement``, ``by_topic``, ``pairs`` of people, ``coverage``, ``pace``, ``people``, ``cost`` and ``power``,
    and what ``weights_rest_on``: outcomes, or agreement where nothing was realised yet. Shares are in [0, 1], costs in credits."""
    counts = judged.group_by("comparison_id").len()
    coverage = counts.group_by("len").agg(items=pl.len()).sort("len")
    asked = warehouse.query("SELECT count(*) FROM comparison_tasks").item()
    judged_tasks = warehouse.query("SELECT comparison_id FROM comparison_tasks").join(
        counts, on="comparison_id", how="semi"
    )
    figures: Figures = {
        "judgements": _judgements(judged),
        "items": counts.height,
        "labelers": judged["contributor_id"].n_unique(),
        "agreement": agreement_figures(judged, seed=seed, resamples=resamples),
        "coverage": {"0": asked - judged_tasks.height} | {str(n): items for n, items in coverage.iter_rows()},
    }
    topics = judged.group_by("prompt").agg(pl.len(), pl.col("comparison_id").n_unique().alias("items"))
    largest = topics.sort("len", "prompt", descending=[True, False]).head(MOST_TOPICS)
    figures["by_topic"] = [
        {
            "prompt": prompt,
            "judgements": n,
            "items": items,
            "alpha_nominal": _number(_alpha(judged.filter(pl.col("prompt") == prompt))),
        }
        for prompt, n, items in largest.iter_rows()
    ]
    figures["pairs"] = _pairs(judged)
    figures["people"] = _people(judged).to_dicts()
    figures["pace"] = _pace(judged)
    figures["cost"] = _cost(warehouse, counts, figures["judgements"])
    figures["power"] = _power(judged)
    realised = warehouse.query("SELECT coalesce(max(slots), 0) FROM labeler_weights").item()
    figures["weights_rest_on"] = OUTCOMES if realised else AGREEMENT
    return figures


def _judgements(judged: pl.DataFrame) -> float:
    """How many judgements are given: a whole number where no ranking is among them."""
    found = float(judged["judgement_share"].fill_null(1.0).sum())
    return round(found) if abs(found - round(found)) < 1e-6 else found


def _alpha(judged: pl.DataFrame) -> float:
    item = judged["comparison_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    return COEFFICIENTS["alpha_nominal"](item, np.sign(judged["probability_a"].to_numpy() - 0.5))


def _pairs(judged: pl.DataFrame) -> list[Figures]:
    names = judged["contributor_id"].unique().sort()
    if judged.is_empty():
        return []
    kappas = cohen_of_pairs(
        judged["comparison_id"].rank("dense").cast(pl.Int64).to_numpy() - 1,
        judged["contributor_id"].rank("dense").cast(pl.Int64).to_numpy() - 1,
        np.sign(judged["probability_a"].to_numpy() - 0.5),
        fewest_shared=FEWEST_SHARED,
    )
    order = np.argsort(-kappas.shared, kind="stable")[:MOST_PAIRS]
    return [
        {
            "one": names[int(kappas.one[at])],
            "other": names[int(kappas.other[at])],
            "shared": int(kappas.shared[at]),
            "agreement": _number(kappas.agreement[at]),
            "cohen_kappa": _number(kappas.kappa[at]),
        }
        for at in order
    ]


def _people(judged: pl.DataFrame) -> pl.DataFrame:
    """By labeler: judgements, agreement with the others' majority and with outcomes, median seconds."""
    side = (pl.col("probability_a") - 0.5).sign()
    others = side.sum().over("comparison_id") - side
    gold = (pl.col("outcome") - 0.5).sign()
    shares = pl.col("judgement_share").fill_null(1.0).sum() if judged["judgement_share"].count() else pl.len()
    return (
        judged.with_columns(
            with_others=pl.when(others != 0).then((side == others.sign()).cast(pl.Float64)),
            with_gold=pl.when(gold != 0).then((side == gold).cast(pl.Float64)),
        )
        .group_by("contributor_id")
        .agg(
            judgements=shares,
            agreement_with_others=pl.col("with_others").mean(),
            agreement_with_gold=pl.col("with_gold").mean(),
            median_seconds=pl.col("seconds").median(),
        )
        .sort("judgements", "contributor_id", descending=[True, False])
    )


def _pace(judged: pl.DataFrame) -> Figures:
    days = judged["submitted_at"].dt.date().n_unique() if judged.height else 0
    return {
        "median_seconds_an_item": _number(judged["seconds"].median()) if judged.height else None,
        "days": days,
        "items_a_day": judged["comparison_id"].n_unique() / days if days else None,
        "judgements_a_day": _judgements(judged) / days if days else None,
    }


def _cost(warehouse: WarehouseResource, counts: pl.DataFrame, judgements: float) -> Figures:
    """Credits paid for judgements and answers, an accepted judgement, a bought pair and a decided one; and the share rejected."""
    paid = dict(
        warehouse.query(
            "SELECT CASE WHEN reason LIKE 'judgements%' THEN 'judgements' ELSE 'answers' END, sum(amount)::float8 "
            f"FROM {PEOPLES_LEDGER} posted WHERE unit = 'credit' GROUP BY 1"
        ).iter_rows()
    )
    rejected = warehouse.query("SELECT count(*) FROM rejected_feedback WHERE kind = 'preference'").item()
    accepted = int(counts["len"].sum())
    of_judgements, of_answers = float(paid.get("judgements", 0.0)), float(paid.get("answers", 0.0))
    return {
        "credits_for_judgements": of_judgements,
        "credits_for_answers": of_answers,
        "credits_a_judgement": of_judgements / judgements if judgements else None,
        "credits_a_decided_item": (of_judgements + of_answers) / counts.height if counts.height else None,
        "rejected_share": rejected / (rejected + accepted) if rejected + accepted else None,
    }


def _power(judged: pl.DataFrame) -> Figures:
    """The share of items whose majority says A, and how many items until it is known to ± 0.05, and told from one half."""
    majority = (
        judged.group_by("comparison_id")
        .agg(side=(pl.col("probability_a") - 0.5).sign().sum())
        .filter(pl.col("side") != 0)
    )
    if majority.is_empty():
        return {"win_rate_of_a": None, "items_until_known": None, "items_until_told_from_half": None}
    rate = int((majority["side"] > 0).sum()) / majority.height
    return {
        "win_rate_of_a": rate,
        "items_until_known": comparisons_until_margin(rate, HALF_WIDTH),
        "items_until_told_from_half": comparisons_until_decided(rate),
    }


def _number(value: Any) -> float | None:
    """A number, None where it is not defined."""
    return None if value is None or not np.isfinite(value) else float(value)


def print_figures(figures: Figures) -> None:
    """The figures in a terminal; pairs and people are in the JSON alone."""
    from crowd_assets.terminal.printing import console, print_table

    agreement = figures["agreement"]
    print_table(
        f"agreement of {figures['labelers']} labelers on {figures['items']} comparisons, {figures['judgements']} judgements",
        [("coefficient", False), ("value", True), ("95 % low", True), ("95 % high", True)],
        [
            (name, figure["value"], figure["low"], figure["high"])
            for name, figure in agreement.items()
            if isinstance(figure, dict)
        ],
    )
    print_table(
        "how often comparisons are judged", [("judgements", True), ("comparisons", True)], figures["coverage"].items()
    )
    single = {name: value for part in ("pace", "cost", "power") for name, value in figures[part].items()}
    single["more_items_until_alpha_is_known"] = agreement["more_items_until_alpha_is_known"]
    for name, value in single.items():
        shown = "–" if value is None else f"{value:.4g}" if isinstance(value, float) else value
        console.print(f"{name.replace('_', ' ')}: {shown}")
