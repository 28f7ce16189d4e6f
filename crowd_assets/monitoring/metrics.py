"""Metrics in Prometheus' text format: what waits, how long, what rounds came to, what the ledger holds.

Every scrape reads the warehouse (waiting for nobody) and lists the inbox, so that no process keeps counts in memory. Labels are kinds, statuses and units: no name, no text and no id of anybody.

Belongs here: gathering and serving. Does not belong here: what is well and what is not (see ``status``).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resources.common.errors import OperatorError, require
from resources.feedback.arrivals import arrived, backlog
from resources.feedback.strangers import never_read
from resources.files.storage import StoreUnavailableError, use_object_stores
from resources.home.waiting import what_waits
from resources.rounds.claims import pending_feedback
from resources.settings.settings import Settings
from resources.warehouse.facts import PEOPLES_LEDGER, SETTLED_ROUNDS, STATUSES
from resources.warehouse.look import Look, NothingToReadError, look

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

PREFIX = "crowd_"


class MetricsPortTakenError(OperatorError, OSError):
    """The server of metrics could not have its port."""


@dataclass(frozen=True)
class Metric:
    """One metric: name without prefix, HELP text, and values by the value of the one label (empty: no label)."""

    name: str
    words: str
    values: Mapping[str, float]
    label: str = ""


def measure(settings: Settings, now: datetime) -> list[Metric]:
    """Every metric of a home at ``now``. Where the warehouse or the store does not answer, ``up`` is 0, and the metrics of that part
    are left out."""
    use_object_stores(retry_s=0)  # who scrapes does not wait
    metrics: list[Metric] = []
    up: dict[str, float] = {}
    for name, read in (("inbox", _inbox), ("warehouse", _warehouse)):
        try:
            metrics += read(settings, now)
            up[name] = 1
        except (NothingToReadError, StoreUnavailableError, OSError):
            up[name] = 0
    return [Metric("up", "1 where the part of the home could be read, else 0.", up, "part"), *metrics]


def as_text(settings: Settings) -> str:
    """The metrics of a home in Prometheus' text format."""
    require("prometheus_client", "metrics")
    from prometheus_client import generate_latest

    return generate_latest(_registry(settings)).decode()


def serve(settings: Settings, host: str, port: int) -> Any:
    """Serve the metrics of a home on ``/metrics``; returns the server, whose ``shutdown`` ends the serving.

    Raises:
        MetricsPortTakenError: something else listens there.
    """
    require("prometheus_client", "metrics")
    from prometheus_client import start_http_server

    try:
        server, _ = start_http_server(port, host, _registry(settings))
    except OSError as problem:
        raise MetricsPortTakenError(f"port {port} of {host}: {problem.strerror}. Choose another with --port.") from None
    return server


def _registry(settings: Settings) -> "CollectorRegistry":
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

    class Home(Collector):
        def collect(self) -> Iterator[Any]:
            for each in measure(settings, datetime.now(UTC)):
                family = CounterMetricFamily if each.name.endswith("_total") else GaugeMetricFamily
                values = family(f"{PREFIX}{each.name}", each.words, labels=[each.label] if each.label else [])
                for value, figure in each.values.items():
                    values.add_metric([value] if each.label else [], figure)
                yield values

    registry = CollectorRegistry()
    registry.register(Home())
    return registry


def _inbox(settings: Settings, now: datetime) -> Iterable[Metric]:
    waiting = backlog(arrived(settings.inbox_path), settings.backlog_mib, now)
    yield _one("inbox_files", "Feedback files in the inbox that wait to be taken in.", waiting.files)
    yield _one("inbox_bytes", "Size, in bytes, of the feedback files that wait in the inbox.", waiting.bytes)
    yield _one(
        "inbox_oldest_seconds",
        "Seconds since the oldest waiting feedback file arrived: the lag of ingestion.",
        waiting.oldest_s,
    )
    yield _one("inbox_full", "1 where the waiting feedback files exceed CROWD_BACKLOG_MIB, else 0.", waiting.full)


