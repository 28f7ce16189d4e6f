"""Settings are read from the environment, and a wrong one is named."""

from pathlib import Path

import pytest

from crowd_assets.configuration import reference
from resources.settings import CrowdSettings, SettingError


def test_settings_come_from_the_environment() -> None:
    settings = CrowdSettings.from_environment({"CROWD_GROUPS": "7", "CROWD_INBOX": "memory://inbox", "PATH": "x"})
    assert settings.groups == 7
    assert str(settings.inbox_path) == "memory://inbox"
    assert settings.models_path.name == "models"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CROWD_GROUPS", "many"),
        ("CROWD_GROUPS", "1"),
        ("CROWD_GROUPING", "by_name"),
        ("CROWD_BUDGET", "1e"),
        ("CROWD_BUDGET", "-1"),
        ("CROWD_BUDGET", "NaN"),
        ("CROWD_MAX_REJECTED_SHARE", "1.5"),
        ("CROWD_GRUOPS", "4"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=variable):
        CrowdSettings.from_environment({variable: value})


def test_an_empty_variable_is_the_default() -> None:
    assert CrowdSettings.from_environment({"CROWD_BASE_MODEL": ""}) == CrowdSettings()


def test_changed_settings_are_checked_too() -> None:
    assert CrowdSettings().changed(groups=3).groups == 3
    with pytest.raises(ValueError, match="groups"):
        CrowdSettings().changed(groups=0)


def test_every_setting_is_documented() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m crowd_assets.configuration > docs/configuration.md"
