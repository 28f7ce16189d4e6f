"""What a detector finds, and the statistics that all of them share.

Belongs here: the form of a detection, tests that are honest for few rows. Does not belong here: any one detector.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

FALSE_DISCOVERIES = 0.01
"""Share of the contributors a detector flags that may be chance (Benjamini & Hochberg, 1995)."""

FLAGGED_EVENTS = pl.Schema({"event_id": pl.String, "score": pl.Float64, "detail": pl.String, "source": pl.String})
CONTRIBUTORS = pl.Schema(
    {
        "contributor_id": pl.String,
        "value": pl.Float64,
        "n": pl.Int64,
        "p_value": pl.Float64,
        "flagged": pl.Boolean,
        "detail": pl.String,
    }
)
RINGS = pl.Schema({"contributor_id": pl.String, "ring": pl.Int64})
TOPICS = pl.Schema(
    {
        "prompt": pl.String,
        "comparisons": pl.Int64,
        "triads": pl.Int64,
        "cyclic_share": pl.Float64,
        "curl_share": pl.Float64,
    }
)


@dataclass(frozen=True)
class Detection:
    """What one detector found in one round.

    Attributes:
        detector: its name, in settings and reasons too.
        events: columns of ``FLAGGED_EVENTS``, one row a flagged event: its score in the detector's unit, why, in
            words that quote no personal data, and the event it is like (null for most detectors).
        contributors: columns of ``CONTRIBUTORS``, one row a contributor it has a figure for: the figure, how many rows
            it rests on, the p-value of the test (null: not tested), whether it is flagged, and why.
        topics: columns of ``TOPICS``; empty for all but ``intransitivity``.
        rings: columns of ``RINGS``, a number for each group of linked contributors; empty for all but ``collusion``.
        fits: False where the detector finds itself made for other feedback than this: what it flagged stays, whatever settings say.
    """

    detector: str
    events: pl.DataFrame
    contributors: pl.DataFrame
    topics: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TOPICS))
    rings: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=RINGS))
    fits: bool = True


def authored(events: pl.DataFrame) -> pl.DataFrame:
    """Demonstrations and bids, in order of arrival: the events whose response their contributor wrote."""
    return events.filter(pl.col("kind").is_in(["demonstration", "bid"])).sort("seq")


def judgements(events: pl.DataFrame) -> pl.DataFrame:
    """Preferences in order of arrival, with ``side``: 1 for A, -1 for B, 0 for a tie."""
    side = (pl.col("probability_a") - 0.5).sign().cast(pl.Int8)
    return events.filter(pl.col("kind") == "preference").sort("seq").with_columns(side=side)


def detection_of_events(
    detector: str, rows: pl.DataFrame, flagged: pl.DataFrame, smallest_share: float = 0.0
) -> Detection:
    """A detection of single events, with each contributor's share of them tested against everybody else's.

    A contributor is flagged for at least two, and a share that is higher than the others' beyond chance.

    Args:
        rows: the events that shares are of, with ``event_id`` and ``contributor_id``.
        flagged: those found, with columns of ``FLAGGED_EVENTS``; ``source`` may be missing.
        smallest_share: below which nobody is flagged.
    """
    is_flagged = pl.col("event_id").is_in(flagged["event_id"].implode())
    counts = rows.group_by("contributor_id").agg(found=is_flagged.sum().cast(pl.Int64), n=pl.len().cast(pl.Int64))
    counts = counts.sort("contributor_id")
    k, n = counts["found"].to_numpy(), counts["n"].to_numpy()
    others = (k.sum() - k + 0.5) / np.maximum(n.sum() - n + 1, 1)
    p_value = binomial_tail(k, n, others)
    enough = (k >= 2) & (k >= smallest_share * n)
    contributors = counts.select(
        "contributor_id",
        value=pl.col("found") / pl.col("n"),
        n="n",
        p_value=pl.Series(p_value),
        flagged=pl.Series(discoveries(p_value) & enough),
        detail=pl.format(f"{{}} of {{}}: {detector}", "found", "n"),
    )
    return Detection(detector, _as_events(flagged), contributors.cast(CONTRIBUTORS))


def detection_of_contributors(
    detector: str, rows: pl.DataFrame, contributors: pl.DataFrame, topics: pl.DataFrame | None = None
) -> Detection:
    """A detection of contributors; the events are the judgements of those flagged, so that settings can name them.

    Args:
        rows: the judgements that were looked at.
        contributors: columns of ``CONTRIBUTORS`` but ``flagged``, if that is not decided yet by a stricter rule; with a
            column ``eligible`` only those rows can be flagged.
    """
    p_value = contributors["p_value"].fill_null(1.0).to_numpy()
    flagged = discoveries(p_value)
    if "eligible" in contributors.columns:
        flagged = flagged & contributors["eligible"].to_numpy()
    contributors = contributors.with_columns(flagged=pl.Series(flagged, dtype=pl.Boolean)).sort("contributor_id")
    return detection_of(detector, rows, contributors, topics)


def detection_of(
    detector: str, rows: pl.DataFrame, contributors: pl.DataFrame, topics: pl.DataFrame | None = None
) -> Detection:
    """A detection of contributors whose column ``flagged`` is decided."""
    events = rows.join(contributors.filter("flagged"), on="contributor_id", maintain_order="left")
    return Detection(
        detector,
        _as_events(events.select("event_id", score="value", detail="detail")),
        contributors.select(CONTRIBUTORS.keys()).cast(CONTRIBUTORS),
        pl.DataFrame(schema=TOPICS) if topics is None else topics.select(TOPICS.keys()).cast(TOPICS),
    )


def _as_events(flagged: pl.DataFrame) -> pl.DataFrame:
    if "source" not in flagged.columns:
        flagged = flagged.with_columns(source=pl.lit(None, pl.String))
    return flagged.select(FLAGGED_EVENTS.keys()).cast(FLAGGED_EVENTS)


def binomial_tail(
    successes: NDArray[np.int64], trials: NDArray[np.int64], chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """P(X >= successes) for X ~ Binomial(trials, chance), elementwise; 1 where there is no trial.

    Where each trial has a chance of its own, their mean gives a tail that is too large rather than too small
    (Hoeffding, 1956), for successes above the mean.
    """
    from scipy.special import betainc

    successes, trials = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    chance = np.clip(chance, 0.0, 1.0)
    some = (successes > 0) & (trials > 0)
    tail: NDArray[np.float64] = np.ones(trials.shape)
    a, b = successes[some], trials[some] - successes[some] + 1
    tail[some] = betainc(a, b, chance[some])
    return tail


def discoveries(p_values: NDArray[np.float64], level: float = FALSE_DISCOVERIES) -> NDArray[np.bool_]:
    """Which tests to call, so that at most ``level`` of those called are expected to be chance.

    Source: Benjamini & Hochberg, "Controlling the false discovery rate" (1995).
    """
    order = np.argsort(p_values, kind="stable")
    below = np.flatnonzero(p_values[order] <= level * np.arange(1, p_values.size + 1) / max(p_values.size, 1))
    called = np.zeros(p_values.size, dtype=bool)
    called[order[: below[-1] + 1 if below.size else 0]] = True
    return called
