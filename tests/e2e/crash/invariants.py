"""What must hold of a home whenever no process works on it, and what must be the same as in an undisturbed campaign.

Belongs here: reading a home and saying what is wrong with it. Does not belong here: how it came to be so (see ``harness``).
"""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
from dagster import DagsterInstance, RunsFilter

from resources.build import build_resources
from resources.feedback.inbox import InboxResource
from resources.files.frames import read_parquet
from resources.files.storage import UNFINISHED, files_below
from resources.models.store import CARD, ModelStoreResource
from resources.rounds.attempts import AttemptBook
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import COMPLETED, SKIPPED
from resources.warehouse.schema import ROUND_TABLES
from sensors.rounds import ACTIVE

Contents = dict[str, str]
IN_A_ROUND = ("generations", "validated_feedback", "candidate_embeddings", "contributor_embeddings")
# Times, attempts and what follows from them are a life's own.
OF_A_LIFE = {
    "rounds": ("attempt", "claimed_at", "settled_at"),
    "ingested_files": ("uri", "ingested_at"),
    "event_index": ("ingested_at",),
    "quality_findings": ("figure",),  # of the expectation freshness it is an age
}
FIGURES_OF_A_LIFE = {"seconds", "peak_memory_mib"}
# Where things are kept and computed, which settings name and nothing else should depend on.
PLACES = {"warehouse", "files", "compute", "ray_address", "store_retry_s"}
TABLES = (
    *ROUND_TABLES,
    "ledger",
    "rounds",
    "ingested_files",
    "feedback_segments",
    "event_index",
    "rejected_feedback",
)


def broken(settings: CrowdSettings, sent: set[str]) -> list[str]:
    """Every invariant that does not hold, in words.

    Args:
        sent: Events that the crowd sent and that were accepted in an undisturbed campaign, by ``event_id``; of a home that
            has not seen all of them yet, some may be missing, and none else may be there.
    """
    resources = build_resources(settings)
    warehouse: WarehouseResource = resources.warehouse
    return [
        *_events(warehouse, resources.inbox, sent),
        *_rounds(warehouse),
        *_money(warehouse, Decimal(settings.budget)),
        *_points(warehouse, Decimal(settings.deposit)),
        *_models(warehouse, resources.model_store),
        *_files(settings, warehouse),
    ]


def left_running(instance: DagsterInstance, settings: CrowdSettings) -> list[str]:
    """Runs that Dagster takes to be going on, and attempts that have not ended, though no process is at them."""
    now = datetime.now(UTC)
    unfinished = AttemptBook(build_resources(settings).warehouse, settings.lease_s).unfinished()
    living = {each.run_id for each in unfinished if each.lives(now)}
    said = [
        f"attempt {each.run_id} of {each.subject} has not ended" for each in unfinished if each.run_id not in living
    ]
    return said + [
        f"run {run.run_id} of {run.job_name} is {run.status.value}, and its process is gone"
        for run in instance.get_runs(RunsFilter(statuses=ACTIVE))
        if run.run_id not in living
    ]


def contents(settings: CrowdSettings) -> Contents:
    """A hash of each table, frame, segment, published file and model of a home, without what a life's times say."""
    warehouse: WarehouseResource = build_resources(settings).warehouse
    found = {}

    for table in TABLES:
        rows = warehouse.query(f"SELECT * FROM {table}")
        if table == "quality_findings":
            rows = rows.with_columns(figure=pl.when(pl.col("expectation") != "freshness").then("figure"))
        else:
            rows = rows.drop(OF_A_LIFE.get(table, ()))
        if table == "rounds":
            rows = rows.with_columns(pl.col("settings").map_elements(_without_places, pl.String))
        found[f"table {table}"] = _hash(repr(sorted(map(repr, rows.rows()))))
    for folder in ("frames", "outbox", "archive"):
        for each in files_below(settings.file_places[folder]):
            path = each.path
            if path.suffix == UNFINISHED:
                continue  # what a killed process left half written is nobody's content until compact removes it
            content = repr(read_parquet(path).rows()) if path.suffix == ".parquet" else path.read_text(encoding="utf-8")
            found[f"{folder}/{each.name}"] = _hash(content)
    for each in files_below(settings.models_path):
        if each.path.name == CARD:
            card = json.loads(each.path.read_text(encoding="utf-8"))
            card["training"] = {name: card["training"][name] for name in card["training"].keys() - FIGURES_OF_A_LIFE}
            found[f"model {each.path.parent.name}"] = _hash(json.dumps(card, sort_keys=True))
    return found


