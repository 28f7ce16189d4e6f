"""The settings reference, written from the settings themselves: ``python -m crowd_assets.commands.settings_reference``.

Belongs here: rendering ``docs/configuration.md``. Does not belong here: settings (see ``resources.settings.settings``).
"""

from typing import get_args, get_origin

from resources.common.members import choices
from resources.settings.settings import ENVIRONMENT_PREFIX, CrowdSettings

HEADER = """# Configuration

Every setting is an environment variable. A value it cannot have is an error that names it, and so is a `CROWD_`
variable that names no setting. In the Dagster launchpad the same settings stand under `resources: settings: config`;
what is left out there is as the environment has it, and folders, models and limits can only be set in the environment.

Two secrets are no settings, so that no page, table or log holds them; they are read when they are needed:
`CROWD_PSEUDONYM_KEY`, by which contributors' names become pseudonyms ([operations](operations.md#pseudonyms)), and
`CROWD_LABEL_STUDIO_TOKEN`, a personal access token of Label Studio ([importers](importers.md#with-a-server)).

`DAGSTER_HOME` names the folder with `dagster.yaml`; make sets it to the project's folder.

This page is written by `python -m crowd_assets.commands.settings_reference > docs/configuration.md`.

| setting | default | what it does |
|---|---|---|
"""


def reference() -> str:
    """The page as Markdown."""
    rows = []
    for name, field in CrowdSettings.model_fields.items():
        literal = str(get_origin(field.annotation)) == "typing.Literal"
        named = get_args(field.annotation) if literal else choices(field)
        allowed = f" One of {', '.join(named)}." if named else ""
        description = f"{field.description}{allowed}"
        default = f"`{field.default}`" if field.default != "" else "empty"
        rows.append(f"| `{ENVIRONMENT_PREFIX}{name.upper()}` | {default} | {description} |")
    return HEADER + "\n".join(rows).replace("<home>", "`CROWD_HOME`") + "\n"


if __name__ == "__main__":
    print(reference(), end="")
