"""The Dagster instance of a home: its storage lies in the home, its ``dagster.yaml`` is written from the project's.

Belongs here: where the instance is. Does not belong here: what Dagster does with it.
"""

import os
import uuid
from pathlib import Path

from resources.settings.settings import Settings

TEMPLATE = Path(__file__).with_name("dagster.yaml")
"""The ``dagster.yaml`` at the top of the project, whose folders are named anew for each home."""
FOLDER = "dagster"
VARIABLE = "DAGSTER_HOME"
HEADER = (
    "# Written by crowd-rounds from its own dagster.yaml whenever a command starts: what is changed here is lost.\n"
)


_ours: set[str] = set()  # values of DAGSTER_HOME that this process set itself


def dagster_home(settings: Settings) -> Path:
    """Folder of the instance: that of DAGSTER_HOME where somebody set it, else the home's own."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given and given not in _ours else Path(settings.home).resolve() / FOLDER


def prepare_instance(settings: Settings) -> Path:
    """Make DAGSTER_HOME name the instance of the home for this process and its children, and write what Dagster reads there.

    An instance that DAGSTER_HOME names already is somebody's own, and left as it is.
    """
    folder = dagster_home(settings)
    if os.environ.get(VARIABLE) != str(folder) or str(folder) in _ours:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder)
        os.environ[VARIABLE] = str(folder)
        _ours.add(str(folder))
    return folder


def _write(folder: Path) -> None:
    import yaml

    configuration = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    configuration["storage"]["sqlite"]["base_dir"] = str(folder)
    configuration["local_artifact_storage"]["config"]["base_dir"] = str(folder)
    configuration["compute_logs"]["config"]["base_dir"] = str(folder / "compute_logs")
    text = HEADER + yaml.safe_dump(configuration, sort_keys=False)
    path = folder / "dagster.yaml"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    unfinished = folder / f".dagster.yaml.{uuid.uuid4().hex}.tmp"
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