def differences(expected: Contents, actual: Contents) -> list[str]:
    """What one home has and the other has not, or has otherwise."""
    return [
        f"{name}: {'missing' if name not in actual else 'too much' if name not in expected else 'differs'}"
        for name in sorted({*expected, *actual})
        if expected.get(name) != actual.get(name)
    ]


def event_ids(settings: CrowdSettings) -> set[str]:
    """The accepted events of a home."""
    warehouse: WarehouseResource = build_resources(settings).warehouse
    return set(warehouse.query("SELECT event_id FROM event_index")["event_id"])


def _events(warehouse: WarehouseResource, inbox: InboxResource, sent: set[str]) -> list[str]:
    """Every accepted event lies in one segment, and in one round that was not skipped or behind all of them."""
    index = warehouse.query("SELECT event_id, seq FROM event_index ORDER BY seq")
    said = []
    if index["seq"].to_list() != list(range(1, index.height + 1)):
        said.append("the numbers of events have gaps, or are not unique")
    if strangers := set(index["event_id"]) - sent:
        said.append(f"{len(strangers)} events that nobody sent, such as {min(strangers)}")
    if not inbox.events(1, index.height).select("event_id", "seq").equals(index):
        said.append("the segments hold other events than the index")
    taken = warehouse.query(
        "SELECT i.seq, count(r.round_no) AS rounds, i.seq <= (SELECT max(to_seq) FROM rounds WHERE status <> $skipped) AS past "
        "FROM event_index i LEFT JOIN rounds r ON i.seq BETWEEN r.from_seq AND r.to_seq AND r.status <> $skipped GROUP BY i.seq",
        {"skipped": SKIPPED},
    )
    if (wrong := taken.filter((pl.col("rounds") > 1) | ((pl.col("rounds") == 0) & pl.col("past")))).height:
        said.append(f"{wrong.height} events are in two rounds, or in none though a later one is")
    return said


def _rounds(warehouse: WarehouseResource) -> list[str]:
    """One round is open at most; who is settled has all of its rows; the one after starts from its model."""
    rounds = RoundBook(warehouse).all()
    said = [
        f"{round_.round_id} is {round_.status} though a later one is there"
        for round_ in rounds[:-1]
        if round_.status not in (COMPLETED, SKIPPED)
    ]
    base = None
    for round_ in rounds:
        if round_.settled:
            if round_.base_model != base:
                said.append(f"{round_.round_id} started from {round_.base_model}, not from {base}")
            base = round_.next_model
            for table in ("quality_verdicts", "selections", "alignments", "contributions", "epochs"):
                if warehouse.read_round(table, round_.round_no).is_empty():
                    said.append(f"{round_.round_id} is settled without {table}")
        elif warehouse.read_round("ledger", round_.round_no).height:
            said.append(f"{round_.round_id} is {round_.status}, and the ledger has entries of it")
    return said