def _warehouse(settings: Settings, now: datetime) -> Iterable[Metric]:
    with look(settings) as home:
        yield _one(
            "as_of_timestamp_seconds",
            "Time, in seconds since 1970, of the copy of the warehouse that these metrics were read from.",
            home.as_of.timestamp(),
        )
        pending = pending_feedback(home.connection)
        waiting = _by(
            home, "SELECT kind, count(*) FROM event_index WHERE seq >= $first GROUP BY kind", first=pending.first_seq
        )
        yield Metric(
            "pending_events",
            "Accepted events that no round has claimed yet, by kind.",
            waiting if pending.events else {},
            "kind",
        )
        yield _one(
            "pending_contributors",
            "Different contributors of the events that no round has claimed yet.",
            pending.contributors,
        )
        yield from _waiting(settings, home, now)
        oldest = max((now - pending.oldest).total_seconds(), 0.0) if pending.oldest else 0.0
        yield _one(
            "pending_oldest_seconds",
            "Seconds since the oldest event without a round was accepted: the lag of rounds.",
            oldest,
        )
        files, size, accepted, duplicates, rejected = _row(
            home,
            "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(accepted), 0), coalesce(sum(duplicates), 0), "
            "coalesce(sum(rejected), 0) FROM ingested_files",
        )
        yield _one("ingested_files_total", "Feedback files taken in since the home began.", files)
        yield _one("ingested_bytes_total", "Size, in bytes, of the feedback files taken in since the home began.", size)
        lines = {"accepted": accepted, "duplicate": duplicates, "rejected": rejected}
        yield Metric(
            "ingested_lines_total",
            "Lines of ingested feedback files, by outcome: accepted, duplicate or rejected.",
            lines,
            "outcome",
        )
        rounds = dict.fromkeys(STATUSES, 0.0) | _by(home, "SELECT status, count(*) FROM rounds GROUP BY status")
        yield Metric("rounds", "Rounds of the home, by status.", rounds, "status")
        yield from _last_round(home)
        of_contributors = _by(
            home, f"SELECT unit, sum(amount) FROM {PEOPLES_LEDGER} entries WHERE NOT held_back GROUP BY unit"
        )
        yield Metric(
            "ledger_contributors",
            "Sum of the balances of all contributor accounts in the ledger, by unit.",
            of_contributors,
            "unit",
        )
        imbalance = _by(home, "SELECT unit, sum(amount) FROM ledger GROUP BY unit")
        yield Metric(
            "ledger_imbalance",
            "Sum of all entries of the ledger, by unit: a sum other than 0 is an error.",
            imbalance,
            "unit",
        )
        entries = _by(home, "SELECT unit, count(*) FROM ledger GROUP BY unit")
        yield Metric("ledger_entries_total", "Entries in the ledger, by unit.", entries, "unit")


def _waiting(settings: Settings, home: Look, now: datetime) -> Iterable[Metric]:
    try:
        files: int | None = len(arrived(settings.inbox_path))
    except (StoreUnavailableError, OSError):
        files = None
    strangers = [] if "://" in str(settings.inbox_path) else list(never_read(settings.inbox_path))
    waits = what_waits(settings, home.connection, now, files, strangers)
    causes = {f"{each.what}: {each.cause}": float(each.count) for each in waits}
    yield Metric("waiting", "How many files, events or rounds wait, by kind and cause.", causes, "cause")
    stuck = sum(each.stuck for each in waits)
    yield _one("stuck", "Kinds of things that wait until somebody acts: anything but 0 is wrong.", stuck)


def _last_round(home: Look) -> Iterable[Metric]:
    rows = home.connection.execute(
        "SELECT r.round_no, r.claimed_at, r.settled_at, base.fresh_distance, "
        "CASE WHEN a.kept THEN a.fresh_distance ELSE winner.fresh_distance END, r.attempt "
        f"FROM {SETTLED_ROUNDS} r JOIN alignments a USING (round_no) "
        "JOIN selections base ON base.round_no = r.round_no AND base.role = 'base' "
        "JOIN selections winner ON winner.round_no = r.round_no AND winner.selected "
        "ORDER BY r.round_no DESC LIMIT 1"
    ).fetchall()
    for number, claimed, settled, before, after, attempt in rows:
        yield _one("last_round", "Number of the last settled round.", number)
        yield _one("last_round_attempts", "Runs that the last settled round took.", attempt)
        yield _one(
            "last_round_seconds",
            "Seconds from claim to settlement of the last settled round.",
            (settled - claimed).total_seconds(),
        )
        yield _one(
            "last_round_settled_timestamp_seconds",
            "Time, in seconds since 1970, at which the last round was settled.",
            settled.replace(tzinfo=UTC).timestamp(),
        )
        distances = {"base": before, "next_base": after}
        yield Metric(
            "last_round_distance",
            "Target distance of the last settled round on a fresh sample, of the base and the next base.",
            distances,
            "model",
        )


def _one(name: str, words: str, value: float) -> Metric:
    return Metric(name, words, {"": float(value)})


def _by(home: Look, sql: str, **parameters: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in home.connection.execute(sql, parameters).fetchall()}


def _row(home: Look, sql: str) -> tuple[float, ...]:
    ((*figures,),) = home.connection.execute(sql).fetchall()
    return tuple(figures)
