"""Charts as Vega-Lite writes them: drawn once here, for print and for readers without scripts, and again in the page,
where they answer a pointer and take its width; or as an image of few bytes, for Dagster's UI.

Colours are names of the style's (``var(--c1)``), so that a drawing turns dark with its page; an image is light on every page.
vl-convert has compiler and libraries inside and asks no network. Nothing here reads a text that a contributor wrote but for ids, which arrive as data.

Belongs here: kinds of charts. Does not belong here: which figures they show.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from resources.common.plain_text import one_line

Row = Mapping[str, Any]
Spec = dict[str, Any]

UNDRAWABLE = re.compile("[\ufffe\uffff\U00010000-\U0010ffff]")
"""What no XML document may hold, and what the renderer may cut in the middle where a label is too long: it survives neither.
Names are plain letters; this is for homes into which others came."""

NAMED_COLOUR = re.compile(r"var\((--[\w-]+)\)")

WIDTH = 680
"""Pixels of a drawing without a page around it."""

IMAGE_COLOURS = 48
"""Of an image, a third of its size: Dagster's event log keeps every image of every round, three times."""

INTERPRETER = "2.0.0"
"""Version of vega-interpreter inside of vl-convert 1.9, which does not tell: it runs expressions without eval, so that a
page's policy can forbid that."""

COLOURS = [f"var(--c{index})" for index in range(1, 9)]
MOST_NAMED = 16
"""Series that a legend names."""
ROUNDS = {"tickMinStep": 1, "format": "d", "grid": False, "title": "round"}

CONFIG: Spec = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domainColor": "var(--line)",
        "gridColor": "var(--line)",
        "labelColor": "var(--soft)",
        "labelFontSize": 12,
        "labelLimit": 150,
        "labelOverlap": True,
        "tickColor": "var(--line)",
        "titleColor": "var(--soft)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "labelFontSize": 12,
        "labelLimit": 170,  # two columns of these fit into half a page
        "columns": 2,
        "columnPadding": 28,  # what a page writes is wider than what its maker measured
        "orient": "top",
        "symbolOpacity": 1,
        "symbolStrokeWidth": 2,
        "title": None,
    },
    "range": {"category": COLOURS},
    "text": {"fontSize": 12},
}


