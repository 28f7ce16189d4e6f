"""How figures are shown in the Dagster UI and in reports: small tables and plots, with hostile text made harmless.

Belongs here: rendering. Does not belong here: what is worth showing.
"""

import base64
import html
import io
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
from dagster import MarkdownMetadataValue, MetadataValue

from resources.plain_text import one_line, without_links

LONGEST_CELL = 120
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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
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
        colours = ["#2a6fdb" if highlighted(label) else "#9aa5b1" for label in labels]
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
            colour = "#2a6fdb" if highlighted(label) else "#7b8794"
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
    xs: Sequence[float], ys: Sequence[float], *, x: str, y: str, errors: Sequence[float] | None = None
) -> bytes:
    """Points with error bars along x. Returns a PNG."""
    with _figure() as (figure, axes):
        axes.errorbar(xs, ys, xerr=errors, fmt="o", markersize=4, color="#2a6fdb", ecolor="#9aa5b1", linewidth=1)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        return _png(figure)
