"""Everything that a home keeps about one contributor, for that contributor: machine-readable, complete, and of nobody else.

Tables are found by their columns, so one that is new is not forgotten. Texts that lie in what is not the contributor's own (a
judgement of somebody else, a page) are named by file and number of places, as an erasure would find them.

Belongs here: gathering. Does not belong here: what a contributor's page shows (see ``crowd_assets.report.statement``), erasing.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from upath import UPath

from crowd_assets.mechanisms.ledger import contributor_account, deposit_account
from crowd_assets.operations.erasure import places_of
from crowd_assets.report.campaign import NothingToReportError
from crowd_assets.report.places import statement_path
from crowd_assets.report.statement import statement_of
from resources.build import Resources
from resources.common.errors import OperatorError
from resources.feedback.aliases import names_of
from resources.feedback.parquet_rows import UnreadableParquetError, json_lines
from resources.files.backups import known_backups
from resources.files.storage import files_below
from resources.home.identity import uuid_of
from resources.settings.resource import CrowdSettings
from resources.warehouse.schema import COLUMNS

NAMES = ("contributor_id", "labeler_id", "pseudonym")
ALIASES = ("name", "person")
EVENTS = ("event_id", "event_id_a", "event_id_b")
NOT_HERE = (
    "Dagster's own event log, whose tables name contributors",
    "backups and exports of the home",
    "what an annotation tool keeps",
)

Rows = list[dict[str, Any]]
Query = Callable[[str, Mapping[str, Any]], pl.DataFrame]


class PersonError(OperatorError, LookupError):
    """The home keeps nothing about somebody of that name."""


def everything_about(
    contributor: str,
    settings: CrowdSettings,
    resources: Resources,
    at_desk: Callable[[Sequence[str]], Rows] = lambda names: [],
) -> dict[str, Any]:
    """Everything about a contributor, as what JSON can hold.

    Args:
        contributor: One of the person's names, or the pseudonym of one.
        at_desk: What a desk keeps of a person, by the person's names in the home.

    Returns:
        ``contributor_id``, as the home keeps it; ``aliases``, the person's other names; ``tables`` and ``snapshot``, rows by table; ``frames``, rows by file;
        ``archive``, lines as they arrived, by file; ``statement``, points and credits as the contributor's page has them;
        ``pages``; ``desk``, what a desk keeps by its name of the person; ``texts_lie_in``, places by file; ``backups``; ``not_here``, in words.

    Raises:
        PersonError: there is nothing.
        PseudonymKeyError: the home was begun with another key.
    """
    warehouse = resources.warehouse
    if not warehouse.exists():
        raise PersonError(f"CROWD_HOME={settings.home}: there is no home there.")
    name, *aliases = names = names_of(warehouse, contributor)
    tables = _tables(lambda sql, values: warehouse.query(sql, values), names)
    desk = at_desk(names)
    if not tables and not desk:
        raise PersonError(
            f"{contributor} has sent nothing to this home ({settings.home}). Give the name as tools send it, or the pseudonym."
        )
    events = {row["event_id"] for row in tables.get("event_index", [])}
    pages = [path for each in names if (path := statement_path(settings, each)).exists()]
    return {
        "contributor_id": name,
        "aliases": aliases,
        "home": uuid_of(settings),
        "as_of": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": tables,
        "snapshot": _snapshot(UPath(warehouse.snapshot_path), names),
        "frames": dict(_frames(settings.frames_path, names, events)),
        "archive": dict(_archived(UPath(resources.inbox.archive), names, settings.max_parquet_mib << 20)),
        "statement": _statement(name, settings, resources),
        "pages": [str(path) for path in pages],
        "desk": desk,
        "texts_lie_in": places_of(contributor, settings, resources),
        "backups": [str(folder) for folder in known_backups(settings.home)],
        "not_here": list(NOT_HERE),
    }


def as_json(found: dict[str, Any]) -> str:
    """What was found as JSON: instants by ISO 8601, decimals as text."""
    return json.dumps(found, indent=1, ensure_ascii=False, default=str)


def write_privately(path: Path, text: str) -> None:
    """Write a new file that its owner alone may read.

    Raises:
        PersonError: something is there, or the folder cannot be written to.
    """
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise PersonError(f"{path} is there already, and nothing was written: name another file by --to.") from None
    except OSError as problem:
        raise PersonError(f"{path} cannot be written ({problem.strerror}): name another file by --to.") from None


def _tables(query: Query, names: Sequence[str], known: frozenset[str] = frozenset(COLUMNS)) -> dict[str, Rows]:
    """The person's rows of every table, and those that speak of the person's events, entries and erasures."""
    found: dict[str, Rows] = {}
    who = {"who": list(names)}
    events = query("SELECT event_id FROM event_index WHERE contributor_id = ANY($who)", who)["event_id"].to_list()
    accounts = [account(name) for name in names for account in (contributor_account, deposit_account)]
    ids = {
        "entry_id": query("SELECT entry_id FROM ledger WHERE account = ANY($all)", {"all": accounts}),
        "erasure_id": query("SELECT erasure_id FROM erasures WHERE contributor_id = ANY($who)", who),
    }
    for table, columns in COLUMNS.items():
        if table not in known:
            continue
        of_names = ALIASES if table == "aliases" else NAMES
        conditions = {column: list(names) for column in columns if column in of_names}
        conditions |= {column: accounts for column in columns if column == "account"}
        conditions |= {column: events for column in columns if column in EVENTS}
        if not conditions:
            conditions = {column: ids[column].to_series().to_list() for column in columns if column in ids}
        rows: Rows = []
        for column, values in conditions.items():
            if values:
                rows += query(f"SELECT * FROM {table} WHERE {column} = ANY($all)", {"all": values}).to_dicts()
        if table == "rejected_feedback":
            rows += [
                row for row in query("SELECT * FROM rejected_feedback", {}).to_dicts() if _names(row["excerpt"], names)
            ]
        if rows:
            found[table] = [dict(row) for row in dict.fromkeys(tuple(row.items()) for row in map(_plain, rows))]
    return found


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {column: tuple(value) if isinstance(value, list) else value for column, value in row.items()}


def _snapshot(path: UPath, names: Sequence[str]) -> dict[str, Rows] | None:
    """The same of the copy for readers; None where there is none."""
    if not path.exists():
        return None
    with duckdb.connect(str(path), read_only=True) as connection:
        known = {table for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        return _tables(lambda sql, values: connection.sql(sql, params=dict(values)).pl(), names, frozenset(known))


def _frames(folder: UPath, names: Sequence[str], events: set[str]) -> Iterator[tuple[str, Rows]]:
    """Rows of every frame that are of the contributor, or of the contributor's events."""
    for each in files_below(folder):
        if each.path.suffix != ".parquet":
            continue
        frame = pl.read_parquet(each.path.read_bytes())
        own = [pl.col(column).is_in(list(names)) for column in NAMES if column in frame.columns]
        own += [pl.col(column).is_in(list(events)) for column in EVENTS if column in frame.columns]
        if own and (rows := frame.filter(pl.any_horizontal(own))).height:
            yield each.name, rows.to_dicts()


