"""The page of commands is what the commands say."""

from crowd_assets.commands.reference import reference
from tests import PROJECT


def test_every_command_is_documented() -> None:
    page = PROJECT.joinpath("docs", "command_line.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m crowd_assets.commands.reference > docs/command_line.md"
