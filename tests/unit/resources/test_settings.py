"""Settings are read from the environment, and a wrong one is named."""

import pytest
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    DagsterInvalidConfigError,
    ExecuteInProcessResult,
    asset,
    materialize,
)

from resources.settings.fields import SettingError, marks_of
from resources.settings.resource import CrowdSettings


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


@asset
def asked(context: AssetExecutionContext, settings: CrowdSettings) -> None:
    """Shows the settings that a run has."""
    context.add_output_metadata({"groups": settings.groups, "seed": settings.seed, "home": settings.home})


def _launched(settings: CrowdSettings, config: dict[str, object]) -> ExecuteInProcessResult:
    return materialize(
        [asked],
        instance=DagsterInstance.ephemeral(),
        resources={"settings": settings.of_run()},
        run_config={"resources": {"settings": {"config": config}}},
        raise_on_error=False,
    )


def test_a_run_launched_with_one_setting_has_the_others_from_the_environment() -> None:
    settings = CrowdSettings.from_environment({"CROWD_HOME": "elsewhere", "CROWD_SEED": "5"})
    done = _launched(settings, {"groups": 4})
    (shown,) = done.asset_materializations_for_node("asked")
    assert {name: value.value for name, value in shown.metadata.items()} == {
        "groups": 4,
        "seed": 5,
        "home": "elsewhere",
    }


def test_what_other_resources_are_made_from_no_run_can_change() -> None:
    settings = CrowdSettings.from_environment({"CROWD_HOME": "elsewhere"})
    with pytest.raises(DagsterInvalidConfigError, match='unexpected config entry "home"'):
        _launched(settings, {"home": "another", "groups": 4})


def test_the_launchpad_explains_every_setting_that_a_run_may_change() -> None:
    fields = CrowdSettings(groups=7).of_run().config_schema.config_type.fields
    assert set(fields) == {name for name, field in CrowdSettings.model_fields.items() if marks_of(field).per_run}
    assert all(field.description for field in fields.values())
    assert fields["groups"].default_value == 7
