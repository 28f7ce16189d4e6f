"""How figures are shown in the Dagster UI and in reports: small tables and plots, with hostile text made harmless.

Belongs here: rendering. Does not belong here: what is worth showing.
"""

import base64
import html
import io
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
from dagster import MarkdownMetadataValue, MetadataValue

from resources.common.plain_text import one_line, without_links

LONGEST_CELL = 120
COLOURS = 48  # of a plot
BLUE, GREY, LIGHT, DARK, ORANGE = "#2a6fdb", "#7b8794", "#cbd2d9", "#333333", "#d9730d"
MOST_BARS = 40

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


@contextmanager
def _figure(width: float = 6.4, height: float = 3.2) -> Iterator[tuple[Any, Any]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    yield figure, axes


def _png(figure: Any) -> bytes:
    """A PNG of few colours, a third of the size: Dagster's event log keeps every plot of every round, three times."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


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
    shown = _ends(len(labels))
    labels, values = [labels[row] for row in shown], [values[row] for row in shown]
    errors = None if errors is None else [errors[row] for row in shown]
    with _figure(height=1.0 + 0.28 * max(len(labels), 1)) as (figure, axes):
        colours = [BLUE if highlighted(label) else "#9aa5b1" for label in labels]
        axes.barh(labels, values, xerr=errors, color=colours, ecolor="#333333", capsize=2)
        axes.invert_yaxis()
        axes.set_xlabel(axis)
        return _png(figure)


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
    shown = _ends(len(labels))
    labels, values, errors = (
        [labels[row] for row in shown],
        [values[row] for row in shown],
        [errors[row] for row in shown],
    )
    with _figure(height=1.0 + 0.28 * max(len(labels), 1)) as (figure, axes):
        for label, value, error in zip(labels, values, errors, strict=True):
            colour = BLUE if highlighted(label) else GREY
            axes.errorbar([value], [label], xerr=[error], fmt="o", color=colour, markersize=6, capsize=3)
        axes.invert_yaxis()
        axes.grid(axis="x", color="#e4e7eb", linewidth=0.6)
        axes.set_xlabel(axis)
        return _png(figure)


def _ends(rows: int) -> list[int]:
    """The rows that a plot shows: all, or as many from both ends as it has room for."""
    half = MOST_BARS // 2
    return list(range(rows)) if rows <= MOST_BARS else [*range(half), *range(rows - half, rows)]


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
    with _figure() as (figure, axes):
        for name, (xs, ys) in series.items():
            style = {"linestyle": "--", "linewidth": 1.0} if name in dashed else {"marker": "o", "linewidth": 1.2}
            (line,) = axes.plot(xs, ys, markersize=3, label=name, **style)
            if bands and name in bands:
                axes.fill_between(xs, *bands[name], color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if log_x:
            axes.set_xscale("log")
        elif all(float(value).is_integer() for xs, _ in series.values() for value in xs):
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # 2 would put 0.98 beside a single 1
        if log_y:
            axes.set_yscale("log")
        if 1 < len(series) <= 16:
            axes.legend(frameon=False, fontsize="x-small", ncols=2)
        return _png(figure)


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
    with _figure() as (figure, axes):
        axes.errorbar(xs, ys, xerr=errors, fmt="o", markersize=4, color=BLUE, ecolor="#9aa5b1", linewidth=1)
        axes.set_title(title, fontsize="small", color=GREY, loc="left")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        return _png(figure)


def trajectories(
    xs: Sequence[float], series: Mapping[str, Sequence[float | None]], *, x: str, y: str, level: float, named: int = 4
) -> bytes:
    """One line for each name, the ``named`` that end highest in blue and the ``named`` that end lowest in orange, with their
    names; a dashed line at ``level``. Returns a PNG.

    Args:
        series: By name a value for each x; None where there is none yet.
    """
    with _figure(height=3.6) as (figure, axes):
        ends = sorted(series, key=lambda name: series[name][-1] or 0.0)
        low, high = ends[: min(named, len(ends) // 2)], ends[-min(named, len(ends) - len(ends) // 2) :]
        axes.axhline(level, color=GREY, linestyle="--", linewidth=0.8)
        for name in ends:
            ys = [np.nan if value is None else value for value in series[name]]
            colour = BLUE if name in high else ORANGE if name in low else LIGHT
            axes.plot(xs, ys, color=colour, linewidth=1.4 if colour != LIGHT else 0.8, marker="o", markersize=2.5)
        for names, colour, sign in ((high[::-1], BLUE, -1), (low, ORANGE, 1)):
            _name_ends(axes, xs[-1], {name: float(series[name][-1] or 0.0) for name in names}, colour, sign)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        return _png(figure)


def _name_ends(axes: Any, x: float, ends: Mapping[str, float], colour: str, sign: int) -> None:
    """Names at the ends of their lines, from the outermost inwards (``sign`` 1: upwards), apart so that each can be read."""
    low, high = axes.get_ylim()
    last = -np.inf
    for name, value in ends.items():
        last = max(sign * value, last + (high - low) * 0.055)
        place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
        axes.annotate(
            name if len(name) <= 18 else f"{name[:17]}…", (x, sign * last), size="x-small", color=colour, **place
        )


def supply_and_demand(asked: Sequence[float], values: Sequence[float], awarded: Sequence[bool], price: float) -> bytes:
    """All bids of a round by asked price (supply, with those that were bought in blue) against what they are worth to the
    buyer (demand), and the mean price paid; in credits. Returns a PNG."""
    with _figure() as (figure, axes):
        order = np.argsort(asked, kind="stable")
        prices, bought = np.asarray(asked)[order], np.asarray(awarded)[order]
        places = np.arange(1, len(prices) + 1)
        axes.step(places, np.sort(values)[::-1], where="mid", color=ORANGE, linewidth=1.2, label="value to the buyer")
        axes.step(places, prices, where="mid", color=GREY, linewidth=1.2, label="asked price")
        axes.plot(places[bought], prices[bought], "o", color=BLUE, markersize=4, label="bought")
        axes.axhline(price, color=BLUE, linestyle="--", linewidth=0.9, label=f"mean price paid: {price:.3g}")
        axes.set_xlabel("answers offered, cheapest or best first")
        axes.set_ylabel("credits")
        axes.legend(frameon=False, fontsize="x-small", ncols=2)
        return _png(figure)


def lots(names: Sequence[str], asked: Sequence[float], paid: Sequence[float], awarded: Sequence[bool]) -> bytes:
    """A line for each lot: what was asked, what was bought and what was paid for it, in credits, each given by bid. Returns a
    PNG."""
    shown = sorted(set(names))
    rows, bought = np.array([shown.index(name) for name in names]), np.asarray(awarded)
    offers, payments = np.asarray(asked), np.asarray(paid)
    with _figure(height=1.1 + 0.2 * max(len(shown), 3)) as (figure, axes):
        axes.plot(offers[~bought], rows[~bought], "o", color=LIGHT, markersize=5, label="asked")
        axes.plot(offers[bought], rows[bought], "o", color=BLUE, markersize=5, label="asked, and bought")
        axes.plot(payments[bought], rows[bought], "|", color=DARK, markersize=10, markeredgewidth=1.6, label="paid")
        axes.set_yticks(range(len(shown)), [name[:24] for name in shown], fontsize="x-small")
        axes.invert_yaxis()
        axes.grid(axis="x", color="#e4e7eb", linewidth=0.6)
        axes.set_xlabel("credits")
        axes.legend(frameon=False, fontsize="x-small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return _png(figure)
