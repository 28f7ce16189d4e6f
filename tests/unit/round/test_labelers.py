"""What a round makes of reports whose errors go together."""

from pathlib import Path

import numpy as np
import pytest

from crowd_assets.mechanisms.labelers.base import CountsParts
from crowd_assets.mechanisms.labelers.table import AGGREGATES
from crowd_assets.round.labelers import aggregated
from tests.unit.round.small_home import SmallHome, judgement, outcome

OTHERS, NAMES, PAIRS = 5, 4, 40


@pytest.mark.parametrize("aggregate", ["log_odds", "by_agreement"])
def test_one_judgement_under_several_names_moves_the_crowd_as_much_as_one(tmp_path: Path, aggregate: str) -> None:
    assert isinstance(AGGREGATES[aggregate], CountsParts)
    rng = np.random.default_rng(0)
    chance = rng.random(PAIRS)
    events = []
    for at in range(PAIRS):
        own = rng.normal(scale=0.3)
        for number in range(OTHERS):
            events.append(judgement(f"o{number}", f"c{at}", float(np.clip(chance[at] + rng.normal(scale=0.3), 0, 1))))
        for number in range(NAMES):
            noise = own + rng.normal(scale=0.05)
            events.append(judgement(f"n{number}", f"c{at}", float(np.clip(chance[at] + noise, 0, 1))))
    home = SmallHome(tmp_path, rings_count_once=False, aggregate=aggregate)
    home.settle([*events, *(outcome(f"c{at}", float(chance[at] > 0.5)) for at in range(0, PAIRS, 2))], pairs=0)
    others, names = (
        np.array([event["probability_a"] for event in events if event["contributor_id"][0] == who]).reshape(PAIRS, -1)
        for who in "on"
    )
    said = names.mean(axis=1) - others.mean(axis=1)

    def pull(**changes: object) -> float:
        """How far aggregates without an outcome go with the names rather than with the others."""
        with home.warehouse.session():
            frame = aggregated(home.round, home.settings.changed(**changes), home.warehouse, home.frames)
        at = frame["comparison_id"].str.slice(1).cast(int).to_numpy()
        log_odds = np.log(frame["probability_a"] / (1 - frame["probability_a"])).to_numpy()
        open_ = at % 2 == 1
        design = np.column_stack([others.mean(axis=1)[at] - 0.5, said[at]])[open_]
        crowd, of_names = np.linalg.lstsq(design, log_odds[open_], rcond=None)[0]
        return float(of_names / crowd)

    each_counts = pull(alike_count_once=False)
    assert each_counts > 0.35, "four of nine"
    assert pull() < 0.75 * each_counts
