"""The identity of a home: ``home.json`` beside the warehouse, and the same in the warehouse's table ``home``.

A home is begun once and keeps its uuid wherever it is moved; a restored backup is another home, as the first may go on. The
uuid is in every name that a home gives to others: tags and keys of runs, sets of partitions.

Belongs here: beginning, adopting and recognising a home. Does not belong here: mending one (see ``crowd_assets.operations``).
"""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from resources.common.errors import OperatorError
from resources.files.backups import IDENTITY, said_of_lost_tables, way_back
from resources.settings.settings import Settings
from resources.warehouse.damage import LostWarehouseError
from resources.warehouse.facts import RECORD_HASHES

if TYPE_CHECKING:
    from resources.warehouse.base import WarehouseResource
    from resources.warehouse.connection import Connection

FILE = IDENTITY
SCHEMA_VERSION = 2
"""Of tables and files: 1 had no ``home.json``; 2 knows homes, attempts of runs and the chain of ingestions."""
UNKNOWN_HOME = ""
"""The uuid of a home that nobody has begun."""


class HomeError(OperatorError, RuntimeError):
    """A home is not what it should be; the message says what to do."""


class OtherHomeError(HomeError):
    """``home.json`` and the warehouse belong to two homes, or to two times of one."""


class NewerHomeError(HomeError):
    """The home was written by a newer program."""


@dataclass(frozen=True)
class Home:
    """A home that was begun.

    Attributes:
        uuid: 32 hexadecimal digits.
        schema: Version of its tables and files.
        program: Version of the program that opened the home last.
        last_record: Hash of the last round's record, written by each settlement; empty before the first.
        begun_at: ISO 8601, UTC.
    """

    uuid: str
    schema: int
    program: str
    last_record: str
    begun_at: str


@lru_cache(maxsize=1)
def program_version() -> str:
    """Version of this program; ``unknown`` where it was never installed."""
    try:
        return version("crowd-rounds")
    except PackageNotFoundError:
        return "unknown"


