"""The manager's figures: they are those of the coefficients, and what is not known is null and not a number made up."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowd_assets.mechanisms.agreement import krippendorff_alpha
from crowd_assets.report.agreement import agreement_figures, campaign_figures
from resources.warehouse.duckdb import DuckDBWarehouse

START = datetime(2026, 1, 1, tzinfo=UTC)


def judged(reports: np.ndarray, outcomes: np.ndarray | None = None) -> pl.DataFrame:
    """Judgements of a table of reports (comparisons, people), NaN where somebody did not judge."""
    pair, person = np.nonzero(~np.isnan(reports))
    truth = np.full(len(reports), np.nan) if outcomes is None else outcomes
    return pl.DataFrame(
        {
            "contributor_id": [f"p{number}" for number in person],
            "comparison_id": [f"c{number:03d}" for number in pair],
            "prompt": [f"topic {number % 2}" for number in pair],
            "probability_a": reports[pair, person],
            "submitted_at": [START + timedelta(hours=int(number)) for number in pair],
            "seconds": [30.0] * pair.size,
            "outcome": truth[pair],
            "judgement_share": [None] * pair.size,
        },
        schema_overrides={"judgement_share": pl.Float64},
    ).with_columns(pl.col("outcome").fill_nan(None))


def test_a_ranking_counts_as_one_judgement(warehouse: DuckDBWarehouse) -> None:
    rng = np.random.default_rng(1)
    pairs = judged(rng.integers(0, 2, (20, 3)).astype(float))
    # Three people rank the three answers of one more question alike: three pairs, one judgement each.
    alike = judged(np.ones((3, 3))).with_columns(
        comparison_id=pl.format("r{}", "comparison_id"), judgement_share=pl.lit(1 / 3)
    )
    one = judged(np.ones((1, 3))).with_columns(comparison_id=pl.lit("one"))
    found, wanted = (campaign_figures(pl.concat([pairs, each]), warehouse, resamples=20) for each in (alike, one))
    assert found["judgements"] == wanted["judgements"] == 63
    assert [each["judgements"] for each in found["people"]] == pytest.approx([21, 21, 21])
    for name in ("alpha_nominal", "alpha_interval", "gwet_ac1", "fleiss_kappa"):
        assert found["agreement"][name]["value"] == pytest.approx(wanted["agreement"][name]["value"])


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    found = DuckDBWarehouse(path=str(tmp_path / "warehouse.duckdb"))
    with found.transaction():
        pass
    return found


def test_figures_are_those_of_the_coefficients(warehouse: DuckDBWarehouse) -> None:
    rng = np.random.default_rng(0)
    answer = rng.integers(0, 2, (60, 1)).astype(float)
    reports = np.where(rng.random((60, 4)) < 0.85, answer, 1 - answer)
    reports[rng.random(reports.shape) < 0.2] = np.nan
    found = campaign_figures(judged(reports, answer[:, 0]), warehouse, resamples=100)
    item, _ = np.nonzero(~np.isnan(reports))
    alpha = found["agreement"]["alpha_nominal"]
    assert alpha["value"] == pytest.approx(krippendorff_alpha(item, reports[~np.isnan(reports)]))
    assert alpha["low"] < alpha["value"] < alpha["high"]
    assert found["agreement"]["more_items_until_alpha_is_known"] > 0
    times = np.bincount((~np.isnan(reports)).sum(axis=1), minlength=5)
    assert found["coverage"] == {"0": 0} | {str(n): int(times[n]) for n in range(1, 5) if times[n]}
    assert {each["prompt"] for each in found["by_topic"]} == {"topic 0", "topic 1"}
    assert len(found["pairs"]) == 6
    for person in found["people"]:
        assert person["agreement_with_gold"] == pytest.approx(0.85, abs=0.15)
        assert person["median_seconds"] == 30.0
    assert found["pace"]["days"] == 3
    assert found["power"]["win_rate_of_a"] is not None
    json.dumps(found, allow_nan=False)


def test_what_is_not_known_is_null(warehouse: DuckDBWarehouse) -> None:
    alone = judged(np.array([[1.0], [0.0]])).with_columns(seconds=pl.lit(None, pl.Float64))
    found = campaign_figures(alone, warehouse, resamples=10)
    assert found["agreement"]["alpha_nominal"] == {"value": None, "low": None, "high": None}
    assert found["pairs"] == []
    assert found["pace"]["median_seconds_an_item"] is None
    assert found["cost"]["credits_a_decided_item"] == 0.0
    json.dumps(found, allow_nan=False)
    assert agreement_figures(alone, resamples=10)["more_items_until_alpha_is_known"] is None
