"""What the settled rounds before a round hold that its feedback is measured against.

Belongs here: reading it, of all rounds no more than a round asks about. Does not belong here: what is expected (see
``conditions`` and ``drift``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.quality import conditions, drift
from resources.feedback.events import EVENT_SCHEMA, KINDS, completed
from resources.feedback.generated import ANSWERS, generated_answers
from resources.files.frames import FramesResource
from resources.rounds.book import Round, RoundBook
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import SETTLED_ROUNDS

TASKS = {"comparison_id": pl.String(), "event_id_a": pl.String(), "event_id_b": pl.String()}
VECTORS = "feedback_vectors"  # the frame that keeps each round's
_NO_EVENTS = pl.DataFrame(schema={"seq": pl.Int64(), **EVENT_SCHEMA})


@dataclass(frozen=True)
class Earlier:
    """What was before a round.

    Attributes:
        events: The valid events of all settled rounds, with ``round_id``.
        tasks: Comparisons that the platform published, and the bids that their answers come from.
        sold: ``event_id`` of bids that were bought.
        written: The answers of models behind names in ``tasks``.
        recent: The valid events of each of the last ``drift.ROUNDS_COMPARED`` of them, oldest first.
        vectors: Of demonstrations of the last rounds, in Φ, shape (m, d); None where there are none.
        latest: The latest instant that the home had noted: later than the round's claim where its clock was set back.
    """

    events: pl.LazyFrame = field(default_factory=lambda: _NO_EVENTS.with_columns(round_id=pl.lit("")).lazy())
    recent: Callable[[], list[pl.DataFrame]] = list
    tasks: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TASKS))
    sold: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"event_id": pl.String()}))
    written: Callable[[pl.Series], pl.DataFrame] = lambda names: pl.DataFrame(schema=ANSWERS)
    vectors: NDArray[np.float64] | None = None
    latest: datetime | None = None


@dataclass(frozen=True)
class Known:
    """What of it matters to a round: keys of rows that ask what the round asks, by kind, and what it was like.

    Attributes:
        keys: By kind, ``conditions.FACTS`` of earlier rows with a question or an answer of the round.
        published: Keys of comparisons that the platform published.
        sample: ``drift.SAMPLED`` of the last rounds.
        volumes: Events by kind of every round.
        vectors: As in :class:`Earlier`.
        begun: When the round was claimed, or the latest instant that the home had noted by then.
    """

    keys: dict[str, pl.DataFrame]
    published: pl.Series
    sample: pl.DataFrame
    volumes: list[dict[str, int]]
    vectors: NDArray[np.float64] | None
    begun: datetime


def before(round_: Round, warehouse: WarehouseResource, frames: FramesResource, embedder: str) -> Earlier:
    """The settled rounds before ``round_``, and what they left in the space of ``embedder``."""
    of_settled = f"JOIN {SETTLED_ROUNDS} r USING (round_no) WHERE round_no < $n"
    with warehouse.session():
        settled = RoundBook(warehouse).rounds_through(round_.round_no)[:-1]
        tasks = warehouse.read_before("comparison_tasks", round_.round_no).select(*TASKS)
        (latest,) = warehouse.query(
            "SELECT greatest((SELECT max(greatest(claimed_at, settled_at)) FROM rounds WHERE round_no < $n), "
            "(SELECT max(ingested_at) FROM event_index WHERE seq BETWEEN $from AND $to)) AS latest",
            {"n": round_.round_no, "from": round_.from_seq, "to": round_.to_seq},
        )["latest"]
        sold = warehouse.query(f"SELECT event_id FROM awards {of_settled} AND awarded", {"n": round_.round_no})

    def recent() -> list[pl.DataFrame]:
        return [completed(frames.read("validated_feedback", each)) for each in settled[-drift.ROUNDS_COMPARED :]]

    vectors = [
        of_round["vector"].to_numpy()
        for round_id in settled[-drift.ROUNDS_COMPARED :]
        if frames.path(VECTORS, round_id).exists()
        and (of_round := frames.read(VECTORS, round_id).filter(pl.col("embedder") == embedder)).height
    ]
    earlier = Earlier(
        recent=recent,
        tasks=tasks,
        sold=sold,
        written=lambda names: generated_answers(names, frames),
        vectors=np.concatenate(vectors) if vectors else None,
        latest=latest.replace(tzinfo=UTC) if latest else None,
    )
    return (
        replace(earlier, events=frames.scan("validated_feedback", settled, _NO_EVENTS.schema)) if settled else earlier
    )


def kept_vectors(vectors: NDArray[np.float64], embedder: str) -> pl.DataFrame:
    """Vectors (n, d) as a frame that later rounds compare with."""
    return pl.DataFrame({"vector": pl.Series(vectors.tolist(), dtype=pl.Array(pl.Float64, vectors.shape[1]))}).select(
        pl.lit(embedder).alias("embedder"), "vector"
    )


def known(earlier: Earlier, now: dict[str, pl.DataFrame], begun: datetime) -> Known:
    """Look through the earlier rounds for what the round asks or answers again.

    Args:
        now: ``conditions.FACTS`` of the round, by kind.
        begun: When the round was, by the latest instant that the home had noted.
    """
    asked = {kind: now[kind]["question"].unique() for kind in KINDS}
    asked["preference"] = pl.concat([asked["preference"], asked["outcome"]]).unique()
    of_kind = {kind: earlier.events.filter(pl.col("kind") == kind) for kind in KINDS}
    bids = of_kind["bid"]
    of_kind["bid"] = bids.filter(pl.col("event_id").is_in(earlier.sold["event_id"].implode()))
    found = {
        kind: conditions.keys(kind, rows).filter(pl.col("question").is_in(asked[kind].implode()))
        for kind, rows in of_kind.items()
    }
    # Many write to one prompt; only who writes the same to it again is asked about.
    found["demonstration"] = conditions.keys("demonstration", of_kind["demonstration"]).filter(
        pl.col("answer").is_in(now["demonstration"]["answer"].unique().implode())
    )
    published = earlier.tasks.filter(conditions.hashed("comparison_id").is_in(asked["preference"].implode()))
    found["preference"] = pl.concat([_published(bids, earlier.written, published), found["preference"]])
    volumes = earlier.events.group_by("round_id", "kind").len()
    *keys, counted = pl.collect_all([*found.values(), volumes])
    samples = [drift.described(drift.sample(events, drift.SAMPLE)) for events in earlier.recent()]
    return Known(
        keys=dict(zip(found, keys, strict=True)),
        published=earlier.tasks.select(conditions.hashed("comparison_id"))["comparison_id"],
        sample=pl.concat([pl.DataFrame(schema=drift.SAMPLED), *samples]),
        volumes=[dict(of_round.select("kind", "len").iter_rows()) for _, of_round in counted.group_by("round_id")],
        vectors=earlier.vectors,
        begun=begun,
    )


def first_reports(preferences: pl.DataFrame) -> pl.DataFrame:
    """Known comparisons by their key, with the time of their first report; null where none has come.

    Args:
        preferences: ``conditions.FACTS`` of valid preferences of this round and those before.
    """
    return preferences.group_by("question").agg(first_report_at=pl.col("submitted_at").min())


def _published(bids: pl.LazyFrame, written: Callable[[pl.Series], pl.DataFrame], tasks: pl.DataFrame) -> pl.LazyFrame:
    """Published comparisons as rows of ``conditions.FACTS``: what labelers are shown, and nobody's answer."""
    sold = pl.concat([tasks["event_id_a"], tasks["event_id_b"]])
    answers = bids.filter(pl.col("event_id").is_in(sold.implode())).select(
        "event_id", "seq", "prompt", "messages", "response"
    )
    by_models = (
        written(sold).lazy().select("event_id", pl.lit(0, pl.Int64).alias("seq"), "prompt", "messages", "response")
    )
    answers = pl.concat([answers, by_models], how="vertical_relaxed")
    shown = (
        tasks.lazy()
        .join(answers, left_on="event_id_a", right_on="event_id")
        .join(answers, left_on="event_id_b", right_on="event_id", suffix="_b")
    )
    asked = shown.select("comparison_id", "seq", "prompt", "messages", response_a="response", response_b="response_b")
    return conditions.keys("preference", pl.concat([_NO_EVENTS.lazy(), asked], how="diagonal"))
