"""The audit: every settled round is recomputed from its frames, and the ledger from nothing, and compared with what is stored.

Three things are told apart, in this order: whether the chain of records is whole, whether what a record vouches for is still
what it was at the settlement (hashes by column, exact), and whether it is what the mechanisms make of the round's inputs
(recomputed; floating-point figures to five digits, as another machine adds up in another order). Training and generation are
not repeated: models, the distances on selection samples, accuracies and in-run values are inputs of the audit, held by their
hashes. Prior state is what earlier rounds stored, so after a first difference later rounds are held against their records
alone.

Belongs here: the order of an audit, the chain and the ledger as a whole. Does not belong here: one round (see ``audit_round``), what a
round computes (see ``crowd_assets.round``), the records (see ``resources.rounds.records``).
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import duckdb
import polars as pl
from pydantic import PrivateAttr

from crowd_assets.operations.audit_home import home_differences
from crowd_assets.operations.audit_intake import intake_differences
from crowd_assets.operations.audit_round import AuditedHome, AuditedRound, RoundAuditor
from crowd_assets.operations.differences import BY_RECORD, Difference, first_difference, first_or_unreadable
from resources.build import build_resources
from resources.common.errors import OperatorError
from resources.files.backups import said_of_lost_file
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.connection import Connection
from resources.warehouse.damage import told
from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.facts import BEGUN_ERASURE, RECORD_HASHES


class AuditError(OperatorError, RuntimeError):
    """Nothing was audited; the message says why."""


@dataclass(frozen=True)
class Audit:
    """What an audit found. ``ledger`` is a difference of the ledger as a whole, ``chain`` one of the records as a whole;
    ``head`` is the hash of the last record, empty before the first; ``entries`` counts what was recomputed of the ledger."""

    rounds: tuple[AuditedRound, ...]
    chain: Difference | None
    ledger: Difference | None
    head: str
    entries: int

    @property
    def clean(self) -> bool:
        return self.chain is None and self.ledger is None and all(each.difference is None for each in self.rounds)

    def as_json(self) -> str:
        return json.dumps({"clean": self.clean, **asdict(self)}, indent=2)


def audit(
    settings: CrowdSettings,
    *,
    expected: str = "",
    recompute: bool = True,
    found: Callable[[AuditedRound], None] = lambda each: None,
) -> Audit:
    """Audit the settled rounds of a home, oldest first, as the last transaction left them. Nothing is written, and no lock
    is held but for a moment.

    Args:
        settings: Name the home; every round is recomputed by the settings of its record.
        expected: A hash that an earlier audit ended with, which must still be in the chain; empty: none.
        recompute: Whether rounds are computed again; else they are held against the records alone, which takes seconds.
        found: Is given each round as soon as it is audited.

    Raises:
        AuditError: there is no warehouse, or an erasure was interrupted.
    """
    resources = build_resources(settings)
    live: WarehouseResource = resources.warehouse
    if not live.exists():  # opening a warehouse makes one
        raise AuditError(
            said_of_lost_file(Path(settings.home, "warehouse.duckdb"))
            or f"CROWD_HOME={settings.home}: there is no warehouse.duckdb, so no round to audit."
        )
    with tempfile.TemporaryDirectory(prefix="crowd-audit-") as folder:
        copy = Path(folder, "warehouse.duckdb")
        live.copy_to(copy)
        with told(Path(settings.home, "warehouse.duckdb")), duckdb.connect(str(copy), read_only=True) as connection:
            return _Auditor(settings, resources, _Copy.of(str(copy), connection)).run(expected, recompute, found)


class _Copy(DuckDBWarehouse):
    """A warehouse that nobody else has: opened once, for reading."""

    _connection: duckdb.DuckDBPyConnection = PrivateAttr()

    @classmethod
    def of(cls, path: str, connection: duckdb.DuckDBPyConnection) -> Self:
        copy = cls(path=path)
        copy._connection = connection
        return copy

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        yield self._connection


def line(audited: AuditedRound) -> str:
    """What was found of a round, for a terminal."""
    parts = [f"DIFFERS  {audited.difference}" if audited.difference else "ok"]
    if audited.erased:
        parts.append(f"erased on request: {'; '.join(audited.erased)}")
    if audited.removed:
        parts.append(f"models that no round chose, removed: {len(audited.removed)}")
    if not audited.recomputed and not audited.difference:
        parts.append("as its record says, but not recomputed: the round builds on a round that differs")
    return f"{audited.round_id}  {'  '.join(parts)}"


def _read(text: str) -> dict[str, Any] | None:
    """A record; None for a text that is none any more, whose round differs by its hash."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class _Auditor(AuditedHome):
    def run(self, expected: str, recompute: bool, found: Callable[[AuditedRound], None]) -> Audit:
        begun = self.warehouse.query(BEGUN_ERASURE)
        if begun.height:
            raise AuditError(
                f"the erasure of {begun['contributor_id'].item()} was interrupted: repeat that erasure first."
            )
        recorded = self.warehouse.query("SELECT * FROM round_records ORDER BY round_no").to_dicts()
        records = {row["round_no"]: row for row in recorded}
        rounds, posted = [], []
        previous, model, clean = "", None, recompute
        for round_ in RoundBook(self.warehouse).settled():
            row = records.pop(round_.round_no, None)
            one = RoundAuditor(self, round_, row, previous=previous, model=model, recompute=clean)
            audited = one.run()
            found(audited)
            rounds.append(audited)
            posted.append(one.posted)
            clean = clean and audited.difference is None
            previous, model = one.hash, round_.next_model
        said = [record for row in recorded if (record := _read(row["record"])) is not None]
        heads = [record.get("ingestions", "") for record in said]
        of_home = home_differences(
            self.settings,
            self.warehouse,
            self.inbox,
            self.store,
            RoundBook(self.warehouse).all(),
            said,
            frozenset(self.removed),
        )
        taken_in = intake_differences(self.warehouse, self.inbox, [head for head in heads if head], self.erasures)
        chain = first_or_unreadable(taken_in, "intake") or first_or_unreadable(of_home, "home")
        if records:
            number = min(records)
            chain = Difference("rounds", f"round_no {number}", "status", "not settled", "settled", BY_RECORD)
        elif expected and expected not in (hashes := self._hashes()):
            chain = Difference("round_records", "", "hash", hashes[-1] if hashes else "none", expected, BY_RECORD)
        return Audit(
            tuple(rounds),
            chain,
            self._ledger(posted) if clean else None,
            previous,
            sum(each.height for each in posted),
        )

    def _hashes(self) -> list[str]:
        return self.warehouse.query(RECORD_HASHES)["hash"].to_list()

    def _ledger(self, posted: list[pl.DataFrame]) -> Difference | None:
        """The ledger as a whole, entries of all rounds and of none, against what the rounds post."""
        stored = self.warehouse.query("SELECT * FROM ledger")
        entries = pl.concat([stored.clear(), *posted])
        return first_difference("ledger", ["entry_id"], stored, entries)
