"""Backup and restore of a home: whole and verified, or not at all; rounds may run meanwhile.

A backup is a folder with the home's files as they were, those of an object store included, and ``manifest.json``, which names
each with its size and hash. What is restored is a home whose files are local; ``migrate`` moves them again. The inbox is
copied first, then the warehouse under its lock, then the rest: what the copy of the warehouse speaks of is written before it
and never changed, and a file that is ingested meanwhile is in the copy of the inbox, where it counts once.

Belongs here: what of a home is kept, copying, checking. Does not belong here: Dagster's own storage, which no round needs (see
docs/operations.md), and whether what a home holds is right (see ``crowd_assets.operations.audit``).
"""

import hashlib
import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import duckdb
from upath import UPath

from resources.common.errors import OperatorError
from resources.files.backups import BACKUPS, note_backup, said_of_lost_file
from resources.files.storage import UNFINISHED, files_below, is_free, is_local, whole_folder
from resources.home.identity import FILE, Home, write_home
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import RECORD_HASHES

MANIFEST = "manifest.json"
FORMAT = 1
FIRST = "inbox"
DESK = "desk.sqlite"
"""What the desk keeps, copied by SQLite, as people may be sending meanwhile."""
LAST_IN = "warehouse.duckdb"
"""What makes a folder a home: restored last."""

NOT_KEPT = {
    BACKUPS,
    "dagster",
    "embeddings.sqlite",
    "models_cache",
    "warehouse.duckdb",
    "warehouse.moved",
    "warehouse.snapshot.duckdb",
}
"""Entries of a home that are copied otherwise, or made again from the rest."""

NOT_COPIED = (UNFINISHED, ".lock", ".holder", ".wal")
SET_ASIDE = "replaced-"
STAYS = {"dagster"}
"""What may lie in a home that is otherwise empty, and stays as it is: a daemon makes it as it starts."""


class BackupError(OperatorError, RuntimeError):
    """Nothing was written, or nothing was replaced; the message says why."""


@dataclass(frozen=True)
class Copied:
    """What was copied: ``files`` and their ``bytes``; ``elsewhere`` names what of the home's belongings lies in other folders
    and has to be kept on its own; ``aside`` is where a restore put what lay there before, if anything did."""

    folder: Path
    files: int
    bytes: int
    elsewhere: tuple[str, ...] = ()
    aside: Path | None = None


def backup(settings: CrowdSettings, warehouse: WarehouseResource, to: Path) -> Copied:
    """Copy a home into a folder that is not there yet, or empty. A daemon may run; it waits while the warehouse is copied.

    Raises:
        BackupError: there is no home, or ``to`` lies in it or is not empty.
    """
    home = Path(settings.home).resolve()
    if not warehouse.exists():
        raise BackupError(
            said_of_lost_file(Path(settings.home, "warehouse.duckdb"))
            or f"CROWD_HOME={settings.home}: there is no warehouse.duckdb, so nothing to back up."
        )
    folder = to.expanduser().resolve()
    if folder.is_relative_to(home):
        raise BackupError(f"{to} lies in the home itself: name a folder outside of {home}.")

    def check_free() -> None:
        if not is_free(folder):
            raise BackupError(f"{folder} is not empty, and a backup replaces nothing: name another folder.")

    files: dict[str, dict[str, object]] = {}

    def keep(source: UPath, name: str) -> None:
        target = unfinished / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            size, digest = _copied(source, target)
        except (
            FileNotFoundError
        ):  # moved on since it was listed: the inbox's into the archive, a step's once it is over
            return
        files[name] = {"bytes": size, "hash": digest}

    with whole_folder(folder, check_free) as unfinished:
        remote = {folder: place for folder, place in settings.file_places.items() if not is_local(place)}
        for name in _files(home, FIRST):
            keep(UPath(home / name), name)
        _keep_remote({FIRST: remote.pop(FIRST)} if FIRST in remote else {}, keep)
        warehouse.copy_to(unfinished / LAST_IN)
        size, digest = _read(unfinished / LAST_IN)
        files[LAST_IN] = {"bytes": size, "hash": digest}
        for entry in sorted(path.name for path in home.iterdir()):
            if entry not in NOT_KEPT and entry != FIRST and not entry.startswith((SET_ASIDE, DESK)):
                for name in _files(home, entry):
                    keep(UPath(home / name), name)
        _keep_remote(remote, keep)
        if (home / DESK).exists():
            _copy_database(home / DESK, unfinished / DESK)
            size, digest = _read(unfinished / DESK)
            files[DESK] = {"bytes": size, "hash": digest}
        manifest = {"format": FORMAT, "made_at": datetime.now(UTC).isoformat(), "files": files}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    elsewhere = tuple(
        f"{folder}={place}"
        for folder, place in settings.file_places.items()
        if is_local(place) and not Path(str(place)).resolve().is_relative_to(home)
    )
    note_backup(settings.home, folder, datetime.now(UTC))
    return Copied(folder, len(files), sum(int(str(each["bytes"])) for each in files.values()), elsewhere)


