"""UKPConvArg judgements: which of two arguments convinces more, by crowd workers, with their real times.

Source: Habernal & Gurevych, "Which argument is more convincing?", ACL 2016 (https://github.com/UKPLab/acl2016-convincing-arguments,
CC BY 4.0), as two tables: ``labels.parquet`` (pair_id, argument_a, argument_b, worker_id, hit_id, accepted_at,
submitted_at, choice a/b/equal, reason, gold a/b/equal/null) and ``arguments.parquet`` (argument_id, topic, stance,
text).

Belongs here: the layout and what its columns become. Does not belong here: what workers cost or how good they are.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl

from crowd_assets.importers.records import (
    Event,
    Note,
    Record,
    RowError,
    Skipped,
    SourceError,
    excerpt,
    identifier_of,
    in_time_order,
    outcome,
    preference,
    text_of,
    time_key,
    time_of,
)

LABEL_COLUMNS = ("pair_id", "argument_a", "argument_b", "worker_id", "submitted_at", "choice", "gold")
ARGUMENT_COLUMNS = ("argument_id", "topic", "stance", "text")

PROBABILITY_A = {"a": 1.0, "equal": 0.5, "b": 0.0}

SETTLING_TIME = timedelta(seconds=1)
"""Between the last judgement of a pair and its outcome."""


def read(
    source: Path,
    *,
    arguments: Path | None = None,
    limit_pairs: int | None = None,
    topics: Sequence[str] = (),
    seed: int = 0,
) -> Iterator[Record]:
    """One preference a judgement and one outcome a pair with gold, in the order of time.

    The outcome of a pair is submitted one second after the last judgement of that pair: what scores a report is
    never known when it is made.

    Args:
        source: ``labels.parquet``.
        arguments: ``arguments.parquet``; by default beside the labels.
        limit_pairs: at most so many pairs, drawn at random; all by default.
        topics: only topics that contain one of these texts, whatever the case; all by default.
        seed: of the draw.

    Raises:
        SourceError: a table cannot be read, lacks a column, or no topic matches.
    """
    labels = _table(source, LABEL_COLUMNS).with_row_index("row", offset=1)
    known = _table(arguments or source.parent / "arguments.parquet", ARGUMENT_COLUMNS)
    known = known.select(ARGUMENT_COLUMNS).unique("argument_id", keep="first", maintain_order=True)
    labels = labels.join(
        known.rename({"argument_id": "argument_a", "text": "text_a"}),
        on="argument_a",
        how="left",
        maintain_order="left",
    ).join(
        known.select(argument_b="argument_id", text_b="text", topic_b="topic", stance_b="stance"),
        on="argument_b",
        how="left",
        maintain_order="left",
    )
    if topics:
        wanted = [topic.lower() for topic in topics]
        there = pl.any_horizontal([pl.col("topic").str.to_lowercase().str.contains(t, literal=True) for t in wanted])
        if labels.filter(there).is_empty():
            names = "; ".join(sorted(known["topic"].drop_nulls().unique().to_list()))
            raise SourceError(f"--topics {', '.join(topics)}: no topic contains it. Topics: {names}")
        labels = labels.filter(there)
    if limit_pairs is not None:
        pairs = labels["pair_id"].drop_nulls().unique().sort()
        pairs = pairs.sample(min(limit_pairs, len(pairs)), seed=seed)
        labels = labels.filter(pl.col("pair_id").is_in(pairs.implode()))
    yield from in_time_order(_events(labels))


def _events(labels: pl.DataFrame) -> Iterator[Record]:
    last: dict[str, Event] = {}
    golds: dict[str, tuple[int, str | None]] = {}
    disputed: set[str] = set()
    for row in labels.iter_rows(named=True):
        try:
            event = _judgement(row)
        except RowError as error:
            yield error.at(row["row"])
            continue
        yield event
        pair = event["comparison_id"]
        if pair not in last or time_key(last[pair]) < time_key(event):
            last[pair] = event
        if golds.setdefault(pair, (row["row"], row["gold"]))[1] != row["gold"]:
            disputed.add(pair)
    without = 0
    for pair, (number, gold) in golds.items():
        if pair in disputed:
            yield Skipped(number, "rows of one pair name different gold", pair)
        elif gold is None:
            without += 1
        elif gold not in PROBABILITY_A:
            yield Skipped(number, "gold is none of a, b, equal", excerpt(gold))
        else:
            settled_at = time_key(last[pair]) + SETTLING_TIME
            yield outcome(pair, PROBABILITY_A[gold], settled_at)
    if without:
        yield Note(f"{without:,} of {len(golds):,} pairs have no gold: their judgements come without an outcome")


def _judgement(row: dict[str, object]) -> Event:
    if (row["topic"], row["stance"]) != (row["topic_b"], row["stance_b"]):
        raise RowError("the two arguments are of different topics or stances, or unknown", row["pair_id"])
    if row["choice"] not in PROBABILITY_A:
        raise RowError("choice is none of a, b, equal", row["choice"])
    topic = text_of(row["topic"], "topic")
    stance = text_of(row["stance"], "stance")
    accepted_at = row.get("accepted_at")
    return preference(
        identifier_of(row["worker_id"], "worker_id"),
        identifier_of(row["pair_id"], "pair_id"),
        prompt_of(topic, stance),
        text_of(row["text_a"], "argument_a"),
        text_of(row["text_b"], "argument_b"),
        PROBABILITY_A[str(row["choice"])],
        time_of(row["submitted_at"], "submitted_at"),
        accepted_at=None if accepted_at is None else time_of(accepted_at, "accepted_at").isoformat(),
        reason=reason if isinstance(reason := row.get("reason"), str) else None,
        topic=topic,
    )


def prompt_of(topic: str, stance: str) -> str:
    """What both arguments of a pair answer."""
    return f"Write a convincing argument on “{topic}” for the position “{stance}”."


def _table(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{path}: cannot be read as Parquet: {excerpt(str(error))}") from None
    if missing := [column for column in columns if column not in table.columns]:
        raise SourceError(f"{path}: no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    if mistyped := [
        column for column in columns if column != "submitted_at" and table.schema[column] not in (pl.String, pl.Null)
    ]:
        raise SourceError(f"{path}: expected text in column {', '.join(mistyped)}")
    return table
