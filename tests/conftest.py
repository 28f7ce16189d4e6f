"""What tests share: small seed models, built once a session by the project itself, and settings that make a round quick."""

import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from dagster import materialize
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from crowd_assets.assets import seed
from crowd_assets.forum import recipe
from resources.build import build_resources
from resources.settings.resource import CrowdSettings
from resources.training.loading import use_threads

# An example's time depends on what else the machine does; what it finds does not.
hypothesis.settings.register_profile("no_deadline", deadline=None, max_examples=20)
hypothesis.settings.load_profile("no_deadline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CROWD_SECRET", "of the tests")  # a round of a test draws the same each time, and by a key

UNPARTITIONED = {"seed_language_model", "seed_classifier", "target", "raw_feedback"}
OUTSIDE = {"inbox", "outbox", "next_base_model"}
OF_A_ROUND = {
    "validated_feedback",
    "labeler_weights",
    "aggregated_preferences",
    "contributor_groups",
    "candidate_models",
    "selected_model",
    "aligned_model",
    "shapley_estimates",
    "contributor_estimates",
    "point_ledger",
    "auction_clearing",
    "comparison_tasks",
    "round_report",
}

QUICK = {
    "groups": 3,
    "epoch_rounds": 2,
    "fused_candidates": 2,
    "epochs": 2,
    "selection_samples": 32,
    "selection_batches": 2,
    "selection_confidence": 0.6,
    "report_samples": 32,
    "max_new_tokens": 24,
    "alignment_epochs": 1,
    "shapley_permutations": 40,
    "guard": False,  # scores thousands of reference texts; the two rounds that tests of the assets share have a guard
}


# Tests of one folder that share rounds: one process runs them all.
SHARING = ("tests/e2e/", "tests/assets/")
ON_THEIR_OWN = ("tests/e2e/crash/", "tests/assets/test_tutorial.py")


def _sharing(name: str) -> str | None:
    return None if name.startswith(ON_THEIR_OWN) else next((each for each in SHARING if name.startswith(each)), None)


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Of several processes, one runs the tests that share a round; the others take a file each."""

    def _split_scope(self, nodeid: str) -> str:
        return _sharing(nodeid) or nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


# Where several processes share the tests, what takes longest comes first, so that all end at the same time. The second process
# begins with what needs no seed models: the first builds them meanwhile.
FIRST = (
    "tests/e2e/",
    "tests/project/test_hostile.py",
    "tests/assets/",
    "tests/project/test_security.py",
    "tests/unit/resources/training/",
    "tests/unit/resources/test_training.py",
    "tests/unit/experiments/",
    "tests/sensors/",
    "tests/unit/resources/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(
            key=lambda item: next((n for n, each in enumerate(FIRST) if item.nodeid.startswith(each)), len(FIRST))
        )


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # so that what a test sets is taken back
    monkeypatch.delenv("DAGSTER_HOME")
    for name in list(os.environ):
        if name.startswith("CROWD_") and name not in ("CROWD_REFERENCE_DATA", "CROWD_SECRET"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def seed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home's folder of seed models: small ones, as good as a test needs, made by the assets that make the real ones, once
    for all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "seeds"
    home.mkdir(exist_ok=True)
    with FileLock(home / "lock"), pytest.MonkeyPatch.context() as patch:
        if (home / "built").exists():
            return home / "seed"
        patch.setattr(recipe, "COMMENTS", 2_500)
        patch.setattr(recipe, "LABELLED_COMMENTS", 2_500)
        patch.setattr(recipe, "UNLABELLED_COMMENTS", 400)
        patch.setattr(seed, "THREADS", 1)  # beside other processes of tests, two threads wait for each other
        settings = CrowdSettings(home=str(home))
        use_threads(1)
        assert materialize(
            [seed.seed_language_model, seed.seed_classifier],
            resources=build_resources(settings).as_dict(),
            raise_on_error=True,
        ).success
        (home / "built").touch()
    return home / "seed"


@pytest.fixture
def home(tmp_path: Path, seed_folder: Path) -> Path:
    """An empty home with seed models."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "seed").symlink_to(seed_folder)
    return folder


@pytest.fixture
def settings(home: Path) -> CrowdSettings:
    """Settings of a quick round in an empty home."""
    return CrowdSettings(home=str(home), **QUICK)  # type: ignore[arg-type]
