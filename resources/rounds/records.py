"""What each round was settled with: one record a round, chained to the record before, so that a later change shows.

A record holds versions, settings, the seed and hashes of everything that went into a round and came out of it. Hashes are
kept by column: an erasure changes texts and nothing else, so what people wrote may go while every figure is still vouched
for. ``hash`` is BLAKE2b-256 of the hash before it and the record; who keeps one hash elsewhere can tell a chain that was
written anew from its beginning.

Belongs here: what a record says, the chain. Does not belong here: repeating what a round computed (see
``crowd_assets.operations.audit``).
"""

import hashlib
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from upath import UPath

from resources.common.hashes import canonical, chained, file_hash
from resources.feedback.events import TEXTS
from resources.files.frames import parsed_parquet
from resources.warehouse.base import fetch_row
from resources.warehouse.connection import Connection
from resources.warehouse.facts import round_id_of
from resources.warehouse.schema import AFTER_SETTLEMENT, ROUND_TABLES

PACKAGES = ("crowd-rounds", "polars", "duckdb", "numpy", "torch", "transformers", "peft")
TEXT_COLUMNS = frozenset({*TEXTS, "messages", "payload", "base", "winner", "aligned"})
"""Columns of frames that hold what people or models wrote: all that an erasure may change."""

ROWS = {
    "rounds": "SELECT round_no, round_id, from_seq, to_seq, seed, settings, claimed_at, settled_at, base_model, next_model "
    "FROM rounds WHERE round_no = $n",
    "published_lots": "SELECT round_no, lot_id, prompt FROM published_lots WHERE round_no = $n ORDER BY ALL",
    "rejected_feedback": "SELECT rejection_id, round_no, stage, source, line, kind, contributor_id, event_id FROM rejected_feedback "
    "WHERE round_no = $n AND stage = 'gate' ORDER BY ALL",
    **{
        table: f"SELECT * FROM {table} WHERE round_no = $n ORDER BY ALL"
        for table in (*ROUND_TABLES, "ledger")
        if table not in AFTER_SETTLEMENT
    },
}
"""The rows that a record vouches for, by table: what no transaction after the settlement changes. Why a row was rejected may
quote a text, and is erased with it."""

Record = dict[str, Any]


def surroundings(
    settings: Mapping[str, Any],
    *,
    seed: int,
    key: str | None = None,
    next_commitment: str | None = None,
    phi: str,
    target: str,
    root: str,
    models: Iterable[str | None],
    cards: Mapping[str, str] | None = None,
    likelihood_range: str | None = None,
    frames: Mapping[str, UPath],
    segments: Mapping[str, UPath],
) -> Record:
    """What a record says besides the round's rows.

    Args:
        settings: Those that the round is settled with.
        key: What the round drew by, shown with it; None where the ``seed`` is.
        next_commitment: Hash of the next round's key.
        phi: Identity of Φ; ``root``, of the base model of round 1.
        target: Key of the target's frame.
        models: Stored models that it began with, trained and ends with; their names are hashes of their files.
        cards: Hashes of the cards of those of them that the round made.
        likelihood_range: Key of the frame with the range of likelihood that feedback is held against.
        frames, segments: The round's frames, and the segments of raw feedback that hold its events.
    """
    return {
        "versions": versions(),
        "settings": dict(settings),
        "seed": seed,
        **({"key": key, "next_commitment": next_commitment} if key else {}),
        "phi": phi,
        "target": target,
        "root": root,
        "models": sorted({model for model in models if model is not None}),
        "likelihood_range": likelihood_range,
        "cards": dict(sorted((cards or {}).items())),
        "frames": {name: _described(path.read_bytes()) for name, path in sorted(frames.items())},
        "segments": {name: _described(path.read_bytes()) for name, path in sorted(segments.items())},
    }


def frame_key(record: Record, name: str) -> str:
    """Under which key a frame lies that a record names: target and range of likelihood have keys of their own, all others the round's."""
    own = {"target": record["target"], "guard_range": record.get("likelihood_range")}
    return own.get(name) or round_id_of(record["round_no"])


def append_record(connection: Connection, round_no: int, about: Mapping[str, Any]) -> None:
    """Write the record of a round that is being settled, behind that of the round before; part of the caller's transaction."""
    tables = {table: column_hashes(rows_of(connection, table, round_no)) for table in ROWS}
    ingestions = fetch_row(connection, "SELECT hash FROM ingestions ORDER BY number DESC LIMIT 1")
    text = canonical(
        {**about, "round_no": round_no, "tables": tables, "ingestions": ingestions[0] if ingestions else ""}
    )
    last = fetch_row(connection, "SELECT hash FROM round_records ORDER BY round_no DESC LIMIT 1")
    previous = last[0] if last else ""
    connection.execute(
        "INSERT INTO round_records VALUES ($n, $record, $previous, $hash)",
        {"n": round_no, "record": text, "previous": previous, "hash": chained(previous, text)},
    )


def rows_of(connection: Connection, table: str, round_no: int) -> pl.DataFrame:
    """The rows of ``table`` that the record of a round vouches for."""
    return connection.sql(ROWS[table], params={"n": round_no}).pl()


def column_hashes(frame: pl.DataFrame) -> dict[str, str]:
    """Hash of each column's values in the order of the rows, 32 hexadecimal digits.

    Hashed are, for each column: its kind and length; which values are missing; and the values, numbers as 64 bits in little
    endian order, decimals and texts as their lengths in bytes and then UTF-8, lists as their lengths and then their values.
    So it depends neither on how a file is compressed nor on the version of a library.
    """
    hashes = {}
    for name in frame.columns:
        digest = hashlib.blake2b(digest_size=16)
        _feed(digest, frame[name])
        hashes[name] = digest.hexdigest()
    return hashes


@lru_cache(maxsize=1)
def versions() -> dict[str, str | None]:
    """Versions of Python and of what a round's figures depend on; ``commit`` is None outside a git checkout."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}, "commit": _commit()}


def _described(data: bytes) -> Record:
    return {"file": file_hash(data), "columns": column_hashes(parsed_parquet(data))}


def _feed(digest: Any, values: pl.Series) -> None:
    kind = values.dtype
    if isinstance(kind, pl.Array):
        values = values.arr.to_list()
        kind = values.dtype
    missing = values.is_null()
    there = values.drop_nulls()
    digest.update(f"{len(values)}\n".encode())
    digest.update(np.packbits(missing.to_numpy()).tobytes())
    if isinstance(kind, pl.List):
        digest.update(b"list\n" + _integers(there.list.len()))
        _feed(digest, there.filter(there.list.len() > 0).explode())
    elif kind == pl.Boolean or kind.is_integer():
        digest.update(b"integer\n" + _integers(there))
    elif kind.is_float():
        digest.update(b"float\n" + there.cast(pl.Float64).to_numpy().astype("<f8").tobytes())
    elif kind.is_temporal():
        digest.update(b"instant\n" + _integers(there.dt.timestamp("us")))
    elif kind == pl.Null:
        digest.update(b"nothing\n")
    else:
        texts = [format(value, "f") for value in there] if kind.is_decimal() else there.cast(pl.String).to_list()
        encoded = [text.encode() for text in texts]
        digest.update(b"text\n" + _integers(pl.Series([len(text) for text in encoded], dtype=pl.Int64)))
        digest.update(b"".join(encoded))


def _integers(values: pl.Series) -> bytes:
    return values.cast(pl.Int64).to_numpy().astype("<i8").tobytes()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    project = Path(__file__).parents[2]
    if not (project / ".git").exists():
        return None
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return completed.stdout.strip() or None
