"""The page says why the base stayed, and which learning rates were tried."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from crowd_assets.report.found import rates_table, why_the_base_stayed
from resources.files.frames import FramesResource

CANDIDATES = pl.DataFrame({"group_index": [0, 1], "distance": [0.8, 0.9]})
ROUND: Any = SimpleNamespace(round_id="r000001", claimed_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("base", "refused", "expected"),
    [
        (
            0.7,
            [],
            "as all 2 candidates are farther from the target: the nearest one's distance is 0.800, the base's 0.700",
        ),
        (0.81, [], "as none of 2 candidates is closer beyond chance"),
        (0.9, ["it repeats itself"], "the guard refused what came nearer to the target: it repeats itself"),
    ],
)
def test_the_page_says_why_the_base_stayed(base: float, refused: list[str], expected: str) -> None:
    assert expected in why_the_base_stayed(CANDIDATES, base, refused)


def test_the_curve_is_a_table_where_rates_were_tried(tmp_path: Path) -> None:
    frames = FramesResource(root=str(tmp_path))
    assert rates_table(ROUND, frames) is None
    curve = {
        "learning_rate": [0.0, 1e-3],
        "held_out_loss": [2.0, 1.5],
        "general_loss": [3.0, 3.1],
        "distance": [0.9, 0.7],
    }
    frames.write("learning_rates", ROUND.round_id, pl.DataFrame(curve).with_columns(chosen=pl.Series([False, True])))
    found = rates_table(ROUND, frames)
    assert found is not None
    assert "base" in str(found)
    assert "chosen" in str(found)
