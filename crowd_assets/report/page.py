"""What all pages share: the template around them, style, scripts, tables, and a policy that lets nothing else run.

A page is one file that asks for no other. What strangers wrote reaches it as text only: templates escape it, JSON in
scripts is escaped, and the content security policy names the hashes of our own scripts and no host.

Belongs here: rendering. Does not belong here: what a page shows.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from crowd_assets.report.charts import Chart, runtime

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """How a column of a table is shown.

    Attributes:
        title: its head.
        digits: decimals of a number; None: text, or a whole number where the values are integers.
        factor: what a number is multiplied by, 100 for shares in percent.
        link: where a cell leads, from its value; None where it leads nowhere.
    """

    title: str
    digits: int | None = None
    factor: float = 1.0
    link: Callable[[Any], str | None] | None = None


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what it is sorted by where that is a number, and where it leads."""

    text: str
    key: float | None = None
    link: str | None = None


@dataclass(frozen=True)
class Table:
    """A table that a reader sorts and searches; ``left_out`` rows are not in the page. ``name`` is unique in its page."""

    name: str
    columns: tuple[Column, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    size: int
    left_out: int = 0


def table(name: str, frame: pl.DataFrame, columns: Mapping[str, Column], *, size: int = 20, most: int = 2_500) -> Table:
    """The first ``most`` rows of a frame as a table that shows ``size`` at a time.

    Args:
        columns: The frame's columns to show, in order.
    """
    shown = frame.head(most).select(list(columns))
    numeric = tuple(shown[column].dtype.is_numeric() for column in columns)
    rows = tuple(
        tuple(_cell(value, column) for value, column in zip(row, columns.values(), strict=True)) for row in shown.rows()
    )
    return Table(name, tuple(columns.values()), numeric, rows, size, frame.height - shown.height)


def _cell(value: Any, column: Column) -> Cell:
    if value is None:
        return Cell(MISSING)
    link = column.link(value) if column.link else None
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Cell(number(float(value) * column.factor, column.digits), float(value), link)
    return Cell(str(value), None, link)


def number(value: float | Decimal | None, digits: int | None = None) -> str:
    """A number as people read it: with ``digits`` decimals, or whole; with a true minus sign; – where there is none."""
    if value is None or value != value:
        return MISSING
    text = f"{value:,.{digits or 0}f}"
    return text.replace("-", "" if float(text.replace(",", "")) == 0 else "−")


def signed(value: float | Decimal | None, digits: int | None = None) -> str:
    """A number with its sign, also where it is positive."""
    text = number(value, digits)
    return text if value is None or text[0] in "−–" else f"+{text}"


def share(value: float | None, digits: int = 0) -> str:
    """A share as a percentage."""
    return MISSING if value is None or value != value else f"{number(100 * value, digits)} %"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 answer``, ``2 answers``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def ordinal(place: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``4th``."""
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


@dataclass(frozen=True)
class Headline:
    """A figure that stands at the head of a page, what it is, and how it is to be taken: good, warn where somebody should look, or neither."""

    figure: str
    meaning: str
    mood: str = ""


def mood_of(gain: float) -> str:
    """How a gain is to be taken: none is no fault, and a loss is worth a look."""
    return "good" if gain > 0 else "warn" if gain < 0 else ""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("crowd_assets.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "share": share,
        "plural": plural,
        "json": htmlsafe_json_dumps,
    }
    return environment


def render(template: str, *, charts: Sequence[Chart] = (), **values: Any) -> str:
    """A page.

    Args:
        template: Extends ``base.html.jinja``.
        charts: Those that the template shows; without any, the page carries no library to draw them with.
    """
    scripts = [_asset("tables.js"), *([runtime(), _asset("charts.js")] if charts else [])]
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(_asset("style.css")),
            scripts=[Markup(script) for script in scripts],
            policy=_policy(scripts),
            **values,
        )
    )


def _policy(scripts: Sequence[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


@lru_cache(maxsize=8)
def _asset(name: str) -> str:
    """A file of ours that goes into a page as it is."""
    return (files("crowd_assets.report") / name).read_text(encoding="utf-8")
