"""Retention: what a home does not need any more goes, as settings say, and what is left takes no more room than it must.

Nothing goes that a later round, the ledger, an audit, a restore or an erasure reads: tables, frames and segments of raw
feedback are vouched for by the rounds' records and stay; of models only those that no round chose, each named in the table
``removed_models`` before its files go, by which the audit knows them.

Belongs here: what goes, in an order in which a killed call can be repeated. Does not belong here: texts that somebody wants
erased (see ``erasure``), how long Dagster keeps the ticks of its sensors (see ``dagster.yaml``).
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import DagsterInstance, RunsFilter
from upath import UPath

from resources.build import Resources
from resources.files.storage import files_below, is_local, remove
from resources.home.identity import uuid_of
from resources.home.names import INGESTION_JOB, ROUND_JOB, home_tags, partition_set
from resources.models.store import ModelStoreResource
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.tools.dagster_private import log_file_of
from resources.tools.data_quality import DataQualityResource
from resources.warehouse.base import WarehouseResource, as_stored
from resources.warehouse.facts import round_id_of, round_no_of
from sensors.rounds import ENDED

LEFT_BEHIND = re.compile(r"\.[0-9a-f]{32}\.tmp$|^warehouse\.duckdb\.\d+\.tmp|^\.putting-|^\.restoring-")
"""Names that files and folders of ours have until they are whole, or once they are to go."""
LOSERS = (
    "SELECT model, max(round_no) AS round_no FROM (SELECT model, round_no FROM candidates UNION ALL "
    "SELECT model, round_no FROM alignments WHERE model IS NOT NULL) trained WHERE model NOT IN "
    "(SELECT model FROM selections WHERE selected AND model IS NOT NULL UNION ALL "
    "SELECT model FROM alignments WHERE kept AND model IS NOT NULL UNION ALL "
    "SELECT base_model FROM rounds WHERE base_model IS NOT NULL UNION ALL "
    "SELECT next_model FROM rounds WHERE next_model IS NOT NULL) GROUP BY model"
)
"""Models that no round chose, and the last round that they were of: none of them is in the lineage of one that was chosen."""


@dataclass(frozen=True)
class Compacted:
    """How much went: ``runs`` of Dagster with their logs, ``pages`` of the Data Docs, ``models``, files of the ``archive``,
    and what killed processes left ``unfinished``; whether the ``warehouse`` was written anew."""

    runs: int
    pages: int
    models: int
    archive: int
    unfinished: int
    warehouse: bool


def compact(settings: CrowdSettings, resources: Resources, instance: DagsterInstance) -> Compacted:
    """Remove what settings do not keep. Rounds may run meanwhile; killed anywhere, the same call again goes on.

    Args:
        resources: Of the home.
        instance: whose runs are meant.

    Raises:
        WarehouseBusyError, QualityBusyError: somebody else held the one or the other for too long; what had gone by then has.
    """
    warehouse: WarehouseResource = resources.warehouse
    rounds = RoundBook(warehouse).all()
    return Compacted(
        runs=_forget_runs(_first_kept(rounds, settings.keep_runs), settings, instance),
        pages=_forget_pages(_first_kept(rounds, settings.keep_data_docs), resources.data_quality),
        models=_remove_losers(_first_kept(rounds, settings.keep_losing_models), warehouse, resources.model_store),
        archive=_empty_archive(_first_kept(rounds, settings.keep_archive), settings, warehouse),
        unfinished=sum(map(remove, _unfinished(settings))),
        warehouse=warehouse.compact_if_hollow(),
    )


def removed_models(warehouse: WarehouseResource) -> set[str]:
    """Models whose files retention may have removed: named as such, and chosen by no round."""
    return set(
        warehouse.query(f"SELECT model FROM removed_models WHERE model IN (SELECT model FROM ({LOSERS}) losers)")[
            "model"
        ]
    )


def _first_kept(rounds: list[Round], keep: int) -> Round | None:
    """The first of the last ``keep`` settled rounds, all before which is old; None where nothing is."""
    settled = [round_ for round_ in rounds if round_.settled]
    return settled[-keep] if 0 < keep < len(settled) else None


def _forget_runs(first: Round | None, settings: CrowdSettings, instance: DagsterInstance) -> int:
    """Runs of rounds and ingestions that ended, from before the first round that is kept was claimed, with all that they
    logged; the partitions of their rounds go with them, as nothing would say any more that they are there."""
    if first is None:
        return 0
    home = uuid_of(settings)
    events = instance.event_log_storage
    forgotten = 0
    for job in (INGESTION_JOB, ROUND_JOB):
        old = RunsFilter(job_name=job, statuses=list(ENDED), created_before=first.claimed_at, tags=home_tags(home))
        for run in instance.get_runs(old):
            instance.compute_log_manager.delete_logs(prefix=[run.run_id])
            remove(settings.steps_path / run.run_id)
            events.delete_events(run.run_id)
            if (log := log_file_of(instance, run.run_id)) is not None:
                log.unlink(missing_ok=True)
            instance.run_storage.delete_run(run.run_id)  # last: it is what the next call finds the rest by
            forgotten += 1
    for round_id in instance.get_dynamic_partitions(partition_set(home)):
        if round_no_of(round_id) < first.round_no:
            instance.delete_dynamic_partition(partition_set(home), round_id)
    return forgotten


def _forget_pages(first: Round | None, data_quality: DataQualityResource) -> int:
    return 0 if first is None else data_quality.forget({round_id_of(number) for number in range(1, first.round_no)})


def _remove_losers(first: Round | None, warehouse: WarehouseResource, store: ModelStoreResource) -> int:
    if first is not None:
        with warehouse.transaction() as connection:
            connection.execute(
                f"INSERT INTO removed_models SELECT model, round_no, $now FROM ({LOSERS}) losers WHERE round_no < $first ON CONFLICT DO NOTHING",
                {"now": as_stored(datetime.now(UTC)), "first": first.round_no},
            )
    removed = sum(map(store.remove, sorted(removed_models(warehouse))))
    if removed:
        store.remove_idle_notes()
    return removed


def _empty_archive(first: Round | None, settings: CrowdSettings, warehouse: WarehouseResource) -> int:
    """Archived files all of whose events are of older rounds; the events themselves lie in segments of raw feedback."""
    if first is None:
        return 0
    old = warehouse.query(
        "SELECT digest FROM ingested_files LEFT JOIN feedback_segments USING (digest) GROUP BY digest "
        "HAVING max(ingested_at) < $claimed AND coalesce(max(last_seq), 0) < $from",
        {"claimed": as_stored(first.claimed_at), "from": first.from_seq},
    )
    digests = set(old["digest"])
    archived = (each.path for each in files_below(settings.archive_path))
    return sum(remove(path) for path in archived if re.split("[-.]", path.name)[0] in digests)


def _unfinished(settings: CrowdSettings) -> Iterator[UPath]:
    """What killed processes left half written, and has not been written to for so long that none writes to it."""
    since = time.time() - 3600 * settings.keep_unfinished_hours
    own = [settings.path(name) for name in ("exports", "models_cache", "quality")]
    for place, pattern in (
        (settings.path(), "*"),
        *((each, "**/*") for each in (*settings.file_places.values(), *own)),
    ):
        if is_local(place) and place.exists():
            for path in sorted(place.glob(pattern), key=str):
                if LEFT_BEHIND.search(path.name) and path.exists() and path.stat().st_mtime < since:
                    yield path
