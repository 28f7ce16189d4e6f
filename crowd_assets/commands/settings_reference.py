"""The settings reference, written from the settings themselves: ``python -m crowd_assets.commands.settings_reference``.

Belongs here: rendering ``docs/configuration.md``. Does not belong here: settings (see ``resources.settings``).
"""

import re
from collections.abc import Iterable
from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from resources.common.members import choices
from resources.settings.fields import limits, marks_of, variable
from resources.settings.settings import SECTIONS, Settings

HEADER = """# Configuration

Every setting is an environment variable. A value outside a setting's range is an error that names the setting; a `CROWD_` variable
that names no setting is an error too. The Dagster launchpad shows the settings that a run may change under `resources: settings: config`, and nothing else. A setting
left out of the launchpad has the value of the environment. Folders, models and limits can only be set in the environment.

Three secrets are no settings, so that no page, table or log holds a secret. The platform reads each secret when the secret is needed:

* `CROWD_SECRET` is the key by which rounds draw ([security](security.md#what-must-not-be-guessed)). The file `secret` in `CROWD_HOME`
  holds the key where the variable is empty.
* `CROWD_PSEUDONYM_KEY` is the key by which contributors' names become pseudonyms ([operations](operations.md#pseudonyms)).
* `CROWD_LABEL_STUDIO_TOKEN` is a personal access token of Label Studio ([importers](importers.md#with-a-server)).

This page is written by `python -m crowd_assets.commands.settings_reference > docs/configuration.md`.

"""
TABLE = "| setting | default | range | what it does |\n|---|---|---|---|\n"


def reference() -> str:
    """The page as Markdown: the few settings that matter most, then every section."""
    fields = Settings.model_fields
    first = {name: field for name, field in fields.items() if marks_of(field).essential}
    pieces = [HEADER, "## The settings that matter first\n\n", *_table(first.items())]
    for section in SECTIONS:
        own = ((name, fields[name]) for name in section.__annotations__)
        pieces += [f"\n## {section.__name__}\n\n{section.__doc__}\n\n", *_table(own)]
    return "".join(pieces)


def _table(fields: Iterable[tuple[str, FieldInfo]]) -> Iterable[str]:
    yield TABLE
    for name, field in fields:
        literal = str(get_origin(field.annotation)) == "typing.Literal"
        named = get_args(field.annotation) if literal else choices(field)
        default = f"`{field.default}`" if field.default != "" else "empty"
        words = re.sub("<(home|outbox)>", lambda place: f"`{variable(place[1])}`", str(field.description))
        yield f"| `{variable(name)}` | {default} | {', '.join(named) or limits(field)} | {words} |\n"


if __name__ == "__main__":
    print(reference(), end="")
