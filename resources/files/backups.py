"""The backups that a home knows of: ``backups.jsonl``, and the way back that it gives when something of the home is lost.

Belongs here: noting and finding. Does not belong here: making a backup (see ``crowd_assets.operations.backup``).
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

IDENTITY = "home.json"
"""The file that says which home it is."""
BACKUPS = "backups.jsonl"
"""File of a home that names the backups made of it, one JSON object a line, oldest first."""


def way_back(home: str) -> str:
    """How a home comes back that lost its tables: the newest backup that this home knows of, and the command."""
    newest = next(known_backups(home), None)
    if newest is None:
        return (
            "Put the newest backup back: CROWD_HOME=… crowd-rounds restore FROM --force (this home has noted no backup), "
            "or name another CROWD_HOME to begin anew."
        )
    return (
        f"The newest backup that the home knows of is {newest}: CROWD_HOME={home} crowd-rounds restore {newest} --force. "
        "Or name another CROWD_HOME to begin anew."
    )


def said_of_lost_tables(tables: str, left: str, home: str) -> str:
    """What to say of a home without ``tables`` of which something is ``left``, with the way back."""
    return (
        f"{tables}: the tables of this home are not there, and {left} says that rounds were run here. Going on would begin the home "
        f"again over all that the home holds. {way_back(home)}"
    )


def said_of_lost_file(path: Path) -> str:
    """The same of a file of tables; empty where no home was begun beside the file."""
    for name in (IDENTITY, path.with_suffix(".snapshot.duckdb").name):
        if path.with_name(name).exists():
            return said_of_lost_tables(str(path), name, str(path.parent))
    return ""


def note_backup(home: str, folder: Path, now: datetime) -> None:
    """Note in a home where a backup of it was written."""
    with Path(home, BACKUPS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"folder": str(folder), "made_at": now.isoformat(timespec="seconds")}) + "\n")


def known_backups(home: str) -> Iterator[Path]:
    """Folders of backups of a home that are still there, newest first."""
    try:
        lines = Path(home, BACKUPS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in reversed(lines):
        try:
            folder = Path(json.loads(line)["folder"])
        except (ValueError, KeyError, TypeError):  # a line that a killed process left unfinished
            continue
        if _looks_whole(folder):
            yield folder


def _looks_whole(folder: Path) -> bool:
    """Whether every file of a backup is there with its size; ``restore`` compares the contents, too."""
    try:
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == about["bytes"] for name, about in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
