"""The page of settings is what the fields say."""

from crowd_assets.commands.settings_reference import reference
from tests import PROJECT


def test_every_setting_is_documented() -> None:
    page = PROJECT.joinpath("docs", "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m crowd_assets.commands.settings_reference > docs/configuration.md"
