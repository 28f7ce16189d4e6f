"""The pairs that a round's reports give to QA-DPO."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from crowd_assets.round.selection import preference_pairs
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings


def test_a_rounds_pairs_carry_the_probability_of_the_likelier_answer(tmp_path: Path) -> None:
    aggregated = pl.DataFrame(
        {
            "comparison_id": ["1", "2", "3", "4"],
            "prompt": ["likelier a", "likelier b", "undecided", "certain"],
            "response_a": ["a"] * 4,
            "response_b": ["b"] * 4,
            "probability_a": [0.7, 0.2, 0.55, 1.0],
        }
    )
    round_ = Round(1, "round-1", 0, 3, "claimed", 1, None, 3, None, None, datetime.now(UTC))
    training, held_out = preference_pairs(aggregated, round_, CrowdSettings(home=str(tmp_path)))
    found = {pair.prompt: (pair.accepted, pair.probability) for pair in training + held_out}
    assert found == {
        "likelier a": ("a", pytest.approx(0.7)),
        "likelier b": ("b", pytest.approx(0.8)),
        "certain": ("a", pytest.approx(0.98)),
    }
