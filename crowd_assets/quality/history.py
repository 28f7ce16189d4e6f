"""What the settled rounds before a round hold that its feedback is measured against.

Belongs here: reading it, chunk by chunk. Does not belong here: what is expected (see ``conditions`` and ``drift``).
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.quality import conditions, drift
from resources.feedback import EVENT_SCHEMA, KINDS
from resources.frames import FramesResource
from resources.rounds import Round
from resources.warehouse import WarehouseResource

TASKS = {"comparison_id": pl.String(), "event_id_a": pl.String(), "event_id_b": pl.String()}
VECTORS = "feedback_vectors"  # the frame that keeps each round's


@dataclass(frozen=True)
class Earlier:
    """What was before a round.

    Attributes:
        events: The valid events of each settled round, oldest first.
        tasks: Comparisons that the platform published, and the bids that their answers come from.
        sold: ``event_id`` of bids that were bought.
        recent: The valid events of the last ``drift.ROUNDS_COMPARED`` of them in one frame, for detectors; None where
            there are none.
        vectors: Of demonstrations of the last rounds, in Φ, shape (m, d); None where there are none.
    """

    events: Callable[[], Iterator[pl.DataFrame]] = lambda: iter(())
    recent: Callable[[], pl.DataFrame | None] = lambda: None
    tasks: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TASKS))
    sold: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"event_id": pl.String()}))
    vectors: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Known:
    """What of it matters to a round: keys of rows that ask what the round asks, by kind, and what it was like.

    Attributes:
        keys: By kind, ``conditions.FACTS`` of earlier rows with a question or an answer of the round.
        published: Keys of comparisons that the platform published.
        sample: ``drift.SAMPLED`` of the last rounds.
        volumes: Events by kind of every round.
        vectors: As in :class:`Earlier`.
    """

    keys: dict[str, pl.DataFrame]
    published: pl.Series
    sample: pl.DataFrame
    volumes: list[dict[str, int]]
    vectors: NDArray[np.float64] | None


def before(round_: Round, warehouse: WarehouseResource, frames: FramesResource, embedder: str) -> Earlier:
    """The settled rounds before ``round_``, and what they left in the space of ``embedder``."""
    settled = warehouse.query(
        "SELECT round_id FROM rounds WHERE round_no < $n AND status IN ('settled', 'completed') ORDER BY round_no",
        {"n": round_.round_no},
    )["round_id"]

    def events() -> Iterator[pl.DataFrame]:
        for round_id in settled:
            yield frames.read("validated_feedback", round_id)

    def recent() -> pl.DataFrame | None:
        rounds = [frames.read("validated_feedback", each) for each in settled[-drift.ROUNDS_COMPARED :]]
        return pl.concat(rounds) if rounds else None

    vectors = [
        of_round["vector"].to_numpy()
        for round_id in settled[-drift.ROUNDS_COMPARED :]
        if frames.path(VECTORS, round_id).exists()
        and (of_round := frames.read(VECTORS, round_id).filter(pl.col("embedder") == embedder)).height
    ]
    return Earlier(
        vectors=np.concatenate(vectors) if vectors else None,
        events=events,
        recent=recent,
        tasks=warehouse.read_before("comparison_tasks", round_.round_no).select(*TASKS),
        sold=warehouse.read_before("awards", round_.round_no).filter("awarded").select("event_id"),
    )


def kept_vectors(vectors: NDArray[np.float64], embedder: str) -> pl.DataFrame:
    """Vectors (n, d) as a frame that later rounds compare with."""
    return pl.DataFrame({"vector": pl.Series(vectors.tolist(), dtype=pl.Array(pl.Float64, vectors.shape[1]))}).select(
        pl.lit(embedder).alias("embedder"), "vector"
    )


def known(earlier: Earlier, now: dict[str, pl.DataFrame]) -> Known:
    """Go through the earlier rounds once.

    Args:
        now: ``conditions.FACTS`` of the round, by kind.
    """
    asked = {kind: now[kind].select("question").unique() for kind in KINDS}
    asked["preference"] = pl.concat([asked["preference"], asked["outcome"]]).unique()
    found: dict[str, list[pl.DataFrame]] = {kind: [conditions.keys(kind, _NO_EVENTS)] for kind in KINDS}
    samples: deque[pl.DataFrame] = deque(maxlen=drift.ROUNDS_COMPARED)
    volumes = []
    for events in earlier.events():
        for kind in KINDS:
            of_kind = events.filter(pl.col("kind") == kind)
            if kind == "bid":
                found["preference"].append(
                    _published(of_kind, earlier.tasks).join(asked["preference"], on="question", how="semi")
                )
                of_kind = of_kind.join(earlier.sold, on="event_id", how="semi")
            found[kind].append(conditions.keys(kind, of_kind).join(asked[kind], on="question", how="semi"))
        samples.append(drift.sample(events, drift.SAMPLE))
        volumes.append(dict(events.group_by("kind").len().iter_rows()))
    return Known(
        keys={kind: pl.concat(frames) for kind, frames in found.items()},
        published=earlier.tasks.select(conditions.hashed("comparison_id"))["comparison_id"],
        sample=pl.concat([pl.DataFrame(schema=drift.SAMPLED), *map(drift.described, samples)]),
        volumes=volumes,
        vectors=earlier.vectors,
    )


def first_reports(preferences: pl.DataFrame) -> pl.DataFrame:
    """Known comparisons by their key, with the time of their first report; null where none has come.

    Args:
        preferences: ``conditions.FACTS`` of valid preferences of this round and those before.
    """
    return preferences.group_by("question").agg(first_report_at=pl.col("submitted_at").min())


def _published(bids: pl.DataFrame, tasks: pl.DataFrame) -> pl.DataFrame:
    """Published comparisons as rows of ``conditions.FACTS``: what labelers are shown, and nobody's answer."""
    answers = bids.select("event_id", "seq", "prompt", "response")
    shown = tasks.join(answers, left_on="event_id_a", right_on="event_id").join(
        answers, left_on="event_id_b", right_on="event_id", suffix="_b"
    )
    asked = shown.select("comparison_id", "seq", "prompt", response_a="response", response_b="response_b")
    rows = pl.concat([_NO_EVENTS, asked], how="diagonal")
    return conditions.keys("preference", rows)


_NO_EVENTS = pl.DataFrame(schema={"seq": pl.Int64(), **EVENT_SCHEMA})