def restore(settings: CrowdSettings, warehouse: WarehouseResource, source: Path, *, force: bool = False) -> Copied:
    """Put a backup back as the home of the settings, once every file of it was copied and is as the manifest says.

    Args:
        force: Where the home is not empty, put what lies there aside, into a folder of its own beside the new entries.

    Raises:
        BackupError: the backup is not whole, or the home is not empty.
        WarehouseBusyError: somebody works with the home.
    """
    if settings.warehouse:
        raise BackupError(
            "CROWD_WAREHOUSE is set, and a backup holds the tables as a DuckDB file: unset the variable, restore, and move the tables into an "
            "empty database by crowd-rounds migrate."
        )
    files = _manifest(source)
    if remote := [str(place) for place in settings.file_places.values() if not is_local(place)]:
        raise BackupError(
            f"{remote[0]}: a backup is restored into a home. Unset CROWD_FILES (and CROWD_INBOX, …), restore, and move the files "
            "to the store with migrate."
        )
    home = Path(settings.home)
    home.mkdir(parents=True, exist_ok=True)
    before = [
        path
        for path in home.iterdir()
        if path.name not in STAYS and not path.name.startswith(SET_ASIDE) and not path.name.endswith(NOT_COPIED)
    ]
    if before and not force:
        raise BackupError(
            f"CROWD_HOME={settings.home} is not empty: name another home, or add --force (FORCE=1), which puts what lies "
            "there aside. Stop the daemon first."
        )
    unfinished = home / f".restoring-{uuid.uuid4().hex[:8]}"
    aside = home / f"{SET_ASIDE}{datetime.now(UTC):%Y%m%d-%H%M%S}" if before else None
    try:
        for name, about in files.items():
            target = unfinished / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                size, digest = _copied(UPath(source / name), target)
            except FileNotFoundError:
                raise BackupError(f"{source} is not whole: {name} is missing. Nothing was restored.") from None
            if (size, digest) != (about["bytes"], about["hash"]):
                raise BackupError(f"{source} is not whole: {name} is not as backed up. Nothing was restored.")
        _begin_another_life(unfinished)
        with warehouse.locked():
            if aside:
                aside.mkdir()
                for path in before:
                    path.rename(aside / path.name)
            for path in sorted(unfinished.iterdir(), key=lambda each: each.name == LAST_IN):
                path.rename(home / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Copied(home, len(files), sum(int(str(each["bytes"])) for each in files.values()), aside=aside)


def _copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database as its last transaction left it."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as here,
        closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)


def verify(source: Path) -> int:
    """Compare every file of a backup with its manifest; how many there are.

    Raises:
        BackupError: one is missing, cut short or changed.
    """
    files = _manifest(source)
    for name, about in files.items():
        try:
            if _read(source / name) != (about["bytes"], about["hash"]):
                raise BackupError(f"{source} is not whole: {name} is not as backed up.")
        except FileNotFoundError:
            raise BackupError(f"{source} is not whole: {name} is missing.") from None
    return len(files)


def _begin_another_life(restored: Path) -> None:
    """Give a restored home an identity of its own: the one that was backed up may go on, and the history of runs that stays
    beside it is not this one's."""
    (restored / FILE).unlink(missing_ok=True)
    with duckdb.connect(str(restored / LAST_IN)) as connection:
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if not {"home", "attempts"} <= tables:
            return
        connection.execute("UPDATE home SET uuid = $uuid", {"uuid": uuid.uuid4().hex})
        connection.execute("DELETE FROM attempts")
        row = connection.execute("SELECT uuid, schema_version, program, begun_at FROM home").fetchone()
        hashes = [hash_ for (hash_,) in connection.execute(RECORD_HASHES).fetchall()]
    if row is not None:
        name, schema, program, begun_at = row
        begun = begun_at.replace(tzinfo=UTC).isoformat(timespec="seconds")
        write_home(restored, Home(name, schema, program, hashes[-1] if hashes else "", begun))


def _manifest(source: Path) -> dict[str, dict[str, object]]:
    """Files of a backup, each within it."""
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, dict[str, object]] = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BackupError(f"{source} is no whole backup: {MANIFEST} cannot be read ({problem}).") from None
    if manifest.get("format") != FORMAT or LAST_IN not in files:
        raise BackupError(f"{source} is no backup that this version reads: {MANIFEST} is of another format.")
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BackupError(f"{source} is no backup: {MANIFEST} names {name!r}, which is no file of the backup.")
    return files


def _files(home: Path, entry: str) -> Iterator[str]:
    """Names of the files of one entry of a home, without links (an inbox takes files of strangers) and unfinished ones."""
    top = home / entry
    if top.is_file():
        yield from () if entry.endswith(NOT_COPIED) else (entry,)
        return
    for folder, inner, names in os.walk(top):
        inner[:] = sorted(name for name in inner if not name.startswith(".putting-"))
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and not name.endswith(NOT_COPIED):
                yield path.relative_to(home).as_posix()


def _keep_remote(places: dict[str, UPath], keep: Callable[[UPath, str], None]) -> None:
    for folder, place in places.items():
        for each in files_below(place):
            keep(each.path, f"{folder}/{each.name}")


def _copied(source: UPath, target: Path) -> tuple[int, str]:
    """Copy a file, and give the size and hash of what was written."""
    with source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fsync(new.fileno())
    return _read(target)


def _read(path: Path) -> tuple[int, str]:
    """Size of a file and its hash (BLAKE2b-256)."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    return path.stat().st_size, digest
