"""How labelers judge: too fast, always the same, by position, against gold, in circles.

Each figure is tested against what the other labelers of the round do on the same comparisons, with the labeler's own
number of judgements, and over all labelers at once: who judged little is not flagged for it.

Belongs here: figures of one labeler at a time. Does not belong here: labelers that are like one another (see
``groups``) and labelers' weights (see ``mechanisms.labelers``).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.preferences import cyclic_triads_by_judge, hodge_rank
from crowd_assets.quality.detectors.base import (
    CONTRIBUTORS,
    TOPICS,
    Detection,
    binomial_tail,
    detection_of_contributors,
    detection_of_events,
    judgements,
)
from resources.feedback.events import accepted_at

SMALLEST_BIAS = 0.2
"""Share of A beyond the crowd's below which a bias may be significant and is let be."""
SHORTEST_RUN = 12
"""Shorter runs happen to people who often see no difference, or whose taste is unlike the others'."""
FAST_SITTINGS = 0.2
MANY_CYCLIC = 0.125
"""Share of cyclic triads halfway to coin flips, below which a share may be significant and is let be."""
OWN_WEIGHT = 1.0
"""Judgements of the round's mean that are added to the others' of a comparison."""
MOST_TOPICS = 100


def too_fast(events: pl.DataFrame, fastest: float) -> Detection:
    """Judgements made faster than their texts can be read.

    Unit: words a minute, of prompt and both answers, over the time from the field ``accepted_at`` of the payload to
    ``submitted_at``; flagged above ``fastest`` (``CROWD_FASTEST_READING``; people read English at 175 to 300 [Brysbaert
    2019] and skim at 700). Judgements of one labeler with the same two times are one sitting, whose words add up; a
    prompt counts once in it. Without ``accepted_at`` nothing is said. Contributors: their share of sittings that were
    too fast; flagged from a fifth.

    An honest person trips it by knowing the texts already, or where a tool starts its clock late.
    """
    rows = (
        judgements(events)
        .filter(pl.col("payload").str.contains("accepted_at", literal=True))
        .with_columns(accepted_at=accepted_at())
        .filter(pl.col("accepted_at").is_not_null(), pl.col("accepted_at") <= pl.col("submitted_at"))
    )

    sitting = ("contributor_id", "accepted_at", "submitted_at")
    minutes = (pl.col("submitted_at") - pl.col("accepted_at")).dt.total_milliseconds() / 60_000
    prompt = pl.when(pl.int_range(pl.len()).over(*sitting, "prompt") == 0).then("words_prompt").otherwise(0)
    for column in ("prompt", "response_a", "response_b"):  # few texts are in many judgements
        words = pl.col(column).str.count_matches(r"\S+").cast(pl.Int64).alias(f"words_{column}")
        rows = rows.join(rows.select(column).unique().with_columns(words), on=column, maintain_order="left")
    speed = (
        rows.with_columns(read=pl.col("words_response_a") + pl.col("words_response_b") + prompt)
        .with_columns(read=pl.col("read").sum().over(sitting))
        .with_columns(score=pl.col("read") / minutes.clip(lower_bound=1 / 60_000))
    )
    flagged = speed.filter(pl.col("score") > fastest).select(
        "event_id", "score", detail=pl.format("{} words in {} s", "read", (minutes * 60).round(1))
    )
    sittings = rows.unique(sitting, keep="first", maintain_order=True)
    return detection_of_events("too_fast", sittings, flagged, FAST_SITTINGS)


def straight_lining(events: pl.DataFrame) -> Detection:
    """Labelers who give the same side (A, B or tie) on and on.

    Unit: share of a labeler's judgements in their longest run of one side. Tested: the chance of that run, each side
    with the share it has among the other judgements of that comparison and, with the weight of one, of the round, times
    the places where it could begin; flagged from 12 in a row.

    An honest person trips it only where comparisons are sorted so that the better answer stands on one side and nobody
    else judged them.
    """
    rows = judgements(events)
    if rows.is_empty():
        return detection_of_contributors("straight_lining", rows, pl.DataFrame(schema=CONTRIBUTORS))
    total = rows.group_by("side").agg(of_side=pl.len())
    alike = pl.len().over("comparison_id", "side") - 1
    there = pl.len().over("comparison_id") - 1
    run = (
        (pl.col("side") != pl.col("side").shift().over("contributor_id"))
        .fill_null(True)
        .cum_sum()
        .over("contributor_id")
    )
    share = pl.col("of_side") / rows.height
    runs = (
        rows.join(total, on="side", maintain_order="left")
        .with_columns(log_chance=((alike + OWN_WEIGHT * share) / (there + OWN_WEIGHT)).log(), run=run)
        .group_by("contributor_id", "run")
        .agg(length=pl.len().cast(pl.Int64), log_chance=pl.col("log_chance").sum(), side=pl.col("side").first())
    )
    n = pl.col("length").sum()
    longest = runs.group_by("contributor_id").agg(
        n=n,
        length=pl.col("length").max(),
        log_chance=pl.col("log_chance").sort_by("length", "run", descending=[True, False]).first(),
        side=pl.col("side").sort_by("length", "run", descending=[True, False]).first(),
    )
    places = pl.col("n") - pl.col("length") + 1
    contributors = longest.select(
        "contributor_id",
        "n",
        value=pl.col("length") / pl.col("n"),
        eligible=pl.col("length") >= SHORTEST_RUN,
        p_value=(total.height * places * pl.col("log_chance").exp()).clip(upper_bound=1.0),
        detail=pl.format("{} of {} judgements in a row: {}", "length", "n", _side_in_words()),
    )
    return detection_of_contributors("straight_lining", rows, contributors)


