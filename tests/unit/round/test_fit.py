"""A home looks at its base model once, before a round is paid for, and refuses one that does not fit."""

from pathlib import Path

import pytest

from crowd_assets.round import fit
from crowd_assets.round.fit import check_model, refuse
from resources.build import build_resources
from resources.settings.resource import CrowdSettings
from resources.training.preflight import Seen, UnfitModelError
from tests.unit.resources.training.zoo import build


def test_what_does_not_fit_is_refused_a_line_each() -> None:
    seen = [
        Seen("ends", "<|im_end|>"),
        Seen("positions", "8 tokens", "raise CROWD_MAX_TOKENS"),
        Seen("pad", "none", "x"),
    ]
    refuse(seen[:1], "mine")
    with pytest.raises(UnfitModelError) as found:
        refuse(seen, "mine")
    assert str(found.value).splitlines() == [
        "CROWD_BASE_MODEL='mine' does not fit:",
        "  positions: 8 tokens. Way out: raise CROWD_MAX_TOKENS.",
        "  pad: none. Way out: x.",
    ]


def test_a_model_is_looked_at_once_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "qwen2", "qwen2")
    settings = CrowdSettings(home=str(tmp_path / "home"), base_model=str(folder), max_tokens=48, batch_size=4)
    trainer = build_resources(settings).trainer
    looks = []
    look = fit.look_at_model
    monkeypatch.setattr(fit, "look_at_model", lambda *each: looks.append(1) or look(*each))
    check_model(settings, trainer)
    check_model(settings, trainer)
    assert looks == [1]
    with pytest.raises(UnfitModelError, match="positions"):
        check_model(settings.changed(max_tokens=8), trainer)
