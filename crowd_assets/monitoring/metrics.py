"""Metrics in Prometheus' text format: what waits, how long, what rounds came to, what the ledger holds.

Everything is read when it is asked for, from the warehouse (waiting for nobody) and a listing of the inbox, so that there is no
process whose memory counts. Labels are kinds, statuses and units: no name, no text and no id of anybody.

Belongs here: gathering and serving. Does not belong here: what is well and what is not (see ``status``).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resources.common.errors import OperatorError, require
from resources.feedback.arrivals import arrived, backlog
from resources.files.storage import StoreUnavailableError, use_object_stores
from resources.rounds.claims import pending_feedback
from resources.settings.settings import Settings
from resources.warehouse.look import Look, NothingToReadError, look

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

PREFIX = "crowd_"
STATUSES = ("claimed", "settled", "completed", "skipped")


class MetricsPortTakenError(OperatorError, OSError):
    """The server of metrics could not have its port."""


@dataclass(frozen=True)
class Metric:
    """One metric: its name without prefix, what it says, its values by its one label's value (empty: no label)."""

    name: str
    words: str
    values: Mapping[str, float]
    label: str = ""


def measure(settings: Settings, now: datetime) -> list[Metric]:
    """Every metric of a home, as it is now. Where the warehouse or the store does not answer, ``up`` says so, and what it would
    have said is left out."""
    use_object_stores(retry_s=0)  # who scrapes does not wait
    found: list[Metric] = []
    up: dict[str, float] = {}
    for name, read in (("inbox", _inbox), ("warehouse", _warehouse)):
        try:
            found += read(settings, now)
            up[name] = 1
        except (NothingToReadError, StoreUnavailableError, OSError):
            up[name] = 0
    return [Metric("up", "Whether it could be read.", up, "part"), *found]


def as_text(settings: Settings) -> str:
    """The metrics of a home in Prometheus' text format."""
    require("prometheus_client", "metrics")
    from prometheus_client import generate_latest

    return generate_latest(_registry(settings)).decode()


def serve(settings: Settings, host: str, port: int) -> Any:
    """Serve them on ``/metrics``; returns the server, whose ``shutdown`` ends it.

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
                of_all = family(f"{PREFIX}{each.name}", each.words, labels=[each.label] if each.label else [])
                for value, figure in each.values.items():
                    of_all.add_metric([value] if each.label else [], figure)
                yield of_all

    registry = CollectorRegistry()
    registry.register(Home())
    return registry


def _inbox(settings: Settings, now: datetime) -> Iterable[Metric]:
    waiting = backlog(arrived(settings.inbox_path), settings.backlog_mib, now)
    yield _one("inbox_files", "Feedback files that wait to be taken in.", waiting.files)
    yield _one("inbox_bytes", "Their size.", waiting.bytes)
    yield _one(
        "inbox_oldest_seconds", "Since when the oldest of them lies there: the lag of ingestion.", waiting.oldest_s
    )
    yield _one("inbox_full", "1 where more waits than CROWD_BACKLOG_MIB.", waiting.full)


def _warehouse(settings: Settings, now: datetime) -> Iterable[Metric]:
    with look(settings) as found:
        yield _one("as_of_timestamp_seconds", "When what follows was so.", found.as_of.timestamp())
        pending = pending_feedback(found.connection)
        waiting = _by(
            found, "SELECT kind, count(*) FROM event_index WHERE seq >= $first GROUP BY kind", first=pending.first_seq
        )
        yield Metric(
            "pending_events", "Accepted events that no round has taken.", waiting if pending.events else {}, "kind"
        )
        yield _one("pending_contributors", "Contributors of them.", pending.contributors)
        oldest = (now - pending.oldest).total_seconds() if pending.oldest else 0.0
        yield _one("pending_oldest_seconds", "Since when the oldest of them waits: the lag of rounds.", oldest)
        files, size, accepted, duplicates, rejected = _row(
            found,
            "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(accepted), 0), coalesce(sum(duplicates), 0), "
            "coalesce(sum(rejected), 0) FROM ingested_files",
        )
        yield _one("ingested_files_total", "Feedback files taken in.", files)
        yield _one("ingested_bytes_total", "Their size.", size)
        lines = {"accepted": accepted, "duplicate": duplicates, "rejected": rejected}
        yield Metric("ingested_lines_total", "Lines of them, by what became of them.", lines, "outcome")
        rounds = dict.fromkeys(STATUSES, 0.0) | _by(found, "SELECT status, count(*) FROM rounds GROUP BY status")
        yield Metric("rounds", "Rounds by status.", rounds, "status")
        yield from _last_round(found)
        of_contributors = _by(
            found, "SELECT unit, sum(amount) FROM ledger WHERE starts_with(account, 'contributor:') GROUP BY unit"
        )
        yield Metric("ledger_contributors", "What contributors hold, by unit.", of_contributors, "unit")
        imbalance = _by(found, "SELECT unit, sum(amount) FROM ledger GROUP BY unit")
        yield Metric("ledger_imbalance", "Sum of all entries, by unit: anything but 0 is wrong.", imbalance, "unit")
        entries = _by(found, "SELECT unit, count(*) FROM ledger GROUP BY unit")
        yield Metric("ledger_entries_total", "Entries, by unit.", entries, "unit")


def _last_round(found: Look) -> Iterable[Metric]:
    rows = found.connection.execute(
        "SELECT r.round_no, r.claimed_at, r.settled_at, base.fresh_distance, "
        "CASE WHEN a.kept THEN a.fresh_distance ELSE winner.fresh_distance END, r.attempt "
        "FROM rounds r JOIN alignments a USING (round_no) "
        "JOIN selections base ON base.round_no = r.round_no AND base.role = 'base' "
        "JOIN selections winner ON winner.round_no = r.round_no AND winner.selected "
        "WHERE r.status IN ('settled', 'completed') ORDER BY r.round_no DESC LIMIT 1"
    ).fetchall()
    for number, claimed, settled, before, after, attempt in rows:
        yield _one("last_round", "Number of the last settled round.", number)
        yield _one("last_round_attempts", "Runs that it took.", attempt)
        yield _one("last_round_seconds", "From its claim to its settlement.", (settled - claimed).total_seconds())
        yield _one(
            "last_round_settled_timestamp_seconds", "When it was settled.", settled.replace(tzinfo=UTC).timestamp()
        )
        distances = {"base": before, "next_base": after}
        yield Metric("last_round_distance", "Target distance on a fresh sample.", distances, "model")


def _one(name: str, words: str, value: float) -> Metric:
    return Metric(name, words, {"": float(value)})


def _by(found: Look, sql: str, **parameters: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in found.connection.execute(sql, parameters).fetchall()}


def _row(found: Look, sql: str) -> tuple[float, ...]:
    ((*figures,),) = found.connection.execute(sql).fetchall()
    return tuple(figures)
