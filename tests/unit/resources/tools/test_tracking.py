"""Trackers are told of rounds by their own clients, where they are installed, and refused in words where they are not."""

import importlib
from pathlib import Path

import pytest

from resources.build import build_resources
from resources.common.errors import MissingExtraError
from resources.settings.resource import CrowdSettings
from resources.tools import tracking
from resources.tools.tracking import TRACKERS, TrackedRound, track

TOLD = TrackedRound("home-c0ffee", "r000002", 2, {"groups": 6, "target_attribute": "gratitude"}, {"reduction": 0.25})


@pytest.mark.parametrize("tracker", list(TRACKERS))
def test_a_tracker_that_is_not_installed_is_refused_before_anything_runs(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"CROWD_TRACKING={tracker} .* pip install {tracker}"):
        build_resources(CrowdSettings(home=str(tmp_path), tracking=tracker))


def test_mlflow_shows_each_round_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="a tracker that nobody has to install")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    track("mlflow", TOLD)
    track("mlflow", TOLD)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name(TOLD.home).experiment_id])
    assert (run.data.metrics, run.data.params["groups"], run.info.run_name) == ({"reduction": 0.25}, "6", "r000002")


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_a_local_tracker_takes_a_round(tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(tracker, reason="a tracker that nobody has to install")
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": tmp_path, "TRACKIO_DIR": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    importlib.import_module(tracker)
    track(tracker, TOLD)
    assert any(path.is_file() for path in tmp_path.rglob("*"))