def known_home(settings: Settings) -> Home | None:
    """What ``home.json`` says; None where there is none: of a home that nobody has begun, or that an earlier version began.

    Raises:
        HomeError: the file cannot be read.
        NewerHomeError: a newer program wrote it.
    """
    path = Path(settings.home, FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as problem:
        raise HomeError(f"{path} cannot be read ({problem}): let this user read the file.") from None
    try:
        home = Home(**{name: json.loads(text)[name] for name in Home.__dataclass_fields__})
        if not (isinstance(home.uuid, str) and isinstance(home.schema, int) and len(home.uuid) == 32):
            raise ValueError("uuid and schema are not as they should be")
    except (ValueError, KeyError, TypeError) as problem:
        raise HomeError(
            f"{path} is no {FILE} of a home ({problem}). Take {FILE} from a backup, or remove the file: the next command writes the file anew from the warehouse."
        ) from None
    _check_version(home.schema, home.program, settings)
    return home


def uuid_of(settings: Settings) -> str:
    """The uuid of a home, ``UNKNOWN_HOME`` where nobody has begun it."""
    home = known_home(settings)
    return home.uuid if home else UNKNOWN_HOME


def open_home(settings: Settings, warehouse: "WarehouseResource") -> Home:
    """The home of the settings: recognised, adopted where an earlier version made it, or begun where nothing is there.

    Raises:
        LostWarehouseError: it was begun, and its tables are gone.
        OtherHomeError: ``home.json`` is of another home than the tables, or says more than they hold.
        NewerHomeError: a newer program wrote to it.
    """
    known = known_home(settings)
    if not warehouse.exists() and (left := left_of(settings)):
        raise LostWarehouseError(said_of_lost_tables(_tables(settings), left, settings.home))

    def identify(connection: "Connection") -> Home:
        from resources.warehouse.base import as_stored, fetch_row

        now = datetime.now(UTC)
        row = fetch_row(connection, "SELECT uuid, schema_version, program, begun_at FROM home")
        if row:
            _check_version(row[1], row[2], settings)
            _check_uuid(settings, known, row[0])
            begun_at = row[3].replace(tzinfo=UTC).isoformat(timespec="seconds")
            found = Home(row[0], row[1], row[2], "", begun_at)
        else:
            name = known.uuid if known else uuid.uuid4().hex
            found = Home(name, SCHEMA_VERSION, program_version(), "", now.isoformat(timespec="seconds"))
            connection.execute(
                "INSERT INTO home VALUES ($uuid, $schema, $program, $now)",
                {"uuid": name, "schema": SCHEMA_VERSION, "program": found.program, "now": as_stored(now)},
            )
        if (found.schema, found.program) != (SCHEMA_VERSION, program_version()):
            connection.execute(
                "UPDATE home SET schema_version = $schema, program = $program",
                {"schema": SCHEMA_VERSION, "program": program_version()},
            )
        hashes = [hash_ for (hash_,) in connection.execute(RECORD_HASHES).fetchall()]
        _check_last_record(settings, known, hashes)
        return replace(
            found, schema=SCHEMA_VERSION, program=program_version(), last_record=hashes[-1] if hashes else ""
        )

    found = warehouse.atomically(identify)
    if found != known:
        write_home(Path(settings.home), found)
    return found


def check_tables(settings: Settings, warehouse: "WarehouseResource") -> Home | None:
    """Hold the tables against ``home.json``, for who only looks; what ``home.json`` says, brought up to the last record.

    A file that is behind the tables is well: a process that was killed after a settlement has not come to write the file.

    Raises:
        OtherHomeError: as of :func:`open_home`.
    """
    known = known_home(settings)
    for uuid_ in warehouse.query("SELECT uuid FROM home")["uuid"]:
        _check_uuid(settings, known, uuid_)
    hashes = warehouse.query(RECORD_HASHES)["hash"].to_list()
    _check_last_record(settings, known, hashes)
    return replace(known, last_record=hashes[-1]) if known and hashes else known


def note_last_record(settings: Settings, warehouse: "WarehouseResource") -> None:
    """Write the hash of the last record into ``home.json``, once a round is settled; nothing where nobody has begun the home.

    Raises:
        OtherHomeError: the tables were replaced by others while the round ran.
    """
    found = check_tables(settings, warehouse)
    if found is not None and found != known_home(settings):
        write_home(Path(settings.home), found)


def write_home(folder: Path, home: Home) -> None:
    """Write ``home.json`` of a folder, whole or not at all."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{FILE}.{uuid.uuid4().hex}.tmp")
    try:
        unfinished.write_text(json.dumps(asdict(home), indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def left_of(settings: Settings) -> str:
    """What is left of a home that says that the home was begun; empty where nobody has begun it."""
    return next(_remains(settings), "")


def _remains(settings: Settings) -> Iterator[str]:
    for name in (FILE, "warehouse.snapshot.duckdb", "failures.jsonl"):
        if Path(settings.home, name).exists():
            yield name
    for folder, pattern in (("frames", "*/*.parquet"), ("archive", "*"), ("reports", "rounds/*.html")):
        place = settings.file_places[folder]
        try:
            if next(iter(place.glob(pattern)), None) is not None:
                yield f"{place}"
        except (FileNotFoundError, NotADirectoryError):
            continue


def _check_uuid(settings: Settings, known: Home | None, uuid_: str) -> None:
    if known and known.uuid != uuid_:
        raise OtherHomeError(
            f"{Path(settings.home, FILE)} is of home {known.uuid}, and {_tables(settings)} of home {uuid_}: CROWD_HOME "
            f"and CROWD_WAREHOUSE belong to two homes. If the tables are the right ones, remove {FILE}."
        )


def _check_last_record(settings: Settings, known: Home | None, hashes: Sequence[str]) -> None:
    if known and known.last_record and known.last_record not in hashes:
        raise OtherHomeError(
            f"{Path(settings.home, FILE)} says that the last record was {known.last_record[:16]}…, and {_tables(settings)} has none "
            f"of that hash: the tables are older than the home, or were written anew. {way_back(settings.home)} If the tables are "
            f"the right ones, remove {FILE}."
        )


def _tables(settings: Settings) -> str:
    return settings.warehouse or str(Path(settings.home, "warehouse.duckdb"))


def _check_version(schema: int, program: str, settings: Settings) -> None:
    if schema > SCHEMA_VERSION:
        raise NewerHomeError(
            f"CROWD_HOME={settings.home} was written by crowd-rounds {program} (schema {schema}), and this is {program_version()} "
            f"(schema {SCHEMA_VERSION}): install that version or a later one. Nothing was changed."
        )
