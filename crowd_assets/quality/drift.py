"""What a round's feedback is like as a whole, beside earlier rounds: volume, freshness, shares and distributions.

Distributions are compared by samples. The distance of two of them is the largest difference of their cumulative
distributions (Kolmogorov–Smirnov), or half the sum of the differences of their shares where values are categories. A
figure is worth a warning when its distance is above a setting and above what samples of that size differ by themselves
once in a thousand times (Dvoretzky–Kiefer–Wolfowitz–Massart, Ann. Probab. 18:1269, 1990).

Belongs here: figures of a round, all of severity warning. Does not belong here: what a row must be like (see
``conditions``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.quality.conditions import SHARE
from resources.feedback.events import KINDS

ROUND = "round"  # the suite of these figures
SAMPLE_PER_CHUNK = 500  # rows of a kind
SAMPLE = 4_000  # rows of a kind in a round
VECTORS = 256  # demonstrations of a round that are looked at in Φ
FEWEST = 50  # rows on either side below which distributions are not compared
FALSE_ALARM = 0.001
ROUNDS_COMPARED = 5
ROUNDS_FOR_VOLUME = 3
VOLUME_FACTOR = 5.0
CHARACTERS_READ = 300
SCRIPTS = ("Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Han", "Hiragana", "Katakana", "Hangul")
CONTRIBUTED = tuple(kind for kind in KINDS if kind != "outcome")

SAMPLED = {
    "seq": pl.Int64(),
    "event_id": pl.String(),
    "kind": pl.String(),
    "length": pl.Float64(),
    "script": pl.String(),
    "share": pl.Float64(),
    "price": pl.Float64(),
    "response": pl.String(),
}


@dataclass(frozen=True)
class Figure:
    """One figure of a round.

    Attributes:
        name: Column, check and table know it by this name.
        words: What is expected.
        value: The figure; None where there is nothing to compare with.
        low, high: Where it is expected, None for no bound on that side.
    """

    name: str
    words: str
    value: float | None
    low: float | None
    high: float | None

    @property
    def success(self) -> bool:
        """Whether it is where it is expected, or could not be had."""
        if self.value is None:
            return True
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)


WORDS: dict[str, str] = {
    "freshness": "the newest event is at most CROWD_MAX_FEEDBACK_AGE_DAYS days old",
    **{
        f"{kind}_volume": f"about as many {kind}s as in earlier rounds, within a factor of {VOLUME_FACTOR:g}"
        for kind in KINDS
    },
    **{
        f"{kind}_largest_share": f"no contributor sends more than CROWD_MAX_CONTRIBUTOR_SHARE of the {kind}s"
        for kind in CONTRIBUTED
    },
    **{f"{kind}_length_drift": f"{kind}s are as long as in earlier rounds" for kind in CONTRIBUTED},
    **{f"{kind}_script_drift": f"{kind}s are written in the scripts of earlier rounds" for kind in CONTRIBUTED},
    **{f"{column}_drift": f"{column} is distributed as in earlier rounds" for column in SHARE.values()},
    "asked_price_drift": "asked_price is distributed as in earlier rounds",
    "phi_drift": "demonstrations lie where those of earlier rounds lie in Φ",
}


def sample(events: pl.DataFrame, most: int = SAMPLE_PER_CHUNK) -> pl.DataFrame:
    """Of each kind of a chunk of events at most ``most`` rows, drawn the same way each time; columns as they are."""
    return pl.concat([events.clear(), *(thin(of_kind, most) for of_kind in events.partition_by("kind"))])


def described(events: pl.DataFrame) -> pl.DataFrame:
    """A sample of events as ``SAMPLED``.

    The texts of a comparison count once, however many judge it: they would pass for a sample larger than it is.
    """
    pair = pl.when(pl.struct("kind", "comparison_id").is_first_distinct()).then(
        pl.concat_str("response_a", "response_b", separator=" ")
    )
    text = pl.coalesce("response", pair)
    read = text.str.slice(0, CHARACTERS_READ)
    letters = {script: read.str.count_matches(rf"\p{{{script}}}") for script in SCRIPTS}
    most_letters = pl.max_horizontal(*letters.values())
    by_script = [pl.when(count == most_letters).then(pl.lit(name)) for name, count in letters.items()]
    script = pl.when(most_letters == 0).then(pl.lit("none")).otherwise(pl.coalesce(*by_script))  # null without a text
    columns = {
        "length": text.str.len_chars(),
        "script": script,
        "share": pl.coalesce(*SHARE.values()),
        "price": pl.col("asked_price").cast(pl.Float64, strict=False),
        "response": pl.when(pl.col("kind") == "demonstration").then(pl.col("response")),
    }
    return events.select(
        "seq",
        "event_id",
        "kind",
        *(columns[name].cast(SAMPLED[name]).alias(name) for name in SAMPLED if name in columns),
    )


def thin(frame: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most ``most`` rows, the same ones each time: those whose ids come first, read backwards, as ids may count."""
    return frame if frame.height <= most else frame.bottom_k(most, by=pl.col("event_id").str.reverse()).sort("seq")