def position_bias(events: pl.DataFrame) -> Detection:
    """Labelers who prefer a place, left or right, rather than an answer.

    Unit: share of A among a labeler's decided judgements, less the share expected from the others' on the same
    comparisons, -1 to 1. Tested by the binomial tail of both sides; flagged from a bias of 0.2.

    An honest person trips it where a tool shows the longer or the newer answer on one side, and only this person minds.
    """
    rows = judgements(events).filter(pl.col("side") != 0)
    first = (pl.col("side") == 1).cast(pl.Int64)
    everywhere = _share(rows["side"] == 1)
    others = first.sum().over("comparison_id") - first
    expected = (others + OWN_WEIGHT * everywhere) / (pl.len().over("comparison_id") - 1 + OWN_WEIGHT)
    counts = (
        rows.with_columns(first=first, expected=expected)
        .group_by("contributor_id")
        .agg(k=pl.col("first").sum(), n=pl.len().cast(pl.Int64), expected=pl.col("expected").mean())
    )
    k, n, chance = (counts[name].to_numpy() for name in ("k", "n", "expected"))
    p_value = np.minimum(2 * np.minimum(binomial_tail(k, n, chance), binomial_tail(n - k, n, 1 - chance)), 1.0)
    share = pl.col("k") / pl.col("n")
    contributors = counts.select(
        "contributor_id",
        "n",
        value=share - pl.col("expected"),
        p_value=pl.Series(p_value, dtype=pl.Float64),
        eligible=(share - pl.col("expected")).abs() >= SMALLEST_BIAS,
        detail=pl.format(
            "A in {} of {} decided judgements, {}% expected",
            "k",
            "n",
            (100 * pl.col("expected")).round(0).cast(pl.Int64),
        ),
    )
    return detection_of_contributors("position_bias", rows, contributors)


def gold_agreement(events: pl.DataFrame, earlier: pl.DataFrame | None) -> Detection:
    """Labelers who are nearer to a coin than to the crowd where the truth became known.

    Unit: share of a labeler's decided judgements that agree with a decided outcome (gold item, expert, end users).
    Judgement or outcome must be of this round, the other may be earlier. Tested: the lower binomial tail, against
    halfway between one half and the other labelers' agreement on the same comparisons. Every labeler gets the figure;
    few with it are flagged.

    An honest person trips it by lasting dissent from what is taken for gold, which is the majority's view in many data
    sets.
    """
    parts = [events] if earlier is None else [earlier, events]
    given = pl.concat([judgements(part).with_columns(now=pl.lit(part is events)) for part in parts])
    side = (pl.col("preferred_a") - 0.5).sign().cast(pl.Int8)
    outcomes = pl.concat(
        [
            part.filter(pl.col("kind") == "outcome").select(
                "comparison_id", "seq", truth=side, settled_now=pl.lit(part is events)
            )
            for part in parts
        ]
    )
    outcomes = outcomes.sort("seq").unique("comparison_id", keep="first", maintain_order=True).drop("seq")
    rows = (
        given.join(outcomes, on="comparison_id", maintain_order="left")
        .filter(pl.col("side") != 0, pl.col("truth") != 0, pl.col("now") | pl.col("settled_now"))
        .with_columns(right=(pl.col("side") == pl.col("truth")).cast(pl.Int64))
    )
    everywhere = _share(rows["right"])
    others = pl.col("right").sum().over("comparison_id") - pl.col("right")
    expected = (others + OWN_WEIGHT * everywhere) / (pl.len().over("comparison_id") - 1 + OWN_WEIGHT)
    counts = (
        rows.with_columns(expected=expected)
        .group_by("contributor_id")
        .agg(k=pl.col("right").sum(), n=pl.len().cast(pl.Int64), expected=pl.col("expected").mean())
    )
    k, n, crowd = (counts[name].to_numpy() for name in ("k", "n", "expected"))
    chance = (0.5 + np.maximum(crowd, 0.5)) / 2
    contributors = counts.select(
        "contributor_id",
        "n",
        value=pl.col("k") / pl.col("n"),
        p_value=pl.Series(binomial_tail(n - k, n, 1 - chance), dtype=pl.Float64),
        detail=pl.format(
            "{} of {} as gold has it, others {}%", "k", "n", (100 * pl.col("expected")).round(0).cast(pl.Int64)
        ),
    )
    return detection_of_contributors("gold_agreement", rows.filter("now"), contributors)


