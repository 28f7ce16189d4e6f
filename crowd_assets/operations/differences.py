"""Differences between what is stored and what is recomputed.

Belongs here: comparing frames within tolerances. Does not belong here: recomputing (see ``audit``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from resources.common.errors import OperatorError

UNREADABLE = (pl.exceptions.PolarsError, OSError, ValueError, LookupError, TypeError)
RELATIVE, ABSOLUTE = 1e-5, 1e-7  # how far floating-point figures may be apart: Φ is of single precision


POINTS_APART = 1e-5  # points are such figures, rounded to 6 decimal places, and deposits sums of a few of them


BY_RECORD, BY_RECOMPUTATION = "record", "recomputation"


KEY, AGAIN, APART = "audited key", " again", " apart"  # columns while frames are compared


@dataclass(frozen=True)
class Difference:
    """Where what is stored is not what it should be.

    Attributes:
        where: Table, frame, segment or ``models``.
        key: The row, as far as it can be named.
        column: The column in it.
        stored: What lies there now, a value or a hash.
        expected: What should: a value that was recomputed, or a hash by the record.
        by: ``record`` or ``recomputation``.
    """

    where: str
    key: str
    column: str
    stored: str
    expected: str
    by: str

    def __str__(self) -> str:
        source = "the record says" if self.by == BY_RECORD else "recomputed"
        row = f", {self.key}" if self.key else ""
        return f"{self.where}{row}, {self.column}: stored {self.stored}, {source} {self.expected}"


def first_or_unreadable(found: Iterator[Difference], where: str) -> Difference | None:
    """The first of the differences; what is read or computed with on the way and is no longer what was written is one, too.

    Raises:
        OperatorError: settings or models are not those of the home.
    """
    try:
        return next(found, None)
    except OperatorError:
        raise
    except UNREADABLE as problem:
        said = " ".join(str(problem).split())[:160]
        return Difference(where, "", "content", f"unreadable ({type(problem).__name__}: {said})", "readable", BY_RECORD)


def first_difference(where: str, key: Sequence[str], stored: pl.DataFrame, expected: pl.DataFrame) -> Difference | None:
    """The first difference of two frames, by ``key`` and then in the order of the columns of ``expected``."""
    later = [name for name in expected.columns if name not in stored.columns and not expected[name].count()]
    expected = expected.drop(later)  # columns that an earlier version had not yet, and that say nothing
    columns = [name for name in expected.columns if name not in key]
    schema = {name: stored.schema[name] for name in expected.columns}
    both = (
        stored.select(expected.columns)
        .with_columns(stored=pl.lit(True))
        .join(
            expected.cast(pl.Schema(schema)).with_columns(expected=pl.lit(True)),
            on=list(key),
            how="full",
            coalesce=True,
            suffix=AGAIN,
        )
        .sort(key)
    )
    named = pl.concat_str([pl.col(name).cast(pl.String) for name in key], separator=" ")
    rows = pl.col("stored").is_null() | pl.col("expected").is_null()
    if lone := both.filter(rows).head(1).select(named.alias("key"), "stored").rows():
        ((row, there),) = lone
        found, missing = "a row", "no row"
        stored_now, should = (found, missing) if there else (missing, found)
        return Difference(where, row, ", ".join(key), stored_now, should, BY_RECOMPUTATION)
    apart = pl.DataFrame({name: _apart(both[name], both[f"{name}{AGAIN}"], where) for name in columns})
    differing = both.with_columns(apart.select(pl.all().name.suffix(APART))).filter(
        pl.any_horizontal(f"{name}{APART}" for name in columns)
    )
    for row in differing.with_columns(named.alias(KEY)).head(1).iter_rows(named=True):
        column = next(name for name in columns if row[f"{name}{APART}"])
        return Difference(
            where, row[KEY], column, _shown(row[column]), _shown(row[f"{column}{AGAIN}"]), BY_RECOMPUTATION
        )
    return None


def _apart(stored: pl.Series, expected: pl.Series, where: str) -> pl.Series:
    """Which values differ, by row."""
    kind = stored.dtype
    if isinstance(kind, pl.List):
        pairs = zip(stored.to_list(), expected.to_list(), strict=True)
        return pl.Series(
            [len(a) != len(b) or not np.allclose(a, b, RELATIVE, ABSOLUTE) for a, b in pairs], dtype=pl.Boolean
        )
    if kind.is_float() or (kind.is_decimal() and where == "ledger"):
        a, b = (values.cast(pl.Float64).fill_null(np.nan).to_numpy() for values in (stored, expected))
        absolute = POINTS_APART if kind.is_decimal() else ABSOLUTE
        relative = 0.0 if kind.is_decimal() else RELATIVE
        return pl.Series(~np.isclose(a, b, relative, absolute, equal_nan=True))
    return stored.ne_missing(expected)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(f'{each:.6g}' for each in value[:4])}, …]"
    return "none" if value is None else str(value)