def _archived(folder: UPath, names: Sequence[str], largest_bytes: int) -> Iterator[tuple[str, list[Any]]]:
    """Lines as they arrived: those that name the contributor, broken ones as text. Of a Parquet file that cannot be read, why:
    nobody can say whose rows the file holds."""
    for each in files_below(folder):
        data = each.path.read_bytes()
        try:
            arrived = _rows_of(data, largest_bytes) if each.path.suffix == ".parquet" else data.split(b"\n")
            lines = [found for line in arrived if (found := _line(line, names)) is not None]
        except UnreadableParquetError as problem:
            lines = [f"cannot be read: {problem}"]
        if lines:
            yield each.name, lines


def _rows_of(data: bytes, largest_bytes: int) -> list[bytes]:
    """Rows of a Parquet file as lines, read by the process that reads strangers' files, as the ingestion did."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with json_lines(file, largest_bytes) as lines:
            return lines.read().split(b"\n")


def _line(line: bytes, names: Sequence[str]) -> Any:
    text = line.decode("utf-8", errors="replace")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return text if _names(text, names) else None
    return record if isinstance(record, dict) and record.get("contributor_id") in names else None


def _names(text: str, names: Sequence[str]) -> bool:
    """Whether a line that is no event names the contributor."""
    return (
        re.search(rf"""contributor_id["']?\s*[:=]?\s*["']({"|".join(map(re.escape, names))})["']""", text) is not None
    )


def _statement(name: str, settings: CrowdSettings, resources: Resources) -> dict[str, Any] | None:
    try:
        found = statement_of(name, settings, resources.warehouse)
    except NothingToReportError:
        return None
    shown = {field: value for field, value in vars(found).items() if not isinstance(value, pl.DataFrame)}
    return shown | {"rounds": found.rounds.to_dicts(), "rejected": found.rejected.to_dicts()}