def _money(warehouse: WarehouseResource, budget: Decimal) -> list[str]:
    """The ledger balances; what was awarded was bid for, is paid for once, and keeps to the budget."""
    uneven = warehouse.query("SELECT unit FROM ledger GROUP BY round_no, unit HAVING sum(amount) <> 0")
    said = [f"the ledger's {unit}s do not balance" for unit in uneven["unit"]]
    if warehouse.query(
        "SELECT account FROM ledger GROUP BY account, unit, reason, reference, round_no HAVING count(*) > 1"
    ).height:
        said.append("the ledger has a posting twice")
    spent = warehouse.query("SELECT round_no, sum(payment) AS paid FROM awards WHERE awarded GROUP BY round_no")
    said += [f"round {number} pays {paid}" for number, paid in spent.iter_rows() if paid > budget]
    without = warehouse.query(
        "SELECT a.event_id FROM awards a JOIN rounds r USING (round_no) LEFT JOIN event_index i ON i.event_id = a.event_id "
        "AND i.kind = 'bid' AND i.seq BETWEEN r.from_seq AND r.to_seq AND i.contributor_id = a.contributor_id "
        "WHERE i.event_id IS NULL"
    )
    said += [f"{event} is awarded and was no bid of its round" for event in without["event_id"]]
    unpaid = warehouse.query(
        "SELECT coalesce(a.round_no, l.round_no) AS round_no FROM "
        "(SELECT a.round_no, contributor_id, sum(payment) AS due FROM awards a JOIN rounds r USING (round_no) "
        " WHERE awarded AND payment > 0 AND r.status IN ('settled', 'completed') GROUP BY a.round_no, contributor_id) a FULL JOIN "
        "(SELECT round_no, substr(account, 13) AS contributor_id, sum(amount) AS paid FROM ledger WHERE unit = 'credit' AND reason = 'answer bought' "
        " AND starts_with(account, 'contributor:') GROUP BY round_no, account) l "
        "ON a.round_no = l.round_no AND a.contributor_id = l.contributor_id WHERE a.due IS DISTINCT FROM l.paid"
    )
    return said + [f"round {number}: awards and payments differ" for number in unpaid["round_no"]]


def _points(warehouse: WarehouseResource, deposit: Decimal) -> list[str]:
    """Points were earned in a round by somebody who took part in it, and the first of them are held back, once."""
    without = warehouse.query(
        "SELECT account, reference FROM ledger l WHERE unit = 'point' AND starts_with(account, 'contributor:') AND "
        "NOT starts_with(reference, 'deposit of ') AND NOT EXISTS "
        "(SELECT 1 FROM contributor_groups g WHERE g.contributor_id = substr(l.account, 13) AND "
        "g.round_no = CAST(substr(l.reference, 12, 6) AS INTEGER))"
    )
    said = [f"{account} has points of a round without it: {reference}" for account, reference in without.iter_rows()]
    accounts = warehouse.query(
        "SELECT substr(account, strpos(account, ':') + 1) AS who, sum(amount) AS points, "
        "coalesce(sum(amount) FILTER (WHERE starts_with(account, 'deposit:')), 0) AS held FROM ledger "
        "WHERE unit = 'point' AND account <> 'treasury' GROUP BY 1"
    )
    for who, points, held in accounts.iter_rows():
        if not min(deposit, max(points, Decimal(0))) <= held <= deposit:
            said.append(f"the deposit of {who} holds {held} of {deposit}, and {points} points were earned")
    return said


def _models(warehouse: WarehouseResource, store: ModelStoreResource) -> list[str]:
    """Every model that a table names is whole, and its files hash to its name, as do those it descends from."""
    named = warehouse.query(
        "SELECT model FROM candidates UNION SELECT model FROM selections UNION SELECT model FROM alignments "
        "UNION SELECT next_model FROM rounds UNION SELECT base_model FROM rounds"
    )
    said = []
    for model in named["model"].drop_nulls():
        try:
            for each in store.lineage(model):
                store.verify(each)
        except (OSError, RuntimeError) as problem:
            said.append(f"model {model}: {problem}")
    return said


def _files(settings: CrowdSettings, warehouse: WarehouseResource) -> list[str]:
    """What a settled round points at can be read; a snapshot, where there is one, is a whole database."""
    said = []
    wanted = [
        settings.frames_path / asset / f"{r.round_id}.parquet"
        for r in RoundBook(warehouse).all()
        if r.settled
        for asset in IN_A_ROUND
    ]
    for path in wanted:
        try:
            read_parquet(path)
        except Exception as problem:
            said.append(f"{path}: {problem}")
    for r in RoundBook(warehouse).all():
        if r.status == COMPLETED:
            said += [
                f"{path} is missing"
                for path in (
                    settings.reports_path / "rounds" / f"{r.round_id}.html",
                    settings.outbox_path / "comparison_tasks" / f"{r.round_id}.jsonl",
                )
                if not path.exists()
            ]
    snapshot = warehouse.snapshot_path
    if snapshot.exists():
        import duckdb

        with duckdb.connect(str(snapshot), read_only=True) as connection:
            connection.execute("SELECT count(*) FROM ledger").fetchall()
    return said


def _without_places(settings: str) -> str:
    return json.dumps({name: value for name, value in json.loads(settings).items() if name not in PLACES})


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
