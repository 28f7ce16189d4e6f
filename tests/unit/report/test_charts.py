"""Charts can be read on a phone and without scripts."""

import itertools
import json
from typing import Any

from crowd_assets.report import charts


def _scale(chart: charts.Chart, name: str) -> dict[str, Any]:
    return next(each for each in chart.spec["scales"] if each["name"] == name)


def test_axes_in_percent_begin_at_zero() -> None:
    rows = [{"round": number, "value": 0.6 + 0.1 * number, "series": "after"} for number in (1, 2, 3)]
    shares = charts.lines("shares", rows, axis="share", colours={"after": "var(--c1)"}, form=".0%")
    distances = charts.lines("distances", rows, axis="distance", colours={"after": "var(--c1)"})
    assert _scale(shares, "y")["zero"] is True
    assert _scale(distances, "y")["zero"] is False


def test_lines_carry_their_names_and_no_two_names_stand_on_one_another() -> None:
    names = [f"demonstrator-{number:02}" for number in range(8)]
    rows = [
        {"round": number, "value": 0.0 if name < "demonstrator-05" else 9.0 * number, "series": "all", "name": name}
        for name in names
        for number in (1, 2)
    ]
    chart = charts.many_lines("leaders", rows, axis="points", colours={"all": "var(--c1)"})
    (labels,) = [each["values"] for each in chart.spec["data"] if "short" in json.dumps(each.get("values", ""))]
    places = sorted(each["value"] for each in labels)
    assert {each["short"] for each in labels} == {f"…{name[-9:]}" for name in names}
    assert min(later - earlier for earlier, later in itertools.pairwise(places)) >= 0.05 * 18 - 1e-9
    for each in labels:
        assert each["short"] in str(chart.svg)
