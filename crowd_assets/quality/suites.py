"""Great Expectations suites: one a kind of feedback, and one of the round's figures.

Polars decides of every row whether it meets a condition; Great Expectations validates what came out of that, counts and
reports it. A column is ``met`` or says which event does not meet the condition, for the first few of them: pages of a
million rows stay small, and show what a person looks for.

Belongs here: expectations, and the frames that they look at. Does not belong here: what is expected (see ``conditions``
and ``drift``), running a suite (see ``resources.tools.data_quality``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from crowd_assets.quality.drift import Figure

MET, UNLISTED = "met", "and others"
LISTED = 20
# Great Expectations writes values into its pages as they are: nothing else may reach them.
_NOT_SHOWN = r"[^A-Za-z0-9_.:@|+ -]"


def expectations(conditions: Sequence[tuple[str, str, str]], largest_share: float) -> list[Any]:
    """Expectations of columns that are ``met`` or name an event, from (name, words, severity). Pages show one in red where more
    than ``largest_share`` of the events, in [0, 1], do not meet the expectation: a few in quarantine are what the gate is for."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    return [
        gxe.ExpectColumnValuesToBeInSet(
            column=name,
            value_set=[MET],
            mostly=1 - largest_share,
            severity=FailureSeverity(severity),
            description=words,
        )
        for name, words, severity in conditions
    ]


def figure_expectations(figures: Sequence[Figure]) -> list[Any]:
    """Expectations of a frame of one row with a column for each figure."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    return [
        gxe.ExpectColumnMaxToBeBetween(
            column=figure.name,
            min_value=figure.low,
            max_value=figure.high,
            severity=FailureSeverity.WARNING,
            description=figure.words,
        )
        for figure in figures
    ]


def reported(met: pl.DataFrame, listed: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The frame that a suite looks at, a categorical column for each condition.

    Args:
        met: A boolean column for each condition.
        listed: By condition, the first rows that do not meet it: ``row`` (their place in ``met``) and ``shown``.
    """
    columns = []
    for name in met.columns:
        column = met.select(pl.when(name).then(pl.lit(MET)).otherwise(pl.lit(UNLISTED)))["literal"]
        rows = listed.get(name)
        if rows is not None:
            column = column.scatter(rows["row"], rows["shown"].str.replace_all(_NOT_SHOWN, "?"))
        columns.append(column.cast(pl.Categorical).alias(name))
    return pl.DataFrame(columns)