def figures(
    now: pl.DataFrame,
    before: pl.DataFrame,
    volumes: Sequence[Mapping[str, int]],
    volume: Mapping[str, int],
    largest: Mapping[str, float],
    newest: datetime | None,
    claimed_at: datetime,
    vectors: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    *,
    drift_distance: float,
    max_contributor_share: float,
    max_feedback_age_days: float,
) -> list[Figure]:
    """All figures of a round, in the order of :data:`WORDS`.

    Args:
        now, before: Samples of the round and of earlier ones, as of :func:`described`.
        volumes: Events by kind of each earlier round; ``volume``, of this one.
        largest: By kind, the largest share that one contributor has of its events, where there are enough to tell.
        newest: When the newest event was submitted; None where there is none.
        vectors: Of demonstrations, in Φ: this round's (n, d) and earlier ones' (m, d).
        drift_distance: Distance of two distributions, from 0 to 1, that is worth a warning if it is no accident.
    """
    bounded: dict[str, tuple[float, float | None, float | None]] = {}
    if newest is not None:
        bounded["freshness"] = (max((claimed_at - newest).total_seconds(), 0.0) / 86_400, None, max_feedback_age_days)
    for kind in KINDS:
        if len(volumes) >= ROUNDS_FOR_VOLUME:
            usual = float(np.median([each.get(kind, 0) for each in volumes]))
            bounded[f"{kind}_volume"] = ((volume.get(kind, 0) + 1) / (usual + 1), 1 / VOLUME_FACTOR, VOLUME_FACTOR)
        if kind in largest:
            bounded[f"{kind}_largest_share"] = (largest[kind], None, max_contributor_share)
        of_now, of_before = (each.filter(pl.col("kind") == kind) for each in (now, before))
        compared = {f"{SHARE[kind]}_drift": "share"} if kind in SHARE else {}
        if kind in CONTRIBUTED:
            compared[f"{kind}_length_drift"] = "length"
        if kind == "bid":
            compared["asked_price_drift"] = "price"
        for name, column in compared.items():
            one, other = (each[column].drop_nulls().to_numpy() for each in (of_now, of_before))
            if min(len(one), len(other)) >= FEWEST:
                bounded[name] = (distance(one, other), None, max(drift_distance, by_chance(len(one), len(other))))
        scripts = [each["script"].drop_nulls() for each in (of_now, of_before)]
        if kind in CONTRIBUTED and min(map(len, scripts)) >= FEWEST:
            allowed = max(drift_distance, by_chance(len(scripts[0]), len(scripts[1])))
            bounded[f"{kind}_script_drift"] = (category_distance(*scripts), None, allowed)
    if vectors is not None and min(map(len, vectors)) >= FEWEST:
        one, other = vectors
        by_dimension = [distance(one[:, each], other[:, each]) for each in range(one.shape[1])]
        chance = by_chance(len(one), len(other), tests=len(by_dimension))
        bounded["phi_drift"] = (max(by_dimension), None, max(drift_distance, chance))
    nothing = (None, None, None)
    return [
        Figure(name, words, *(None if each is None else round(each, 6) for each in bounded.get(name, nothing)))
        for name, words in WORDS.items()
    ]


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Largest difference of the cumulative distributions of two samples, in [0, 1] (Kolmogorov–Smirnov)."""
    one, other = np.sort(one), np.sort(other)
    places = np.concatenate([one, other])
    below = [np.searchsorted(each, places, side="right") / len(each) for each in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def category_distance(one: pl.Series, other: pl.Series) -> float:
    """Half the sum of the differences of two samples' shares, in [0, 1] (total variation)."""
    shares = [dict(each.value_counts(normalize=True, name="share").iter_rows()) for each in (one, other)]
    names = sorted({*shares[0], *shares[1]})
    return 0.5 * sum(abs(shares[0].get(name, 0.0) - shares[1].get(name, 0.0)) for name in names)


def by_chance(n: int, m: int, tests: int = 1) -> float:
    """Distance that two samples of one distribution keep within but once in ``1 / FALSE_ALARM`` times, over ``tests``."""
    return math.sqrt(-math.log(FALSE_ALARM / tests / 2) / 2 * (n + m) / (n * m))