@dataclass(frozen=True)
class Chart:
    """A chart: its ``name`` in the page, ``spec`` for Vega, ``hint`` what a pointer does."""

    name: str
    spec: Spec
    hint: str = ""

    @cached_property
    def svg(self) -> Markup:
        """The chart as it is without scripts, in the colours of its page."""
        import vl_convert

        # Clip paths are numbered by the process that draws them; in one page they need names of their own.
        numbers: dict[str, int] = {}
        clip = re.compile(r'(?<=id="clip)\d+(?=")|(?<=url\(#clip)\d+(?=\))')
        drawn = vl_convert.vega_to_svg(self.spec)
        return Markup(clip.sub(lambda match: f"-{self.name}-{numbers.setdefault(match[0], len(numbers))}", drawn))

    def png(self) -> bytes:
        """The chart as an image, dark on white, that is read on a light page as on a dark one."""
        import vl_convert
        from PIL import Image

        drawn = vl_convert.vega_to_png(_in_light(self.spec) | {"background": "#ffffff"})
        few = Image.open(io.BytesIO(drawn)).convert("RGB").quantize(IMAGE_COLOURS, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        few.save(buffer, format="png", optimize=True)
        return buffer.getvalue()


def _in_light(part: Any) -> Any:
    """A specification with colours where it names those of the style; data, and what scales know of them, stay as they are."""
    if isinstance(part, dict):
        return {key: each if key in ("values", "domain") else _in_light(each) for key, each in part.items()}
    if isinstance(part, list):
        return [_in_light(each) for each in part]
    named = NAMED_COLOUR.fullmatch(part) if isinstance(part, str) else None
    return _light()[named[1]] if named else part


@lru_cache(maxsize=1)
def _light() -> dict[str, str]:
    """The style's colours of a light page, by name."""
    style = (files("crowd_assets.report") / "style.css").read_text(encoding="utf-8")
    return dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", style[: style.index("@media")]))


@lru_cache(maxsize=1)
def runtime() -> str:
    """JavaScript that draws the charts of a page: Vega and its interpreter, under the name ``vega``."""
    import vl_convert

    packages = {"vega": vl_convert.get_vega_version(), "vega-interpreter": INTERPRETER}
    vega, interpreter = (f"https://cdn.jsdelivr.net/npm/{name}@{version}/+esm" for name, version in packages.items())
    # Names of modules that vl-convert has inside; any other it refuses.
    bundle = vl_convert.javascript_bundle(
        f'import {{View, parse}} from "{vega}"; import {{expressionInterpreter}} from "{interpreter}"; '
        "window.vega = {View, parse, expressionInterpreter};"
    )
    return f"{{{bundle}}}"


def values_of(rows: Sequence[Row]) -> list[Spec]:
    """Rows as data of a chart, with texts that can be drawn."""
    return [{key: _place(value) for key, value in row.items()} for row in rows]


def _place(value: Any) -> Any:
    """A value as JSON has it: what is no number has no place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _drawable(value) if isinstance(value, str) else value


def _drawable(text: str) -> str:
    return UNDRAWABLE.sub("\ufffd", one_line(text))


def chart(name: str, spec: Spec, hint: str = "") -> Chart:
    """A chart from what Vega-Lite takes."""
    import vl_convert

    fitted = {"width": WIDTH, "autosize": {"type": "fit-x", "contains": "padding"}, "background": None} | spec
    return Chart(name, vl_convert.vegalite_to_vega(fitted | {"config": CONFIG}), hint)


def coloured_by(field: str, colours: Mapping[str, str], legend: bool = True) -> Spec:
    """Colour by a field, in the order of the legend."""
    scale = {"domain": list(colours), "range": list(colours.values())}
    return {"field": field, "type": "nominal", "scale": scale} | ({} if legend else {"legend": None})


def intervals(
    name: str, rows: Sequence[Row], *, axis: str, kinds: Mapping[str, str], step: int = 26, legend: bool = True
) -> Chart:
    """Values with their standard errors, one below the other, in the order of the rows.

    Args:
        rows: ``label``, ``value``, ``low``, ``high``, ``kind``, ``note``; a label may come more than once.
        kinds: Colour by kind, in the order of the legend.
    """
    label = {"field": "label", "type": "nominal", "sort": None, "title": None, "axis": {"grid": True, "ticks": False}}
    tooltip = [{"field": "label", "title": " "}, {"field": "note", "title": "  "}]
    value = {"type": "quantitative", "title": axis, "scale": {"zero": False}, "axis": {"tickCount": 8}}
    spec: Spec = {
        "height": {"step": step},
        "data": {"values": values_of(rows)},
        "encoding": {"y": label, "color": coloured_by("kind", kinds, legend), "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.55},
                "encoding": {"x": value | {"field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {"x": value | {"field": "value"}},
            },
        ],
    }
    return chart(name, spec)


def lines(
    name: str,
    rows: Sequence[Row],
    *,
    axis: str,
    colours: Mapping[str, str],
    dashed: Sequence[str] = (),
    form: str = ".3~f",
    zero: bool = False,
    log: bool = False,
    height: int = 240,
    across: Spec | None = None,
) -> Chart:
    """A line for each series over the rounds, with a band between ``low`` and ``high`` where rows have them.

    Args:
        rows: ``round``, ``value``, ``series``, and perhaps ``low``, ``high``.
        across: What ``round`` is instead of a round: title, scale and axis.
        log: Whether values stand at their logarithms.
        colours: By series, in the order of the legend.
        dashed: Series that are there to compare with.
        form: How values are written, a d3 format; an axis in percent begins at 0.
    """
    x = {"field": "round", "type": "quantitative"} | (across or _rounds(rows))
    y = {
        "type": "quantitative",
        "title": axis,
        "scale": {"type": "log"} if log else {"zero": zero or form.endswith("%")},
        "axis": {"format": form},
    }
    picked = {"condition": {"param": "picked", "value": 1}, "value": 0.12}
    tooltip = [
        {"field": "series", "title": " "},
        {"field": "round", "title": x.get("title", "round")},
        {"field": "value", "title": axis, "format": form},
    ]
    dash = {
        "condition": {"test": {"field": "series", "oneOf": list(dashed)}, "value": [5, 4]},
        "value": [1, 0],
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {"y": y | {"field": "value"}, "strokeDash": dash, "opacity": picked},
        },
        {
            "params": [{"name": "picked", "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}],
            "mark": {"type": "point", "filled": True, "size": 60},
            "encoding": {"y": y | {"field": "value"}, "opacity": picked, "tooltip": tooltip},
        },
    ]
    if any("low" in row for row in rows):
        band = {"condition": {"param": "picked", "value": 0.16}, "value": 0.02}
        of_band = {"y": y | {"field": "low"}, "y2": {"field": "high"}, "opacity": band}
        layers.insert(0, {"mark": "area", "encoding": of_band, "transform": [{"filter": "isValid(datum.low)"}]})
    spec: Spec = {
        "height": height,
        "data": {"values": values_of(rows)},
        "encoding": {"x": x, "color": coloured_by("series", colours, legend=1 < len(colours) <= MOST_NAMED)},
        "layer": layers,
    }
    if len(colours) == 1:
        return chart(name, spec)
    return chart(name, spec, "A click in the legend leaves one line; a click beside it brings all back.")


def _rounds(rows: Sequence[Row]) -> Spec:
    """An axis of whole rounds, of many every second, third, …"""
    rounds = sorted({row["round"] for row in rows})
    axis = ROUNDS | {"values": rounds[:: 1 + len(rounds) // 16]}
    return {"axis": axis, "scale": {"zero": False, "nice": False, "padding": 14}}


def many_lines(name: str, rows: Sequence[Row], *, axis: str, colours: Mapping[str, str]) -> Chart:
    """A line for each ``name`` over the rounds, coloured by ``series``, with the name at its end; the one under the pointer stands out.
    Rows: ``round``, ``value``, ``series``, ``name``."""
    last = {row["name"]: row for row in sorted(rows, key=lambda row: (row["round"], row["value"]))}
    heights, rounds = [row["value"] for row in rows], [row["round"] for row in rows]
    ends = {name: float(row["value"]) for name, row in sorted(last.items(), key=lambda each: each[1]["value"])}
    names = [
        {**last[name], "round": max(rounds), "value": place, "short": name if len(name) <= 10 else f"…{name[-9:]}"}
        for name, place in apart(ends, 1, 0.05 * (max(heights) - min(heights)))
    ]
    across = _rounds(rows)
    across["scale"] |= {"domain": [min(rounds), max(rounds) + 0.4 * max(max(rounds) - min(rounds), 1)]}
    selected = {"type": "point", "fields": ["name"], "on": "pointerover", "clear": "pointerout", "nearest": True}
    near = {"name": "near", "select": selected}
    shade = {"condition": {"param": "near", "value": 1}, "value": 0.15}
    spec: Spec = {
        "height": 280,
        "data": {"values": values_of(rows)},
        "encoding": {
            "x": {"field": "round", "type": "quantitative"} | across,
            "y": {"field": "value", "type": "quantitative", "title": axis},
            "detail": {"field": "name"},
            "color": coloured_by("series", colours),
            "opacity": shade,
        },
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2}},
            {
                "params": [near],
                "mark": {"type": "point", "filled": True, "size": 60},
                "encoding": {
                    "tooltip": [
                        {"field": "name", "title": " "},
                        {"field": "round", "title": "round"},
                        {"field": "value", "title": axis, "format": ".2f"},
                    ]
                },
            },
            {
                "data": {"values": values_of(names)},
                "mark": {"type": "text", "align": "left", "dx": 8},
                "encoding": {"text": {"field": "short"}},
            },
        ],
    }
    return chart(name, spec, "A pointer on a line tells whose it is.")


def apart(ends: Mapping[str, float], sign: int, least: float) -> list[tuple[str, float]]:
    """Where names stand at the ends of their lines, from the outermost inwards (``sign`` 1: upwards), ``least`` apart so that
    each can be read."""
    places, last = [], -math.inf
    for name, value in ends.items():
        last = max(sign * value, last + least)
        places.append((name, sign * last))
    return places


def columns(name: str, rows: Sequence[Row], *, axis: str, form: str = ".3~f", height: int = 200) -> Chart:
    """A column for each round. Rows: ``round``, ``value``, ``note``."""
    spec: Spec = {
        "height": height,
        "data": {"values": values_of(rows)},
        "mark": {"type": "bar", "color": COLOURS[0], "width": {"band": 0.7}, "cornerRadiusEnd": 2},
        "encoding": {
            "x": {
                "field": "round",
                "type": "ordinal",
                "title": "round",
                "axis": {"labelAngle": 0, "labelOverlap": True},
            },
            "y": {"field": "value", "type": "quantitative", "title": axis, "axis": {"format": form}},
            "tooltip": [{"field": "note", "title": " "}],
        },
    }
    return chart(name, spec)


def bars(
    name: str,
    rows: Sequence[Row],
    *,
    axis: str,
    kinds: Mapping[str, str],
    reference: float | None = None,
    legend: bool = True,
) -> Chart:
    """Bars, one below the other, in the order of the rows, with their errors where rows have them.

    Args:
        rows: ``label``, ``value``, ``kind``, ``note``, and perhaps ``low``, ``high``.
        reference: Where a dashed line stands, to compare with.
    """
    spec: Spec = {
        "height": {"step": 22},
        "layer": [
            {
                "data": {"values": values_of(rows)},
                "mark": {"type": "bar", "cornerRadiusEnd": 2, "height": {"band": 0.72}},
                "encoding": {
                    "y": {"field": "label", "type": "nominal", "sort": None, "title": None, "axis": {"ticks": False}},
                    "x": {"field": "value", "type": "quantitative", "title": axis, "axis": {"tickCount": 7}},
                    "color": coloured_by("kind", kinds, legend),
                    "tooltip": [{"field": "label", "title": " "}, {"field": "note", "title": "  "}],
                },
            }
        ],
    }
    if any("low" in row for row in rows):
        ends = {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}}
        of_errors = {
            "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.2},
            "data": {"values": values_of(rows)},
        }
        spec["layer"].append(
            of_errors | {"encoding": ends | {"y": {"field": "label", "type": "nominal", "sort": None}}}
        )
    if reference is not None:
        mark = {"type": "rule", "strokeDash": [5, 4], "color": "var(--ink)", "strokeWidth": 1.2}
        spec["layer"].append(
            {"data": {"values": [{"at": reference}]}, "mark": mark, "encoding": {"x": {"field": "at"}}}
        )
        spec["layer"][-1]["encoding"]["x"]["type"] = "quantitative"
    return chart(name, spec)


def scatter(
    name: str, rows: Sequence[Row], *, x: str, y: str, kinds: Mapping[str, str], legend: bool = True, title: str = ""
) -> Chart:
    """Points with standard errors along x. Rows: ``label``, ``x``, ``low``, ``high``, ``y``, ``kind``, ``note``."""
    ends = {"type": "quantitative", "title": x, "axis": {"tickCount": 7}}
    moved = {
        "name": "frame",
        "select": {
            "type": "interval",
            "zoom": "wheel![event.shiftKey]",
            "translate": "[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!",
        },
        "bind": "scales",
    }
    spec: Spec = {
        "height": 320,
        "title": {"text": title, "anchor": "start", "color": "var(--soft)", "fontSize": 12, "fontWeight": "normal"},
        "data": {"values": values_of(rows)},
        "encoding": {
            "y": {"field": "y", "type": "quantitative", "title": y},
            "color": coloured_by("kind", kinds, legend),
        },
        "layer": [
            {
                "mark": {"type": "rule", "opacity": 0.3, "clip": True},
                "encoding": {"x": ends | {"field": "low"}, "x2": {"field": "high"}},
            },
            {
                "params": [moved],
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 0.9, "clip": True},
                "encoding": {
                    "x": ends | {"field": "x"},
                    "tooltip": [{"field": "label", "title": " "}, {"field": "note", "title": "  "}],
                },
            },
        ],
    }
    return chart(name, spec, "With the shift key held, the wheel zooms and a drag moves; a double click resets.")


def lots(name: str, rows: Sequence[Row], *, chosen: Sequence[str]) -> Chart:
    """The supply of one lot, which a reader chooses: what each bid asked, was worth to the buyer and was paid.

    Args:
        rows: ``lot``, ``place`` by asked price, ``seller``, ``asked``, ``value``, ``paid`` (None: not bought), ``kind``.
        chosen: Lots to choose from; the first is drawn at first.
    """
    kinds = {"bought": "var(--good)", "not bought": "var(--c-base)"}
    chosen = [_drawable(lot) for lot in chosen]
    place = {
        "field": "place",
        "type": "ordinal",
        "title": "bids, by asked price",
        "axis": {"labelAngle": 0, "ticks": False},
    }
    credits_of = {"type": "quantitative", "title": "credits"}
    tooltip = [
        {"field": "seller", "title": " "},
        {"field": "asked", "title": "asked", "format": ".4f"},
        {"field": "value", "title": "worth to the buyer", "format": ".4f"},
        {"field": "paid_text", "title": "paid"},
    ]
    spec: Spec = {
        "height": 260,
        "data": {"values": values_of(rows)},
        "params": [{"name": "lot", "value": chosen[0], "bind": {"input": "select", "options": chosen, "name": "lot "}}],
        "transform": [{"filter": "datum.lot === lot"}],
        "encoding": {"x": place, "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "bar", "cornerRadiusEnd": 2, "width": {"band": 0.6}},
                "encoding": {
                    "y": credits_of | {"field": "asked"},
                    "color": coloured_by("kind", kinds),
                },
            },
            {
                "mark": {"type": "tick", "thickness": 2, "color": "var(--c1)", "width": {"band": 0.8}},
                "encoding": {"y": credits_of | {"field": "value"}},
            },
            {
                "transform": [{"filter": "isValid(datum.paid)"}],
                "mark": {
                    "type": "point",
                    "shape": "diamond",
                    "filled": True,
                    "opacity": 1,
                    "size": 130,
                    "color": "var(--ink)",
                },
                "encoding": {"y": credits_of | {"field": "paid"}},
            },
        ],
    }
    return chart(name, spec, "Choose a lot to see its bids.")
