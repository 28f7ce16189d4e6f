"""Two rounds that tests of the assets share, run once a process."""

from pathlib import Path

import pytest

from resources.settings.resource import CrowdSettings
from tests.assets.platform import DEPOSIT, Platform
from tests.conftest import QUICK


@pytest.fixture(scope="session")
def two_rounds(tmp_path_factory: pytest.TempPathFactory, seed_folder: Path) -> Platform:
    """Two rounds with the simulated crowd; tests that share it leave it as it is."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "seed").symlink_to(seed_folder)
    # So few texts are measured that every gain is within its noise, and a conserved epoch would post nothing.
    settings = CrowdSettings(home=str(folder), deposit=DEPOSIT, conserved_points=False, **{**QUICK, "guard": True})  # type: ignore[arg-type]
    platform = Platform(settings)
    for number in (1, 2):
        result = platform.round(number)
        assert result.success
    return platform