def intransitivity(events: pl.DataFrame) -> Detection:
    """Labelers whose preferences go round in circles: a over b, b over c, c over a. And the same of each prompt's.

    Unit: share of cyclic among a labeler's triads (three answers to one prompt, each two compared and decided); coin
    flips give 0.25. Tested: the upper binomial tail, against the other labelers' share (each counted as 0.125 at most),
    on as many triads as could be without a common comparison (a third of the comparisons), as triads that overlap say
    the same twice; flagged from 0.125.

    ``topics``: for each prompt the share of cyclic triads of the pooled preferences and HodgeRank's share of curl, the
    latter for the 100 prompts with most comparisons. They flag nobody: on a topic where several things matter the
    crowd's majorities may turn in circles though nobody's do.

    An honest person trips it by weighing different things in different comparisons, over many of them.
    """
    rows = judgements(events).filter(pl.col("side") != 0, pl.col("response_a") != pl.col("response_b"))
    if rows.is_empty():
        return detection_of_contributors("intransitivity", rows, pl.DataFrame(schema=CONTRIBUTORS))
    sides = pl.concat([rows["response_a"], rows["response_b"]])
    prompts = rows["prompt"].rank("dense").cast(pl.Int64)
    item = pl.DataFrame({"prompt": pl.concat([prompts, prompts]), "text": sides})
    numbers = item.select(pl.struct("prompt", "text").rank("dense").cast(pl.Int64)).to_series().to_numpy()
    a, b = numbers[: rows.height], numbers[rows.height :]
    preferred = (rows["side"] == 1).cast(pl.Float64).to_numpy()
    names = rows["contributor_id"].unique().sort()
    labeler = rows["contributor_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    triads = cyclic_triads_by_judge(labeler, a, b, preferred)
    with_triads = triads.total > 0
    disjoint = np.minimum(triads.total, triads.comparisons // 3)[with_triads]
    cyclic, total = triads.cyclic[with_triads], triads.total[with_triads]
    share = cyclic / total
    usual = np.minimum(share, MANY_CYCLIC) * disjoint  # capped, so that who turns in circles does not excuse the next
    others = (usual.sum() - usual + 0.5) / (disjoint.sum() - disjoint + 10.0)
    contributors = pl.DataFrame(
        {
            "contributor_id": names.gather(triads.judges[with_triads]),
            "n": total,
            "value": share,
            "p_value": binomial_tail(np.floor(share * disjoint).astype(np.int64), disjoint, others),
            "cyclic": cyclic,
            "eligible": share >= MANY_CYCLIC,
        }
    ).with_columns(detail=pl.format("{} of {} triads cyclic", "cyclic", "n"))
    topics = _topics(rows, prompts.to_numpy() - 1, a, b, preferred)
    return detection_of_contributors("intransitivity", rows, contributors, topics)


def _topics(
    rows: pl.DataFrame,
    prompt: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    preferred: NDArray[np.float64],
) -> pl.DataFrame:
    triads = cyclic_triads_by_judge(prompt, a, b, preferred)
    texts = rows["prompt"].unique().sort()
    of_prompt = np.bincount(prompt)
    topics = (
        pl.DataFrame(
            {
                "number": triads.judges,
                "prompt": texts.gather(triads.judges),
                "comparisons": of_prompt[triads.judges],
                "triads": triads.total,
                "cyclic_share": triads.cyclic / np.maximum(triads.total, 1),
            }
        )
        .filter(pl.col("triads") > 0)
        .sort("comparisons", "prompt", descending=[True, False])
    )
    order = np.argsort(prompt, kind="stable")
    ends = np.cumsum(of_prompt)
    curls: list[float | None] = []
    for number in topics["number"].head(MOST_TOPICS):
        of_topic = order[ends[number] - of_prompt[number] : ends[number]]
        curls.append(hodge_rank(a[of_topic], b[of_topic], preferred[of_topic]).curl)
    curls += [None] * (topics.height - len(curls))
    return topics.with_columns(curl_share=pl.Series(curls, dtype=pl.Float64)).select(TOPICS.keys())


def _share(column: pl.Series) -> float:
    """Share of ones, 1/2 where there is nothing."""
    return float(column.sum()) / len(column) if len(column) else 0.5


def _side_in_words() -> pl.Expr:
    return pl.col("side").replace_strict({1: "A", 0: "a tie", -1: "B"}, return_dtype=pl.String)
