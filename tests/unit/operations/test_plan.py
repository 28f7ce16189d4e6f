"""A plan says what each stage takes, from one timed step, and more of anything takes longer."""

import pytest

from crowd_assets.operations.plan import stages_of
from resources.settings.resource import CrowdSettings
from resources.training.preflight import Speed

SPEED = Speed(trained=100.0, written=10.0, peak_mib=512.0)
OWN = CrowdSettings(base_model="somebody/model", learning_rate=1e-3, shapley_method="centroid")


def seconds(settings: CrowdSettings, texts: int = 100) -> dict[str, float]:
    return {each.name: each.seconds for each in stages_of(settings, SPEED, texts, tokens=50)}


def test_stages_take_their_tokens_over_the_measured_speed() -> None:
    found = seconds(OWN)
    assert found["candidates"] == pytest.approx(100 * 50 * OWN.epochs / 100)
    written = (OWN.groups + 1) * OWN.samples["selection"] * OWN.max_new_tokens
    assert found["selection, at least"] == pytest.approx(written / 10)
    assert seconds(OWN, texts=200)["candidates"] == pytest.approx(2 * found["candidates"])


def test_what_is_found_or_valued_is_a_stage_of_its_own() -> None:
    assert not any("rates" in name or "values" in name for name in seconds(OWN))
    assert "learning rates, in the first round alone" in seconds(OWN.changed(learning_rate=0.0))
    valued = seconds(OWN.changed(shapley_method="in_run"))
    assert valued["gradients of contributors' values"] > 0
    assert seconds(OWN.changed(shapley_method="in_run", value_seeds=3))["candidates"] > valued["candidates"]
