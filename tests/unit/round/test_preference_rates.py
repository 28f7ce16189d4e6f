"""The rate of QA-DPO is found by what it does to pairs that were kept out, once a home, and not by pairs that judge the model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crowd_assets.report.found import preference_rates_table
from crowd_assets.round import preference_rates, rates
from crowd_assets.round.preference_rates import PreferenceTrial, best_of, preference_rate_of
from resources.files.frames import FramesResource
from resources.settings.resource import CrowdSettings
from resources.training.alignment import PreferencePair

BASE = PreferenceTrial(0.0, preference_loss=0.7, accuracy=0.5, general_loss=3.0)
ROUND: Any = SimpleNamespace(round_id="r000001", round_no=1, settled=False)
SETTINGS = CrowdSettings(base_model="somebody/model", learning_rate=3e-3)
PAIRS = [PreferencePair(f"question {number}", "good", "bad", 1.0, 0.9) for number in range(12)]


def test_the_least_loss_of_pairs_kept_out_wins_among_rates_that_forgot_little() -> None:
    timid, right = PreferenceTrial(1e-5, 0.69, 0.5, 3.0), PreferenceTrial(1e-4, 0.6, 0.7, 3.02)
    ruinous, over = PreferenceTrial(1e-3, 0.4, 0.9, 5.0), PreferenceTrial(3e-3, 0.8, 0.6, 3.0)
    assert best_of(BASE, [over, ruinous, right, timid], limit=0.05) == 1e-4
    assert best_of(BASE, [over, ruinous, right, timid], limit=4.0) == 1e-3
    assert best_of(BASE, [over, ruinous], limit=0.05) == 1e-3
    with pytest.raises(ValueError, match="no rate"):
        best_of(BASE, [], limit=0.0)


class Trainer:
    """Trains nothing; a model of a rate tells good from bad by as much as the rate, and forgets by its square."""

    def __init__(self) -> None:
        self.trained: list[list[PreferencePair]] = []

    def align(self, parent: str | None, pairs: list[PreferencePair], *, config: Any, **_: Any) -> Any:
        self.trained.append(pairs)
        return SimpleNamespace(model=str(config.learning_rate))

    def likelihoods(self, model: str | None, pairs: list[Any], max_tokens: int) -> list[Any]:
        rate = float(model or 0.0)
        texts = [text for _, text in pairs]
        return [np.array([-1.0 + {"good": 1e4 * rate}.get(text, -1e4 * rate**2)]) for text in texts]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    frames = FramesResource(root=str(tmp_path))
    monkeypatch.setattr(preference_rates, "generator_for", lambda *_: np.random.default_rng(0))
    monkeypatch.setattr(preference_rates, "seed_for", lambda *_: 0)
    monkeypatch.setattr(preference_rates, "ordinary_texts", lambda _: ["the weather"] * 20)
    monkeypatch.setattr(rates, "RoundBook", lambda _: SimpleNamespace(all=list))
    monkeypatch.setattr(preference_rates, "found_learning_rate", lambda *_: SETTINGS.learning_rate)
    trainer, said = Trainer(), []  # type: ignore[var-annotated]

    def ask(settings: CrowdSettings = SETTINGS) -> float:
        warehouse: Any = None
        return preference_rate_of(ROUND, PAIRS, None, settings, warehouse, frames, trainer, said.append)  # type: ignore[arg-type]

    return SimpleNamespace(rate=ask, frames=frames, trainer=trainer, said=said)


def test_rates_are_tried_once_a_home_on_pairs_of_which_some_are_kept_out(asked: Any) -> None:
    found = asked.rate()
    assert found == pytest.approx(1e-3)  # the largest of four, as it forgets by 1 % alone
    assert len(asked.trainer.trained) == 4
    assert all(len(pairs) == 8 for pairs in asked.trainer.trained)
    assert asked.rate() == found
    assert len(asked.trainer.trained) == 4
    curve = asked.frames.read("preference_rates", ROUND.round_id)
    assert curve.sort("learning_rate")["learning_rate"].round_sig_figs(2).to_list() == [0.0, 3e-5, 1e-4, 3e-4, 1e-3]
    assert curve.filter("chosen")["preference_loss"].item() < curve["preference_loss"].max()
    assert "chosen" in str(preference_rates_table(ROUND, asked.frames))
    assert sum("chosen" in line for line in asked.said) == 1


def test_nothing_is_tried_where_a_rate_is_set_or_a_rule_is_asked_for_or_the_model_is_embedded(asked: Any) -> None:
    assert asked.rate(SETTINGS.changed(alignment_learning_rate=2e-5)) == 2e-5
    assert asked.rate(SETTINGS.changed(alignment_trials=0)) == pytest.approx(1.5e-4)
    assert asked.rate(CrowdSettings()) == 0.005
    assert asked.trainer.trained == []
    assert preference_rates_table(ROUND, asked.frames) is None


def test_a_round_settled_before_there_were_trials_has_none() -> None:
    record = {"base_model": "somebody/model", "alignment_learning_rate": 0.0, "learning_rate": 2e-3}
    earlier = SETTINGS.of_record(record)
    assert earlier.alignment_rate(2e-3) == pytest.approx(1e-4)
    assert SETTINGS.alignment_rate(2e-3) is None
