"""The guard of feedback: calibrated once on reference texts with slips, whatever prompt a text brings; none without a domain."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crowd_assets.forum.comments import write_comments
from crowd_assets.round.guard import RANGE, weigher_of
from crowd_assets.simulation.attacks.texts import the_forum
from resources.files.frames import FramesResource
from resources.rounds.claims import Round
from resources.settings.resource import CrowdSettings

ROUND = Round(1, "r000001", 0, 0, "", 1, None, 1, None, None, datetime(2026, 1, 1, tzinfo=UTC))


def a_root(calls: list[int]) -> Any:
    """A root that knows the forum's words, three in a row."""

    def likelihoods(model: None, pairs: Sequence[tuple[str, str]], max_tokens: int) -> list[np.ndarray]:
        calls.append(len(pairs))
        return [the_forum().root.scores(response) for _, response in pairs]

    return SimpleNamespace(root_identity=lambda: "root", likelihoods=likelihoods)


def test_a_salad_is_outside_with_its_figure_and_honest_texts_are_not(tmp_path: Path) -> None:
    calls: list[int] = []
    frames = FramesResource(root=str(tmp_path))
    weigh = weigher_of(ROUND, CrowdSettings(), frames, a_root(calls))
    assert weigh is not None
    honest = [each.response for each in write_comments(40, np.random.default_rng(2))]
    found = weigh([("prompt", text) for text in [*honest, "listening listening easier beginner lifesavers listening"]])
    assert [why for _, why in found[:-1]] == [""] * 40
    assert "nats a token, below" in found[-1][1]
    assert calls[0] > 500, "reference texts"
    weigh([("prompt", "again")])
    assert calls[-1] == 1, "the range is kept"
    assert list(tmp_path.rglob(f"*{RANGE}*"))


@pytest.mark.parametrize("settings", [{"guard": False}, {"base_model": "org/another"}])
def test_without_reference_texts_of_the_domain_nothing_is_weighed(tmp_path: Path, settings: dict[str, Any]) -> None:
    frames = FramesResource(root=str(tmp_path))
    assert weigher_of(ROUND, CrowdSettings(**settings), frames, a_root([])) is None
