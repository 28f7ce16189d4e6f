"""All that can be known of a home in a minute: what is well, what is not, and the way out.

Belongs here: looking, without changing anything. Does not belong here: recomputing rounds (see ``audit``), what runs (see
``crowd_assets.monitoring.status``).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from crowd_assets.operations.preflight import check_inputs
from resources.build import Resources, build_resources
from resources.common.errors import OperatorError
from resources.files.backups import known_backups, way_back
from resources.home.identity import SCHEMA_VERSION, check_tables, known_home, left_of, program_version
from resources.home.instance import dagster_home
from resources.home.space import free_mib, lacking_space
from resources.rounds.attempts import AttemptBook
from resources.rounds.book import RoundBook
from resources.rounds.records import chained, file_hash, frame_key
from resources.settings.resource import CrowdSettings
from resources.tools.run_history import read_history
from resources.warehouse.facts import round_id_of
from resources.warehouse.schema import TABLES


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``words`` say what was found and, where it is not well, the way out."""

    name: str
    well: bool
    words: str


def examine(settings: CrowdSettings) -> Iterator[Finding]:
    """Look at a home, cheapest things first; what cannot be looked at is a finding, and what builds on it is left out."""
    yield _looked("settings", lambda: _settings(settings))
    yield _looked("space", lambda: _space(settings))
    yield _looked("identity", lambda: _identity(settings))
    yield _looked("history", lambda: _history(settings))
    yield _looked("backups", lambda: _backups(settings))
    resources = build_resources(settings)
    if not resources.warehouse.exists():
        begun = left_of(settings)
        never = f"no home was begun in {settings.home}: CROWD_HOME is mistyped, or crowd-rounds round begins one"
        lost = f"the tables are not there, and {begun} says that rounds were run here. {way_back(settings.home)}"
        yield Finding("warehouse", False, lost if begun else never)
        return
    tables = _looked("warehouse", lambda: _tables(resources))
    yield tables
    if not tables.well:
        return
    yield _looked("records", lambda: _records(resources, settings))
    yield _looked("files", lambda: _files(resources, settings))
    yield _looked("models", lambda: _models(resources, settings))
    yield _looked("attempts", lambda: _attempts(resources, settings))
    yield _looked("inbox", lambda: f"{len(resources.inbox.arrived())} files wait")


class _NotWellError(Exception):
    """What was found is not well."""


def _looked(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except (_NotWellError, OperatorError, OSError) as problem:
        return Finding(name, False, str(problem))
    except (ValueError, LookupError, TypeError) as problem:  # what is kept is no longer what was written
        said = " ".join(str(problem).split())[:160]
        return Finding(
            name, False, f"what is kept cannot be read ({type(problem).__name__}: {said}): run crowd-rounds audit"
        )


def _settings(settings: CrowdSettings) -> str:
    check_inputs(settings)
    return f"crowd-rounds {program_version()}, all settings can be"


def _space(settings: CrowdSettings) -> str:
    if lacking := lacking_space(settings):
        raise _NotWellError(lacking)
    return ", ".join(f"{free / 1024:.1f} GiB free on {place}" for place, free in free_mib(settings).items())


def _identity(settings: CrowdSettings) -> str:
    found = known_home(settings)
    if found is None:
        return f"no home.json: nobody has begun the home, or a version before {program_version()}, and the next command adopts the home"
    return f"home {found.uuid}, schema {found.schema} of {SCHEMA_VERSION}, written by {found.program}"


def _history(settings: CrowdSettings) -> str:
    found = read_history(dagster_home(settings))
    if found.unread:
        raise _NotWellError(found.unread)
    return f"{len(found.active)} runs in progress, as Dagster has them"


def _backups(settings: CrowdSettings) -> str:
    from crowd_assets.operations.backup import verify

    for folder in known_backups(settings.home):
        try:
            verify(folder)
        except OperatorError:
            continue
        return f"the newest that verifies is {folder}"
    raise _NotWellError("this home knows of no backup that verifies: crowd-rounds backup <folder on another disk>")


def _tables(resources: Resources) -> str:
    rows = 0
    with resources.warehouse.connect() as connection:
        for table in TABLES:
            rows += len(connection.execute(f"SELECT * FROM {table}").fetchall())
    return f"{len(TABLES)} tables with {rows} rows can be read whole"


def _records(resources: Resources, settings: CrowdSettings) -> str:
    """The records are a chain that reaches at least as far as ``home.json`` says."""
    previous, count = "", 0
    for row in resources.warehouse.query("SELECT * FROM round_records ORDER BY round_no").iter_rows(named=True):
        if row["previous_hash"] != previous or chained(previous, row["record"]) != row["hash"]:
            raise _NotWellError(
                f"the record of round {row['round_no']} does not follow from the one before: run crowd-rounds audit"
            )
        previous, count = row["hash"], count + 1
    check_tables(settings, resources.warehouse)
    return f"{count} records, the last {previous[:16] or 'none'}"


def _files(resources: Resources, settings: CrowdSettings) -> str:
    """Frames and segments of settled rounds, by their hashes; what an erasure changed, the audit follows."""
    erased = " ".join(resources.warehouse.query("SELECT uri FROM erased_files")["uri"])
    looked_at = 0
    for text in resources.warehouse.query("SELECT record FROM round_records ORDER BY round_no")["record"]:
        record = json.loads(text)
        number = round_id_of(record["round_no"])
        places = {
            resources.frames.path(name, frame_key(record, name)): about["file"]
            for name, about in record["frames"].items()
        }
        places |= {
            settings.frames_path / "raw_feedback" / name: about["file"] for name, about in record["segments"].items()
        }
        for path, expected in places.items():
            looked_at += 1
            if "/".join(path.parts[-2:]) in erased:
                continue
            try:
                found = file_hash(path.read_bytes())
            except FileNotFoundError:
                raise _NotWellError(f"{path} is missing. {way_back(settings.home)}") from None
            if found != expected:
                raise _NotWellError(
                    f"{path} is not as {number} left the file: run crowd-rounds audit. {way_back(settings.home)}"
                )
    return f"{looked_at} frames and segments are as the rounds left the files"


def _models(resources: Resources, settings: CrowdSettings) -> str:
    """Models that rounds ended with, and what they descend from; the seed models are there or can be built."""
    chosen = {each.next_model for each in RoundBook(resources.warehouse).settled() if each.next_model}
    whole = {model for last in chosen for model in resources.model_store.lineage(last)}
    for model in sorted(whole):
        resources.model_store.verify_stored(model)
    seeds = [settings.seed_language_model_path, settings.seed_classifier_path]
    missing = [str(path) for path in seeds if not path.exists()]
    if missing and chosen and not (settings.base_model and settings.embedder):
        raise _NotWellError(
            f"{', '.join(missing)}: seed models are missing, and rounds were run with these models. {way_back(settings.home)}"
        )
    return f"{len(whole)} models are whole"


def _attempts(resources: Resources, settings: CrowdSettings) -> str:
    now = datetime.now(UTC)
    unfinished = AttemptBook(resources.warehouse, settings.lease_s).unfinished()
    lost = [each.subject for each in unfinished if not each.lives(now)]
    if lost:
        raise _NotWellError(f"the process of {', '.join(lost)} is gone: make round or the daemon takes up the run")
    return ", ".join(f"{each.subject} runs since {each.begun_at:%H:%M:%S} UTC" for each in unfinished) or "nothing runs"
