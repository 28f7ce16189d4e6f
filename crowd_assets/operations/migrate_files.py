"""The files of a home move to another place, such as object storage: copied, read back, proved by the audit, and only then named.

Each file is hashed as it is read, and again as it is read back from where it was put; a journal in the home notes what was, so
that the same call goes on where one ended. The warehouse's names of files change in one transaction, at the end, once an audit
of the copies found nothing. What was copied is put aside, never removed.

Belongs here: moving files. Does not belong here: moving tables, which stay in the warehouse they are in.
"""

import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from upath import UPath

from crowd_assets.operations.audit import audit
from crowd_assets.operations.backup import SET_ASIDE
from resources.common.errors import OperatorError
from resources.common.progress import throttled
from resources.files.storage import PIECE, StoredFile, files_below, is_local, use_object_stores, written_atomically
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource, fetch_row
from resources.warehouse.facts import BEGUN_ERASURE, IS_OPEN

JOURNAL = "moving_files.jsonl"
TOGETHER = 8  # files under way at once: most of the time is the store's
UNFINISHED_NAME = re.compile(r"\.tmp$|(^|/)\.putting-")
NAMED = ("ingested_files", "erased_files")
"""Tables that name files in a column ``uri``. Segments are named without their folder, wherever it lies."""


class FileMigrationError(OperatorError, RuntimeError):
    """The files were not moved; the home is as it was, and the message says what to do."""


@dataclass(frozen=True)
class MovedFiles:
    """What was moved: ``files`` and their ``bytes`` in all, how many of them this call ``copied``; ``names`` of the warehouse that
    changed, ``rounds`` that the audit found as they should be, and where the originals were put ``aside``."""

    to: str
    files: int
    bytes: int
    copied: int
    names: int
    rounds: int
    aside: Path | None


def migrate_files(
    settings: CrowdSettings, warehouse: WarehouseResource, to: str, say: Callable[[str], None] = lambda line: None
) -> MovedFiles:
    """Move every file below CROWD_FILES, or of the home where it is not set, below ``to``; from then on CROWD_FILES must say so.

    Stop the daemon before. Interrupted, the same call goes on.

    Args:
        to: URI or folder, outside of the home.
        say: Is given lines on how far it is.

    Raises:
        FileMigrationError: there is no home, a round is open, ``to`` is where the files lie or holds others, a copy differs from
            its original, or the audit of the copies found a difference.
    """
    home = Path(settings.home)
    target = settings.changed(files=to, inbox="", outbox="", frames="", models="")
    use_object_stores(settings.store_retry_s)
    _check(settings, target, warehouse)
    journal = _Journal(home / JOURNAL, to)
    if not journal.begun:
        _refuse_others(target)
    copied, moved = 0, dict[str, list[StoredFile]]()
    for folder, place in settings.file_places.items():
        moved[folder] = [each for each in files_below(place) if not UNFINISHED_NAME.search(each.name)]
        new = _copy(folder, moved[folder], target.file_places[folder], journal, say)
        say(f"{folder}: {len(moved[folder])} files, {new} of these copied and read back")
        copied += new
    audited = audit(target)
    if not audited.clean:
        differences = (*(each.difference for each in audited.rounds), audited.chain, audited.ledger)
        first = next(each for each in differences if each)
        raise FileMigrationError(
            f"the copies below {to} are not what the rounds were settled with: {first}. Nothing changed."
        )
    names = _rename(settings, target, warehouse)
    aside = _put_aside(settings, home)
    if aside:
        late = [
            each
            for each in files_below(UPath(aside) / "inbox")
            if each.name not in {old.name for old in moved["inbox"]}
        ]
        copied += _copy("inbox", late, target.inbox_path, journal, say)
        moved["inbox"] += late
    journal.path.unlink()
    every = [each for files in moved.values() for each in files]
    return MovedFiles(to, len(every), sum(each.size for each in every), copied, names, len(audited.rounds), aside)


class _Journal:
    """What was copied to a place and read back from it, one JSON object a line."""

    def __init__(self, path: Path, to: str) -> None:
        self.path, self._to = path, to
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        notes = [json.loads(line) for line in lines[:-1]]  # behind the last line end lies what a killed process began
        self.begun = any(note["to"] == to for note in notes)
        self._known = {
            (note["folder"], note["name"]): tuple(note["state"]) for note in notes if note["to"] == to and note["name"]
        }

    def has(self, folder: str, file: StoredFile) -> bool:
        """Whether the file was copied as it is now."""
        return self._known.get((folder, file.name)) == _state(file)

    def note(self, folder: str, file: StoredFile | None) -> None:
        with self.path.open("a", encoding="utf-8") as notes:
            about = {
                "to": self._to,
                "folder": folder,
                "name": file.name if file else "",
                "state": _state(file) if file else (),
            }
            notes.write(json.dumps(about) + "\n")


