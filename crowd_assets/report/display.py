"""What Dagster shows beside a materialization: small tables, and charts as images, with hostile text made harmless.

Belongs here: rendering for Dagster's UI, and for pages that show images. Does not belong here: what is worth showing, charts that
answer a pointer (see ``charts``).
"""

import base64
import html
import math
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import cycle
from typing import Any

import polars as pl
from dagster import MarkdownMetadataValue, MetadataValue

from crowd_assets.report import charts
from crowd_assets.report.charts import Row, Spec
from resources.common.plain_text import one_line, without_links

LONGEST_CELL = 120
BLUE, ORANGE, GREY, LIGHT, DARK = "var(--c1)", "var(--c2)", "var(--c8)", "var(--c-base)", "var(--ink)"
KINDS = {"other": LIGHT, "highlighted": BLUE}
MOST_BARS = 40
LONGEST_NAME = 18
ROW_COUNT = "dagster/row_count"
"""Metadata of which Dagster's catalogue makes the size of a table, in rows of the round."""
PLAIN = "~g"  # of numbers on an axis: as few digits as they need

Metadata = dict[str, Any]  # what Dagster shows beside a materialization, by name


def escaped(value: Any) -> str:
    """``value`` as text that neither Markdown nor HTML will run, link to or break a table on."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    text = text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
    text = html.escape(without_links(one_line(text)))
    return "".join(f"\\{character}" if character in "\\`*_[]|!~" else character for character in text)


def rounded(metadata: Metadata) -> Metadata:
    """Figures with four decimals: what a person compares, and no more."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in metadata.items()}


def table(frame: pl.DataFrame) -> MarkdownMetadataValue:
    """A frame as a Markdown table."""
    header = "| " + " | ".join(map(escaped, frame.columns)) + " |\n|" + "---|" * frame.width
    rows = ("| " + " | ".join(escaped("" if cell is None else cell) for cell in row) + " |" for row in frame.rows())
    return MetadataValue.md("\n".join([header, *rows]))


