"""What judgements added to an aligned model, by labeler, from a home's tables."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crowd_assets.round.judgement_values import PAIRS, PAIRS_SCHEMA, VALUES_SCHEMA, values_of
from crowd_assets.round.labelers import aggregated
from tests.unit.round.small_home import SmallHome

JUDGES = {"ada": 0.9, "bo": 0.8, "cy": 0.8, "con": 0.1}


def judged(home: SmallHome, asked: list[dict[str, Any]]) -> None:
    events = [
        {
            "kind": "preference",
            "contributor_id": who,
            **{name: task[name] for name in ("comparison_id", "prompt", "response_a", "response_b")},
            "probability_a": says if at % 2 else 1 - says,
        }
        for at, task in enumerate(asked)
        for who, says in JUDGES.items()
    ]
    home.settle(events, 0)


@pytest.mark.parametrize(("assignments", "aggregate"), [("off", "mean"), ("offered", "log_odds")])
def test_values_sum_to_those_of_the_pairs_and_who_judges_against_the_crowd_loses(
    tmp_path: Path, assignments: str, aggregate: str
) -> None:
    home = SmallHome(tmp_path, assignments=assignments, aggregate=aggregate, newcomer_seats=0)
    home.settle([], 8)
    names = home.warehouse.query("SELECT comparison_id FROM comparison_tasks ORDER BY 1")["comparison_id"].to_list()
    asked = [
        {"comparison_id": name, "prompt": f"p {name}", "response_a": f"a {name}", "response_b": f"b {name}"}
        for name in names
    ]
    judged(home, asked)
    assert values_of(home.round, home.settings, home.warehouse, home.frames).schema == pl.Schema(VALUES_SCHEMA)
    frame = aggregated(home.round, home.settings, home.warehouse, home.frames).sort("comparison_id")
    side = np.where(np.arange(8) % 2, 1.0, -1.0)
    assert ((frame["probability_a"].to_numpy() - 0.5) * side > 0).all()
    pairs = pl.DataFrame({"comparison_id": names[:6], "value": [0.4, 0.1, 0.3, 0.2, 0.1, 0.1]}, schema=PAIRS_SCHEMA)
    home.warehouse.replace_round(PAIRS, home.round.round_no, pairs)
    found = values_of(home.round, home.settings, home.warehouse, home.frames)
    value = dict(found.select("labeler_id", "value").iter_rows())
    assert found["judgements"].to_list() == [6] * 4
    assert sum(value.values()) == pytest.approx(1.2)
    assert value["ada"] > value["bo"] == pytest.approx(value["cy"])
    assert value["con"] < value["bo"] / 2, "log-odds turn round who is known to be wrong"
    assert value["con"] < 0 or aggregate != "mean"
