"""The settings reference, written from the settings themselves: ``python -m crowd_assets.commands.settings_reference``.

Belongs here: rendering ``docs/configuration.md``. Does not belong here: settings (see ``resources.settings``).
"""

from collections.abc import Iterable
from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from resources.common.members import choices
from resources.settings.fields import marks_of, variable
from resources.settings.settings import SECTIONS, Settings

HEADER = """# Configuration

Every setting is an environment variable. A value it cannot have is an error that names the setting, and so is a `CROWD_`
variable that names no setting. In the Dagster launchpad the same settings stand under `resources: settings: config`. What is left
out there is as the environment has it; folders, models and limits can only be set in the environment.

Three secrets are no settings, so that no page, table or log holds them; they are read when they are needed:
`CROWD_SECRET`, by whose HMAC rounds draw ([security](security.md#what-must-not-be-guessed)), in place of the file `<home>/secret`,
`CROWD_PSEUDONYM_KEY`, by which contributors' names become pseudonyms ([operations](operations.md#pseudonyms)), and
`CROWD_LABEL_STUDIO_TOKEN`, a personal access token of Label Studio ([importers](importers.md#with-a-server)).

This page is written by `python -m crowd_assets.commands.settings_reference > docs/configuration.md`.

"""
TABLE = "| setting | default | what it does |\n|---|---|---|\n"


def reference() -> str:
    """The page as Markdown: the few settings that matter most, then every section."""
    fields = Settings.model_fields
    first = {name: field for name, field in fields.items() if marks_of(field).essential}
    pieces = [HEADER, "## The settings that matter first\n\n", *_table(first.items())]
    for section in SECTIONS:
        own = ((name, fields[name]) for name in section.__annotations__)
        pieces += [f"\n## {section.__name__}\n\n{section.__doc__}\n\n", *_table(own)]
    return "".join(pieces).replace("<home>", "`CROWD_HOME`")


def _table(fields: Iterable[tuple[str, FieldInfo]]) -> Iterable[str]:
    yield TABLE
    for name, field in fields:
        literal = str(get_origin(field.annotation)) == "typing.Literal"
        named = get_args(field.annotation) if literal else choices(field)
        allowed = f" One of {', '.join(named)}." if named else ""
        default = f"`{field.default}`" if field.default != "" else "empty"
        yield f"| `{variable(name)}` | {default} | {field.description}{allowed} |\n"


if __name__ == "__main__":
    print(reference(), end="")