def data_uri(png: bytes) -> str:
    """A PNG as the address of an image that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def plot(png: bytes) -> MarkdownMetadataValue:
    """A PNG as metadata that the Dagster UI shows inline."""
    return MetadataValue.md(f"![plot]({data_uri(png)})")


def bars(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    axis: str,
    errors: Sequence[float] | None = None,
    highlighted: Callable[[str], bool] = lambda label: False,
) -> bytes:
    """Horizontal bars with error bars, best read from the top; ``highlighted`` ones in colour. Returns a PNG.

    Of more than ``MOST_BARS`` the first and the last are shown: a crowd's would be higher than any image.
    """
    rows = _labelled(labels, values, errors, highlighted)
    return charts.bars("bars", rows, axis=axis, kinds=KINDS, legend=False).png()


def intervals(
    labels: Sequence[str],
    values: Sequence[float],
    errors: Sequence[float],
    *,
    axis: str,
    highlighted: Callable[[str], bool] = lambda label: False,
) -> bytes:
    """Dots with error bars, one below the other, on an axis that shows their differences; of too many the ends, as of
    :func:`bars`. Returns a PNG."""
    rows = _labelled(labels, values, errors, highlighted)
    return charts.intervals("intervals", rows, axis=axis, kinds=KINDS | {"other": GREY}, legend=False).png()


def _labelled(
    labels: Sequence[str],
    values: Sequence[float],
    errors: Sequence[float] | None,
    highlighted: Callable[[str], bool],
) -> list[Row]:
    """Rows of a plot: all, or as many from both ends as it has room for."""
    half = MOST_BARS // 2
    count = len(labels)
    rows: list[Row] = []
    for place in range(count) if count <= MOST_BARS else [*range(half), *range(count - half, count)]:
        label, value = labels[place], _number(values[place])
        row: dict[str, Any] = {"label": label, "value": value, "note": ""}
        if errors is not None:
            error = _number(errors[place])
            row |= {"low": value - error, "high": value + error}
        rows.append(row | {"kind": "highlighted" if highlighted(label) else "other"})
    return rows


def lines(
    series: dict[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    dashed: Container[str] = (),
) -> bytes:
    """One line for each name, from (x values, y values). Returns a PNG.

    Args:
        bands: By a line's name, the lower and upper end of its interval at each x.
        dashed: Names of lines that are there to compare with: bounds, goals, published figures.
    """
    rows: list[Row] = []
    for name, (xs, ys) in series.items():
        ends = bands[name] if bands and name in bands else None
        for place, (at, value) in enumerate(zip(xs, ys, strict=True)):
            row = {"round": float(at), "value": _number(value), "series": name}
            if ends is not None:
                row |= {"low": _number(ends[0][place]), "high": _number(ends[1][place])}
            if _drawable(row, ("round",) * log_x + ("value", "low") * log_y):
                rows.append(row)
    across = None if x == "round" else _across(x, [row["round"] for row in rows], log_x)
    colours = dict(zip(series, cycle(charts.COLOURS), strict=False))
    compared = [name for name in series if name in dashed]
    return charts.lines(
        "lines", rows, axis=y, colours=colours, dashed=compared, form=PLAIN, log=log_y, across=across
    ).png()


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _drawable(row: Mapping[str, Any], positive: Sequence[str]) -> bool:
    """Whether a point has a place: its figures are numbers, and those on an axis of logarithms are above 0."""
    finite = all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    return finite and all(row[name] > 0 for name in positive if name in row)


def _across(title: str, values: Sequence[float], log: bool) -> Spec:
    """An axis that is not of rounds, with whole numbers where all values are."""
    whole = {"tickMinStep": 1, "format": "d"} if all(value.is_integer() for value in values) else {"format": PLAIN}
    scale = {"type": "log"} if log else {"zero": False, "nice": False, "padding": 14}
    return {"title": title, "scale": scale, "axis": {"grid": False, "tickCount": 8} | whole}


def scatter(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    x: str,
    y: str,
    errors: Sequence[float] | None = None,
    title: str = "",
) -> bytes:
    """Points with error bars along x. Returns a PNG."""
    around = [0.0] * len(xs) if errors is None else errors
    rows = [
        {"label": "", "x": at, "low": at - error, "high": at + error, "y": value, "kind": "highlighted", "note": ""}
        for at, value, error in zip(map(_number, xs), map(_number, ys), map(_number, around), strict=True)
    ]
    kinds = {"highlighted": BLUE}
    return charts.scatter("points", rows, x=x, y=y, kinds=kinds, legend=False, title=title).png()


def trajectories(
    xs: Sequence[float], series: Mapping[str, Sequence[float | None]], *, x: str, y: str, level: float, named: int = 4
) -> bytes:
    """One line for each name, the ``named`` that end highest in blue and the ``named`` that end lowest in orange, with their
    names; a dashed line at ``level``. Returns a PNG.

    Args:
        series: By name a value for each x; None where there is none yet.
    """
    ends = sorted(series, key=lambda name: series[name][-1] or 0.0)
    low, high = ends[: min(named, len(ends) // 2)], ends[-min(named, len(ends) - len(ends) // 2) :]
    kinds = {name: "high" if name in high else "low" if name in low else "between" for name in ends}
    rows = [
        {"x": float(at), "y": float(value), "name": name, "kind": kinds[name]}
        for name in ends
        for at, value in zip(xs, series[name], strict=True)
        if value is not None
    ]
    heights = [level, *(value for values in series.values() for value in values if value is not None)]
    span = max(heights) - min(heights)
    names = [
        {"x": float(xs[-1]), "y": place, "name": name, "kind": kinds[name]}
        for some, sign in ((high[::-1], -1), (low, 1))
        for name, place in charts.apart({name: float(series[name][-1] or 0.0) for name in some}, sign, 0.055 * span)
    ]
    room = 0.2 * max(float(xs[-1]) - float(xs[0]), 1.0)
    axis = {"format": "d", "grid": False, "tickMinStep": 1, "values": list(xs[:: 1 + len(xs) // 16])}
    scale = {"domain": [float(xs[0]), float(xs[-1]) + room], "nice": False, "padding": 14}
    colours = charts.coloured_by("kind", {"between": LIGHT, "low": ORANGE, "high": BLUE}, legend=False)
    among = "datum.kind === 'between'"
    wide, faint = ({"condition": {"test": among, "value": value}, "value": full} for value, full in ((1, 2), (0.5, 1)))
    of_names = {"text": {"field": "name"}, "color": colours}
    spec: Spec = {
        "height": 280,
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": x, "axis": axis, "scale": scale},
            "y": {"field": "y", "type": "quantitative", "title": y, "scale": {"zero": False}},
        },
        "layer": [
            {
                "data": {"values": [{"y": level}]},
                "mark": {"type": "rule", "strokeDash": [5, 4], "color": GREY},
                "encoding": {"x": None},
            },
            {
                "data": {"values": charts.values_of(rows)},
                "mark": {"type": "line", "point": {"size": 16}},
                "encoding": {"detail": {"field": "name"}, "color": colours, "strokeWidth": wide, "opacity": faint},
            },
            {
                "data": {"values": charts.values_of([each | {"name": _short(str(each["name"]))} for each in names])},
                "mark": {"type": "text", "align": "left", "dx": 7, "fontSize": 11},
                "encoding": of_names,
            },
        ],
    }
    return charts.chart("trajectories", spec).png()


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def supply_and_demand(asked: Sequence[float], values: Sequence[float], awarded: Sequence[bool], price: float) -> bytes:
    """All bids of a round by asked price (supply, with those that were bought in blue) against what they are worth to the
    buyer (demand), and the mean price paid; in credits. Returns a PNG."""
    supply = sorted(zip(map(float, asked), map(bool, awarded), strict=True), key=lambda bid: bid[0])
    demand = sorted(map(float, values), reverse=True)
    kinds = {"value to the buyer": ORANGE, "asked price": GREY, "bought": BLUE}
    paid = f"mean price paid: {price:.3g}"
    steps = [
        {"place": place, "credits": amount, "kind": kind}
        for kind, amounts in (("value to the buyer", demand), ("asked price", [ask for ask, _ in supply]))
        for place, amount in enumerate(amounts, 1)
    ]
    bought = [{"place": place, "credits": ask, "kind": "bought"} for place, (ask, of) in enumerate(supply, 1) if of]
    axis = {"format": "d", "tickMinStep": 1, "grid": False}
    place = {"field": "place", "type": "quantitative", "title": "answers offered, cheapest or best first", "axis": axis}
    colours = charts.coloured_by("kind", kinds | {paid: BLUE})
    spec: Spec = {
        "height": 240,
        "encoding": {
            "x": place | {"scale": {"zero": False, "nice": False, "padding": 14}},
            "y": {"field": "credits", "type": "quantitative", "title": "credits"},
            "color": colours,
        },
        "layer": [
            {"data": {"values": steps}, "mark": {"type": "line", "interpolate": "step", "strokeWidth": 2}},
            {"data": {"values": bought}, "mark": {"type": "point", "filled": True, "size": 40, "opacity": 1}},
            {
                "data": {"values": [{"credits": float(price), "kind": paid}]},
                "mark": {"type": "rule", "strokeDash": [5, 4]},
                "encoding": {"x": None},
            },
        ],
    }
    return charts.chart("supply", spec).png()


def lots(names: Sequence[str], asked: Sequence[float], paid: Sequence[float], awarded: Sequence[bool]) -> bytes:
    """A line for each lot: what was asked, what was bought and what was paid for it, in credits, each given by bid. Returns a
    PNG."""
    kinds = {"asked": LIGHT, "asked, and bought": BLUE, "paid": DARK}
    bids = list(zip(names, map(float, asked), map(float, paid), map(bool, awarded), strict=True))
    offers = [
        {"lot": name, "credits": ask, "kind": "asked, and bought" if bought else "asked"}
        for name, ask, _, bought in sorted(bids, key=lambda bid: bid[3])
    ]
    payments = [{"lot": name, "credits": payment, "kind": "paid"} for name, _, payment, bought in bids if bought]
    lot = {
        "field": "lot",
        "type": "nominal",
        "title": None,
        "sort": "ascending",
        "axis": {"grid": True, "ticks": False},
    }
    spec: Spec = {
        "height": {"step": 20},
        "encoding": {
            "y": lot,
            "x": {"field": "credits", "type": "quantitative", "title": "credits"},
            "color": charts.coloured_by("kind", kinds),
        },
        "layer": [
            {
                "data": {"values": charts.values_of(offers)},
                "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
            },
            {
                "data": {"values": charts.values_of(payments)},
                "mark": {"type": "tick", "thickness": 2, "height": 13},
            },
        ],
    }
    return charts.chart("lots", spec).png()