def _state(file: StoredFile) -> tuple[int, str]:
    return file.size, file.modified.isoformat()


def _check(settings: CrowdSettings, target: CrowdSettings, warehouse: WarehouseResource) -> None:
    home = Path(settings.home).resolve()
    if not Path(warehouse.path).exists():
        raise FileMigrationError(
            f"CROWD_HOME={settings.home}: there is no warehouse.duckdb, so no home whose files could move."
        )
    for folder, there in target.file_places.items():
        inside = is_local(there) and Path(str(there)).resolve().is_relative_to(home)
        if inside or str(there) == str(settings.file_places[folder]):
            raise FileMigrationError(
                f"{there} is where the files lie, or in the home: name a place outside of the home."
            )
    with warehouse.connect() as connection:
        round_ = fetch_row(connection, f"SELECT round_id FROM rounds WHERE {IS_OPEN}")
        erasure = fetch_row(connection, BEGUN_ERASURE)
    if round_ or erasure:
        what = f"{round_[0]} is open" if round_ else f"the erasure of {erasure[0]} was interrupted"
        raise FileMigrationError(
            f"{what}: let it finish (make round, or the same erasure again), stop the daemon, and repeat."
        )


def _refuse_others(target: CrowdSettings) -> None:
    """Files of another home are neither written over nor taken for ours."""
    for place in target.file_places.values():
        if there := files_below(place):
            raise FileMigrationError(
                f"{place} holds {len(there)} files that this migration did not put there, such as {there[0].name}: name an "
                "empty place."
            )


def _copy(folder: str, files: list[StoredFile], to: UPath, journal: _Journal, say: Callable[[str], None]) -> int:
    """Copy those of ``files`` that are not there yet; returns how many."""
    if not journal.begun:
        journal.note(folder, None)
        journal.begun = True
    there = {each.name: each.size for each in files_below(to)}
    missing = [each for each in files if not journal.has(folder, each) or there.get(each.name) != each.size]
    said = throttled(f"copying {folder}", say, "files")
    with ThreadPoolExecutor(TOGETHER) as pool:
        done = pool.map(lambda each: _copied(each.path, to / each.name), missing)
        for number, (each, _) in enumerate(zip(missing, done, strict=True), start=1):
            journal.note(folder, each)
            said(number, len(missing))
    return len(missing)


def _copied(source: UPath, target: UPath) -> None:
    """Copy a file and read it back.

    Raises:
        FileMigrationError: it came back otherwise.
    """
    read = hashlib.blake2b()
    with source.open("rb") as old, written_atomically(target) as temporary, open(temporary, "wb") as new:
        while piece := old.read(PIECE):
            read.update(piece)
            new.write(piece)
    with target.open("rb") as file:
        back = hashlib.file_digest(cast(Any, file), hashlib.blake2b)
    if back.digest() != read.digest():
        raise FileMigrationError(f"{target} is not what was read of {source}: look at the store, then repeat.")


def _rename(settings: CrowdSettings, target: CrowdSettings, warehouse: WarehouseResource) -> int:
    """Change what the warehouse calls the files, in one transaction; returns how many names changed."""
    changed = 0
    with warehouse.transaction() as connection:
        for table in NAMED:
            for (old,) in connection.execute(f"SELECT DISTINCT uri FROM {table}").fetchall():
                if new := _moved(old, settings, target):
                    connection.execute(f"UPDATE {table} SET uri = $new WHERE uri = $old", {"new": new, "old": old})
                    changed += 1
    return changed


def _moved(uri: str, settings: CrowdSettings, target: CrowdSettings) -> str | None:
    """What a file is called from now on; None where it was none of those that moved."""
    path = UPath(uri)
    for folder, place in settings.file_places.items():
        if path.protocol != place.protocol:
            continue
        ours, its = (Path(str(each)).resolve() if is_local(each) else Path(each.path) for each in (place, path))
        if its.is_relative_to(ours):
            return str(target.file_places[folder] / its.relative_to(ours).as_posix())
    return None


def _put_aside(settings: CrowdSettings, home: Path) -> Path | None:
    """Rename what was moved from within the home, so that nothing reads it by mistake; None where nothing was."""
    own = [
        Path(str(place))
        for place in settings.file_places.values()
        if is_local(place) and Path(str(place)).resolve().parent == home.resolve() and Path(str(place)).exists()
    ]
    if not own:
        return None
    aside = home / f"{SET_ASIDE}{datetime.now(UTC):%Y%m%d-%H%M%S}"
    aside.mkdir()
    for path in own:
        path.rename(aside / path.name)
    return aside
