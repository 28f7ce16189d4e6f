"""The audit: every settled round is recomputed from its frames, and the ledger from nothing, and compared with what is stored.

Three things are told apart, in this order: whether the chain of records is whole, whether what a record vouches for is still
what it was at the settlement (hashes by column, exact), and whether it is what the mechanisms make of the round's inputs
(recomputed; floating-point figures to five digits, as another machine adds up in another order). Training and generation are
not repeated: models, the distances on selection samples, accuracies and in-run values are inputs of the audit, held by their
hashes. Prior state is what earlier rounds stored, so after a first difference later rounds are held against their records
alone.

Belongs here: comparing. Does not belong here: what a round computes (see ``crowd_assets.assets``), the records (see
``resources.rounds.records``).
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import polars as pl
from pydantic import PrivateAttr
from upath import UPath

from crowd_assets.mechanisms.payouts import rank_of
from crowd_assets.mechanisms.target import mean_distance
from crowd_assets.operations.audit_home import home_differences
from crowd_assets.operations.audit_intake import intake_differences
from crowd_assets.operations.differences import BY_RECOMPUTATION, BY_RECORD, Difference, first_difference
from crowd_assets.operations.retention import removed_models
from crowd_assets.report import agreement
from crowd_assets.round import (
    asked,
    assignment,
    contributions,
    judging,
    labelers,
    points,
    procurement,
    selection,
    settlement,
    standing,
    target,
)
from crowd_assets.round.groups import groups_of, learnt_from, members_of_candidates
from crowd_assets.round.points import EpochSoFar
from crowd_assets.round.procurement import audited_of
from crowd_assets.round.promotion import BLOCKED
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.tournament import EMBEDDED_CONTRIBUTORS
from resources.build import Resources, build_resources
from resources.common.errors import OperatorError
from resources.common.hashes import canonical, chained, file_hash
from resources.feedback.events import ERASED, EVENT_SCHEMA, completed, is_erased, says_erased
from resources.feedback.inbox import AUDITS, COMPARISON_TASKS, InboxResource
from resources.files.frames import FramesResource, parsed_parquet, read_parquet
from resources.models.embedder import EmbedderResource
from resources.models.store import DamagedModelError, ModelStoreResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round, RoundBook
from resources.rounds.corrections import CorrectionBook
from resources.rounds.records import TEXT_COLUMNS, Record, column_hashes, frame_key, rows_of
from resources.rounds.secret import commitment
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.connection import Connection
from resources.warehouse.damage import told
from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.facts import COMPLETED
from resources.warehouse.schema import AFTER_SETTLEMENT, ROUND_TABLES

FIGURES = [name for name in EVENT_SCHEMA if name not in TEXT_COLUMNS]
FRESH = ("fresh_distance", "fresh_standard_error")

Recompute = Callable[["_RoundAuditor", pl.DataFrame], pl.DataFrame]


class AuditError(OperatorError, RuntimeError):
    """Nothing was audited; the message says why."""


@dataclass(frozen=True)
class AuditedRound:
    """What the audit of one round found: the first difference, if there is one; what was ``erased`` on request and is
    therefore not compared; whether the round was ``recomputed`` as well; models that no round chose and retention ``removed``,
    whose files nobody can compare any more."""

    round_id: str
    difference: Difference | None
    erased: tuple[str, ...]
    recomputed: bool
    removed: tuple[str, ...] = ()


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
        raise AuditError(f"CROWD_HOME={settings.home}: there is no warehouse.duckdb, so no round to audit.")
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
        parts.append("as its record says, but not recomputed: it builds on a round that differs")
    return f"{audited.round_id}  {'  '.join(parts)}"


class _Auditor:
    def __init__(self, settings: CrowdSettings, resources: Resources, warehouse: WarehouseResource) -> None:
        self.settings = settings
        self.warehouse = warehouse
        self.frames: FramesResource = resources.frames
        self.store: ModelStoreResource = resources.model_store
        inbox: InboxResource = resources.inbox
        self.inbox = InboxResource(warehouse=warehouse, root=inbox.root, archive=inbox.archive, segments=inbox.segments)
        self.erased_files = warehouse.query("SELECT * FROM erased_files")
        self.damaged: dict[str, str] = {}
        self.made: dict[str, tuple[CrowdSettings, Resources]] = {}
        self.committed: str | None = None
        self.removed = removed_models(warehouse)

    def run(self, expected: str, recompute: bool, found: Callable[[AuditedRound], None]) -> Audit:
        begun = self.warehouse.query("SELECT contributor_id FROM erasures WHERE status = 'begun'")
        if begun.height:
            raise AuditError(f"the erasure of {begun.item()} was interrupted: repeat it first.")
        recorded = self.warehouse.query("SELECT * FROM round_records ORDER BY round_no").to_dicts()
        records = {row["round_no"]: row for row in recorded}
        rounds, posted = [], []
        previous, model, clean = "", None, recompute
        for round_ in RoundBook(self.warehouse).settled():
            row = records.pop(round_.round_no, None)
            one = _RoundAuditor(self, round_, row, previous=previous, model=model, recompute=clean)
            audited = one.run()
            found(audited)
            rounds.append(audited)
            posted.append(one.posted)
            clean = clean and audited.difference is None
            previous, model = one.hash, round_.next_model
        heads = [json.loads(row["record"]).get("ingestions", "") for row in recorded]
        of_home = home_differences(
            self.settings,
            self.warehouse,
            self.inbox,
            self.store,
            RoundBook(self.warehouse).all(),
            [json.loads(row["record"]) for row in recorded],
            frozenset(self.removed),
        )
        taken_in = intake_differences(self.warehouse, self.inbox, [head for head in heads if head], self.erasures)
        chain = next(taken_in, None) or next(of_home, None)
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
        return self.warehouse.query("SELECT hash FROM round_records ORDER BY round_no")["hash"].to_list()

    def _ledger(self, posted: list[pl.DataFrame]) -> Difference | None:
        """The ledger as a whole, entries of all rounds and of none, against what the rounds post."""
        stored = self.warehouse.query("SELECT * FROM ledger")
        entries = pl.concat([stored.clear(), *posted])
        return first_difference("ledger", ["entry_id"], stored, entries)

    def made_with(self, record: Record) -> tuple[CrowdSettings, Resources]:
        """The settings that a round was settled with, in the places where the home lies now, and the resources made from them."""
        key = canonical(record["settings"])
        if key not in self.made:
            settings = self.settings.of_record(record["settings"])
            self.made = {key: (settings, build_resources(settings))}  # of the last round alone: most have the same
        return self.made[key]

    def damage(self, model: str) -> str:
        """What is wrong with the files of a stored model; empty if nothing is."""
        if model not in self.damaged:
            try:
                self.store.verify_stored(model)
                self.damaged[model] = ""
            except (DamagedModelError, OSError) as problem:
                self.damaged[model] = str(problem)
        return self.damaged[model]

    def erasures(self, path: UPath, before: str, now: str) -> str | None:
        """The recorded erasures that led a file from one hash to another; None if none did."""
        name = "/".join(path.parts[-2:])  # a home may have been moved since
        of_file = self.erased_files.filter(pl.col("uri").str.ends_with(name)).sort("erasure_id")
        ids, reached = [], before
        for erasure_id, digest_before, digest_after in of_file.select(
            "erasure_id", "digest_before", "digest_after"
        ).iter_rows():
            if digest_before == reached:
                reached = digest_after
                ids.append(erasure_id)
        return ", ".join(ids) if ids and reached == now else None


class _RoundAuditor:
    """One round against its record, and against what the mechanisms make of it.

    Args:
        row: Of ``round_records``; None where there is none.
        previous: Hash of the record before.
        model: What the round before ended with.
        recompute: Whether everything before was as it should be, so that it can be built on.
    """

    def __init__(
        self,
        of: _Auditor,
        round_: Round,
        row: dict[str, Any] | None,
        *,
        previous: str,
        model: str | None,
        recompute: bool,
    ) -> None:
        self._warehouse, self._frames, self._of = of.warehouse, of.frames, of
        self._round, self._row, self._previous, self._model, self._recompute = round_, row, previous, model, recompute
        self._erased: dict[str, None] = {}
        self._removed: list[str] = []
        self.hash = row["hash"] if row else previous
        self.posted = pl.DataFrame()

    def run(self) -> AuditedRound:
        difference = next(self._differences(), None)
        return AuditedRound(
            self._round.round_id, difference, tuple(self._erased), self._recompute, tuple(self._removed)
        )

    def _differences(self) -> Iterator[Difference]:
        """Differences in the order of a round: what comes after the first may follow from it."""
        round_id = self._round.round_id
        if self._row is None:
            yield Difference("round_records", round_id, "record", "none", "one of every settled round", BY_RECORD)
            return
        yield from self._chain(self._row)
        record: Record = json.loads(self._row["record"])
        yield from self._key(record)
        self._recorded = frozenset(record["tables"])
        self._made_by_this_version = "cards" in record
        yield from self._rows("rounds", record)
        for name, recorded in record["frames"].items():
            yield from self._file(f"frame {name}", self._frames.path(name, frame_key(record, name)), recorded)
        for name, recorded in record["segments"].items():
            yield from self._file(f"segment {name}", UPath(self._of.inbox.segments, name), recorded)
        self._settings, resources = self._of.made_with(record)
        self._embedder: EmbedderResource = resources.embedder
        yield from self._models(record, resources.trainer)
        yield from self._lineages()
        self._aim = target.read_target(self._frames, record["target"])
        for name, (key, again) in CHECKS.items():
            if name in ROUND_TABLES and name not in record["tables"] and name not in AFTER_SETTLEMENT:
                continue  # a table that came after the round was settled
            changed = next(self._rows(name, record), None) if name in record["tables"] else None
            named = None
            if self._recompute and again is not None:
                try:
                    named = self._recomputed(name, key, again)
                except Exception:
                    if changed is None:
                        raise  # else: rows that were changed need not be any that can be computed with
            yield from filter(None, [named or changed])
        yield from self._published()
        yield from self._assigned()
        if self._recompute:
            models = zip(("base_model", "next_model"), settlement.models_of(self._round, self._warehouse), strict=True)
            for column, model in (*models, ("base_model", self._model)):
                if getattr(self._round, column) != model:
                    stored = getattr(self._round, column)
                    yield Difference("rounds", round_id, column, str(stored), str(model), BY_RECOMPUTATION)

    def _chain(self, row: dict[str, Any]) -> Iterator[Difference]:
        round_id = self._round.round_id
        if row["previous_hash"] != self._previous:
            stored, expected = row["previous_hash"] or "none", self._previous or "none"
            yield Difference("round_records", round_id, "previous_hash", stored, expected, BY_RECORD)
        if (hashed := chained(row["previous_hash"], row["record"])) != row["hash"]:
            yield Difference("round_records", round_id, "hash", row["hash"], hashed, BY_RECOMPUTATION)

    def _key(self, record: Record) -> Iterator[Difference]:
        """The key by which the round drew is the recorded one, and the one that the record before spoke of."""
        where, (key, said) = self._round.round_id, (record.get("key"), record.get("next_commitment"))
        for column, stored, recorded in (
            ("key", self._round.key, key),
            ("next_commitment", self._round.next_commitment, said),
        ):
            if stored != recorded:
                yield Difference("round_keys", where, column, str(stored or "none"), str(recorded or "none"), BY_RECORD)
        if key and self._of.committed and commitment(key) != self._of.committed:
            yield Difference("round_keys", where, "key", commitment(key), self._of.committed, BY_RECORD)
        self._of.committed = said

    def _rows(self, table: str, record: Record) -> Iterator[Difference]:
        with self._warehouse.connect() as connection:
            rows = rows_of(connection, table, self._round.round_no)
        stored = column_hashes(rows)
        for column, expected in record["tables"][table].items():
            if (table, column) == ("published_lots", "prompt") and ERASED in rows["prompt"]:
                self._erased["prompts of lots"] = None
            elif stored[column] != expected:
                yield Difference(table, self._round.round_id, column, stored[column], expected, BY_RECORD)

    def _file(self, where: str, path: UPath, recorded: Record) -> Iterator[Difference]:
        """Every figure as it was, and texts as they were or as recorded erasures left them."""
        columns = recorded["columns"]
        try:
            data = path.read_bytes()
            if file_hash(data) == recorded["file"]:
                return
            stored = column_hashes(parsed_parquet(data))
        except (OSError, pl.exceptions.PolarsError) as problem:
            yield Difference(where, self._round.round_id, "file", str(problem)[:120], recorded["file"], BY_RECORD)
            return
        changed = [name for name in columns | stored if stored.get(name) != columns.get(name)]
        changed.sort(key=TEXT_COLUMNS.__contains__)
        erasures = self._of.erasures(path, recorded["file"], file_hash(data))
        if not changed and not erasures:
            yield Difference(where, self._round.round_id, "file", file_hash(data), recorded["file"], BY_RECORD)
            return
        if erasures and (not changed or changed[0] in TEXT_COLUMNS):
            self._erased[f"texts of {where} ({erasures})"] = None
            return
        now, then = (hashes.get(changed[0], "none") for hashes in (stored, columns))
        yield Difference(where, self._round.round_id, changed[0], now, then, BY_RECORD)

    def _models(self, record: Record, trainer: TrainerResource) -> Iterator[Difference]:
        aligned = self._warehouse.read_round("alignments", self._round.round_no)["model"].drop_nulls()
        for model in sorted({*record["models"], *aligned}):  # earlier records name no aligned model that was not kept
            if model in self._of.removed:
                self._removed.append(model)
            elif problem := self._of.damage(model):
                yield Difference("models", model, "files", problem, model, BY_RECORD)
        for name, stored in (("root", trainer.root_identity()), ("phi", self._embedder.identity)):
            if stored != record[name]:
                yield Difference("models", name, "files", stored, record[name], BY_RECORD)

    def _lineages(self) -> Iterator[Difference]:
        """Cards name the models that theirs were trained from: candidates from the base, the aligned one from the winner."""
        begun = self._round.base_model
        chosen = self._warehouse.read_round("selections", self._round.round_no).filter("selected")["model"]
        aligned = self._warehouse.read_round("alignments", self._round.round_no)["model"]
        parents = dict.fromkeys(self._warehouse.read_round("candidates", self._round.round_no)["model"], begun)
        parents |= {model: chosen[0] if len(chosen) else begun for model in aligned if model is not None}
        for model, parent in parents.items():
            if model in self._of.removed:
                continue
            try:
                stored = self._of.store.card(model)["parent"]
            except (DamagedModelError, OSError, KeyError) as problem:
                yield Difference("models", model, "card.json", str(problem)[:120], "a card", BY_RECORD)
                continue
            if stored != parent:
                yield Difference("models", model, "parent", str(stored), str(parent), BY_RECOMPUTATION)

    def _published(self) -> Iterator[Difference]:
        """Tasks in the outbox are those of the table, with the texts that were bought; erased ones are gone from it."""
        if self._round.status != COMPLETED or self._round.reason is not None:
            return
        where = f"outbox {COMPARISON_TASKS}"
        rows = self._warehouse.read_round("comparison_tasks", self._round.round_no)
        gone = set(self._warehouse.query("SELECT comparison_id FROM withdrawn_comparisons")["comparison_id"])
        texts = completed(self._frames.read("validated_feedback", self._round.round_id))
        answers = {
            event_id: tuple(rest)
            for event_id, *rest in texts.select("event_id", "prompt", "messages", "response").iter_rows()
        }
        path = self._of.settings.outbox_path / COMPARISON_TASKS / f"{self._round.round_id}.jsonl"
        try:
            tasks = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
            stored = {task["comparison_id"]: task for task in tasks}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            yield Difference(where, self._round.round_id, "file", str(problem)[:120], "the published tasks", BY_RECORD)
            return
        expected = {}
        for comparison_id, first, second in rows.select("comparison_id", "event_id_a", "event_id_b").iter_rows():
            if not {first, second} <= answers.keys():
                yield Difference(where, comparison_id, "event_id", f"{first} {second}", "two valid bids", BY_RECORD)
                continue
            prompt, messages, response_a = answers[first]
            if comparison_id in gone or says_erased(prompt, messages, response_a, answers[second][2]):
                continue
            task: dict[str, Any] = {"prompt": prompt, "response_a": response_a, "response_b": answers[second][2]}
            if messages is not None:
                task["messages"] = json.loads(messages)
            expected[comparison_id] = task
        for comparison_id in sorted(stored.keys() | expected.keys()):
            if comparison_id in gone:
                continue
            there, should = stored.get(comparison_id), expected.get(comparison_id)
            if there is None or should is None:
                words = ("a task", "no task") if there else ("no task", "a task")
                yield Difference(where, comparison_id, "comparison_id", *words, BY_RECOMPUTATION)
                continue
            for column, text in should.items():
                if there.get(column) != text:  # no text of contributors in what an audit prints
                    yield Difference(where, comparison_id, column, "another text", "the text bought", BY_RECOMPUTATION)
        if self._made_by_this_version and expected.keys() == set(rows["comparison_id"]):
            yield from self._audits()

    def _audits(self) -> Iterator[Difference]:
        """Comparisons are drawn for an audit by the round's key, in the order in which they were published."""
        tasks = procurement.tasks_of(self._round, self._warehouse.read_round("awards", self._round.round_no))
        published = tasks.select("comparison_id").to_dicts()
        path = self._of.settings.outbox_path / AUDITS / f"{self._round.round_id}.jsonl"
        drawn = audited_of(published, self._settings.audit_share, generator_for(self._round, "audits"))
        try:
            stored = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        except FileNotFoundError:
            stored = []
        except (OSError, ValueError):
            stored = [{}]
        if stored != drawn:
            where = f"outbox {AUDITS}"
            yield Difference(where, self._round.round_id, "comparison_id", "others", "those drawn", BY_RECOMPUTATION)

    def _assigned(self) -> Iterator[Difference]:
        """Assignments in the outbox are those of the table, with the texts of their comparisons; erased ones are gone from it."""
        rows = self._warehouse.read_round("assignments", self._round.round_no)
        if self._round.status != COMPLETED or rows.is_empty():
            return
        where = f"outbox {assignment.ASSIGNMENTS}"
        path = self._of.settings.outbox_path / assignment.ASSIGNMENTS / f"{self._round.round_id}.jsonl"
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
            stored = {line["comparison_id"]: line for line in lines}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            yield Difference(where, self._round.round_id, "file", str(problem)[:120], "the assignments", BY_RECORD)
            return
        again = assignment.lines_of(rows, self._round, self._warehouse, self._frames)
        expected = {line["comparison_id"]: line for line in again}
        for name in sorted(stored.keys() | expected.keys()):
            if stored.get(name) != expected.get(name):  # no text of contributors in what an audit prints
                words = ("another line" if name in stored else "no line", "the line" if name in expected else "no line")
                yield Difference(where, name, "comparison_id", *words, BY_RECOMPUTATION)

    def _recomputed(self, name: str, key: tuple[str, ...], again: Recompute) -> Difference | None:
        is_frame = name not in ROUND_TABLES and name != "ledger"
        if is_frame:
            stored = self._frames.read(name, self._round.round_id)
        else:
            stored = self._warehouse.read_round(name, self._round.round_no)
        expected = again(self, stored)
        return first_difference(f"frame {name}" if is_frame else name, key, stored, expected)

    # What a table or frame should hold, given what it holds: what cannot be recomputed is taken as it is.

    def _validated_feedback(self, stored: pl.DataFrame) -> pl.DataFrame:
        """The round's events but for those in quarantine, and those that were erased before it began."""
        round_ = self._round
        paths = self._of.inbox.segment_paths(round_.from_seq, round_.to_seq).values()
        events = pl.concat([completed(read_parquet(path)) for path in paths])
        events = asked.with_asked(events, round_.round_no, self._settings, self._warehouse, [])
        rejected = self._warehouse.query(
            "SELECT event_id FROM rejected_feedback WHERE round_no = $n AND stage = 'gate'", {"n": round_.round_no}
        )
        erased = is_erased() & ~pl.col("seq").is_in(stored["seq"].implode())
        return (
            events.filter(pl.col("seq").is_between(round_.from_seq, round_.to_seq), ~erased)
            .join(rejected, on="event_id", how="anti")
            .select("seq", *(name for name in FIGURES if name in stored.columns))
        )

    def _labeler_weights(self, stored: pl.DataFrame) -> pl.DataFrame:
        return labelers.weights_after(self._round, self._settings, self._warehouse, self._frames)[0]

    def _labeler_states(self, stored: pl.DataFrame) -> pl.DataFrame:
        return labelers.states_after(
            labelers.weights_after(self._round, self._settings, self._warehouse, self._frames)[1]
        )

    def _judgement_pay(self, stored: pl.DataFrame) -> pl.DataFrame:
        learnt = labelers.weights_after(self._round, self._settings, self._warehouse, self._frames)[1]
        return judging.pay_of(self._round, self._settings, self._warehouse, self._frames, learnt)

    def _aggregated_preferences(self, stored: pl.DataFrame) -> pl.DataFrame:
        return labelers.aggregated(self._round, self._settings, self._warehouse, self._frames).drop(
            TEXT_COLUMNS, strict=False
        )

    def _contributor_groups(self, stored: pl.DataFrame) -> pl.DataFrame:
        return groups_of(self._round, self._settings, self._warehouse, self._frames, self._aim).drop("key")

    def _candidate_members(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Who trained which candidate; what one learnt from earlier rounds, as far as no text of theirs was erased since."""
        groups = self._warehouse.read_round("contributor_groups", self._round.round_no)
        members = members_of_candidates(self._round, self._settings, self._warehouse, self._frames, groups)
        erased = learnt_from(self._round, self._settings, self._warehouse, self._frames, erased=True)
        gone = members["contributor_id"].is_in(erased["contributor_id"].implode())
        if gone.any():
            self._erased["how many demonstrations candidates learnt from, of contributors whose texts are gone"] = None
        held = members.join(stored, on=["group_index", "contributor_id"], how="left", maintain_order="left")
        return members.with_columns(
            demonstrations=pl.when(gone).then(held["demonstrations_right"]).otherwise(pl.col("demonstrations"))
        )

    def _candidates(self, stored: pl.DataFrame) -> pl.DataFrame:
        table = "candidate_members" if "candidate_members" in self._recorded else "contributor_groups"
        members = self._warehouse.read_round(table, self._round.round_no)
        return members.group_by("group_index").agg(contributors=pl.len(), demonstrations=pl.col("demonstrations").sum())

    def _selections(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Ranks by distance, at most the best selected, distances on the fresh sample by what was written there."""
        candidates = stored.filter(pl.col("role") == "candidate").sort("group_index")
        ranks = rank_of(candidates["distance"].to_numpy())
        refused = self._warehouse.read_round("guard_verdicts", self._round.round_no).filter(pl.col("refused") != "")
        may_win = ~candidates["group_index"].is_in(refused["group_index"].implode()).to_numpy()
        best = -1
        if candidates["selected"].any() and may_win.any():
            best = candidates["group_index"][int(np.argmin(np.where(may_win, ranks, ranks.size)))]
        base, winner = (self._fresh("generations", column) for column in ("base", "winner"))
        rows = []
        for row in stored.iter_rows(named=True):
            selected, rank = row["group_index"] == best, None
            fresh = base if row["role"] == "base" else winner if selected else (None, None)
            if row["role"] == "candidate":
                rank = int(ranks[candidates["group_index"].index_of(row["group_index"])])
            row |= {"rank": rank, "selected": selected}
            if fresh is not None:
                row |= dict(zip(FRESH, fresh, strict=True))
            rows.append(row)
        return pl.DataFrame(rows, schema=stored.schema)

    def _alignments(self, stored: pl.DataFrame) -> pl.DataFrame:
        judged = self._frames.read("aggregated_preferences", self._round.round_id)
        training, held_out = selection.preference_pairs(judged, self._round, self._settings)
        row = stored.row(0, named=True)
        measured = [row[name] for name in ("accuracy_before", "accuracy_after", "distance_before", "distance_after")]
        blocked = bool(self._settings.gate_command) and (row["reason"] or "").startswith(BLOCKED)
        kept = row["model"] is not None and selection.is_better(*measured) and not blocked
        row |= {"pairs": len(training), "held_out": len(held_out), "kept": kept}
        fresh = self._fresh("aligned_generations", "aligned") if kept else (None, None)
        if fresh is not None:
            row |= dict(zip(FRESH, fresh, strict=True))
        return pl.DataFrame([row], schema=stored.schema)

    def _fresh(self, frame: str, column: str) -> tuple[float, float] | None:
        """Target distance of what a model wrote on the fresh sample, and its standard error; None where some is erased."""
        texts = self._frames.read(frame, self._round.round_id)[column].to_list()
        if ERASED in texts:
            self._erased[f"distances on the fresh sample of {frame}"] = None
            return None
        distance = mean_distance(self._embedder.embed(texts), self._aim.vector)
        return distance.mean, distance.standard_error

    def _contributor_embeddings(self, stored: pl.DataFrame) -> pl.DataFrame:
        valid = self._frames.read("validated_feedback", self._round.round_id)
        gone = valid.filter(pl.col("response") == ERASED)["contributor_id"].unique().implode()
        erased = pl.col("contributor_id").is_in(gone)
        if stored.filter(erased).height:
            self._erased["embeddings of contributors whose texts are gone"] = None
        again = contributions.embedded(valid, self._embedder)
        return pl.concat([again.filter(~erased), stored.filter(erased)])

    def _contributions(self, stored: pl.DataFrame) -> pl.DataFrame:
        base = self._frames.read("generations", self._round.round_id)["base"]
        if self._settings.shapley_method == "centroid" and ERASED in base:
            self._erased["Shapley values"] = None
            return stored
        written = self._frames.read(EMBEDDED_CONTRIBUTORS, self._round.round_id)
        again, _ = contributions.values_of(
            self._round, self._settings, self._warehouse, self._frames, self._embedder, self._aim, written
        )
        return again

    @cached_property
    def _estimates(self) -> EpochSoFar:
        return points.estimates_of(self._round, self._settings, self._warehouse, self._frames, self._aim)

    def _contributor_estimates(self, stored: pl.DataFrame) -> pl.DataFrame:
        return self._estimates.estimates

    def _contributor_points(self, stored: pl.DataFrame) -> pl.DataFrame:
        return self._estimates.points

    def _epochs(self, stored: pl.DataFrame) -> pl.DataFrame:
        return self._estimates.epoch

    def _awards(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Qualities by the texts, and the auction by the qualities as they are."""
        bids = procurement.bids_of(self._round, self._settings, self._warehouse, self._frames)
        held = bids.join(stored.select("event_id", "quality"), on="event_id", how="left", maintain_order="left")[
            "quality"
        ]
        if held.null_count():
            return bids.select("event_id", "contributor_id", "lot_id")  # an award is missing
        again = procurement.awards_of(self._round, self._settings, bids, held.to_numpy())
        quality = procurement.verified_quality(bids["response"].to_list(), self._aim, self._embedder)
        erased = bids["response"] == ERASED
        if erased.any():
            self._erased[f"qualities of {erased.sum()} bids"] = None
        return again.with_columns(quality=pl.Series(np.where(erased.to_numpy(), held.to_numpy(), quality)))

    def _ledger(self, stored: pl.DataFrame) -> pl.DataFrame:
        corrections = CorrectionBook(self._warehouse).of_round(self._round.round_no)
        entries = settlement.entries_of(
            self._round, self._settings, self._warehouse, self._estimates.points, corrections
        )
        number = pl.lit(self._round.round_no, pl.Int32)
        self.posted = settlement.as_frame(entries).with_columns(round_no=number).select(stored.columns)
        return self.posted

    def _comparison_tasks(self, stored: pl.DataFrame) -> pl.DataFrame:
        published = self._round.status == COMPLETED and self._round.reason is None
        if stored.is_empty() and not published:
            return stored
        return procurement.tasks_of(self._round, self._warehouse.read_round("awards", self._round.round_no))

    def _labeler_standings(self, stored: pl.DataFrame) -> pl.DataFrame:
        learnt = labelers.weights_after(self._round, self._settings, self._warehouse, self._frames)[1]
        return standing.standings_after(self._round, self._settings, self._warehouse, self._frames, learnt)

    def _agreement_figures(self, stored: pl.DataFrame) -> pl.DataFrame:
        return agreement.figures_of_round(self._round, self._warehouse, self._frames)

    def _assignments(self, stored: pl.DataFrame) -> pl.DataFrame:
        published = self._round.status == COMPLETED and self._round.reason is None
        if stored.is_empty() and not published:
            return stored
        return assignment.assignments_of(self._round, self._settings, self._warehouse, self._frames)


CHECKS: dict[str, tuple[tuple[str, ...], Recompute | None]] = {
    "published_lots": ((), None),
    "rejected_feedback": ((), None),
    "validated_feedback": (("seq",), _RoundAuditor._validated_feedback),
    "quality_verdicts": ((), None),
    "quality_findings": ((), None),
    "quality_contributors": ((), None),
    "rings": ((), None),
    "labeler_weights": (("labeler_id",), _RoundAuditor._labeler_weights),
    "labeler_states": (("labeler_id", "figure"), _RoundAuditor._labeler_states),
    "labeler_decisions": ((), None),
    "agreement_figures": (("figure",), _RoundAuditor._agreement_figures),
    "labeler_standings": (("labeler_id",), _RoundAuditor._labeler_standings),
    "judgement_pay": (("labeler_id",), _RoundAuditor._judgement_pay),
    "aggregated_preferences": (("comparison_id",), _RoundAuditor._aggregated_preferences),
    "contributor_groups": (("contributor_id",), _RoundAuditor._contributor_groups),
    "candidate_members": (("group_index", "contributor_id"), _RoundAuditor._candidate_members),
    "candidates": (("group_index",), _RoundAuditor._candidates),
    "contributor_values": ((), None),
    "selections": (("role", "group_index"), _RoundAuditor._selections),
    "guard_verdicts": ((), None),
    "corrections": ((), None),
    "alignments": (("round_no",), _RoundAuditor._alignments),
    EMBEDDED_CONTRIBUTORS: (("contributor_id",), _RoundAuditor._contributor_embeddings),
    "contributions": (("contributor_id",), _RoundAuditor._contributions),
    "contributor_estimates": (("contributor_id",), _RoundAuditor._contributor_estimates),
    "contributor_points": (("earned_in_round", "contributor_id"), _RoundAuditor._contributor_points),
    "epochs": (("first_round_no",), _RoundAuditor._epochs),
    "awards": (("event_id",), _RoundAuditor._awards),
    "ledger": (("entry_id",), _RoundAuditor._ledger),
    "comparison_tasks": (("comparison_id",), _RoundAuditor._comparison_tasks),
    "assignments": (("assignment_id",), _RoundAuditor._assignments),
}
"""Tables and frames of a round, each behind what it is computed from: its key, and what recomputes it."""
