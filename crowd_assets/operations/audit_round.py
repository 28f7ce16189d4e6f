"""One settled round against its record: the chain, the round's key, hashes of rows and files, models and their lineages.

Belongs here: what a record vouches for. Does not belong here: what tables should hold by the mechanisms (see ``recomputation``), what was
published (see ``audit_outbox``), what no single round vouches for (see ``audit_home``, ``audit_intake``).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
from upath import UPath

from crowd_assets.operations.audit_outbox import PublishedRound
from crowd_assets.operations.differences import BY_RECOMPUTATION, BY_RECORD, Difference, first_or_unreadable
from crowd_assets.operations.recomputation import CHECKS, Recomputation
from crowd_assets.operations.retention import removed_models
from crowd_assets.round import (
    settlement,
    target,
)
from resources.build import Resources, build_resources
from resources.common.hashes import canonical, chained, file_hash
from resources.feedback.events import ERASED
from resources.feedback.inbox import InboxResource
from resources.files.frames import FramesResource, parsed_parquet
from resources.models.embedder import EmbedderResource
from resources.models.store import DamagedModelError, ModelStoreResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round
from resources.rounds.records import TEXT_COLUMNS, Record, column_hashes, frame_key, rows_of
from resources.rounds.secret import commitment
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.schema import AFTER_SETTLEMENT, ROUND_TABLES


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


class AuditedHome:
    """What the audits of all rounds of a home share: its places, and what was found once for all rounds."""

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


class RoundAuditor:
    """One round against its record, and against what the mechanisms make of it.

    Args:
        row: Of ``round_records``; None where there is none.
        previous: Hash of the record before.
        model: What the round before ended with.
        recompute: Whether everything before was as it should be, so that it can be built on.
    """

    def __init__(
        self,
        of: AuditedHome,
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
        difference = first_or_unreadable(self._differences(), self._round.round_id)
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
        yield from self._rows("rounds", record)
        for name, recorded in record["frames"].items():
            yield from self._file(f"frame {name}", self._frames.path(name, frame_key(record, name)), recorded)
        for name, recorded in record["segments"].items():
            yield from self._file(f"segment {name}", UPath(self._of.inbox.segments, name), recorded)
        settings, resources = self._of.made_with(record)
        yield from self._models(record, resources.trainer, resources.embedder)
        yield from self._lineages()
        again = Recomputation(
            round_=self._round,
            settings=settings,
            warehouse=self._warehouse,
            frames=self._frames,
            inbox=self._of.inbox,
            embedder=resources.embedder,
            aim=target.read_target(self._frames, record["target"]),
            recorded=frozenset(record["tables"]),
            erased=self._erased,
        )
        for name in CHECKS:
            if name in ROUND_TABLES and name not in record["tables"] and name not in AFTER_SETTLEMENT:
                continue  # a table that came after the round was settled
            changed = next(self._rows(name, record), None) if name in record["tables"] else None
            named = None
            if self._recompute:
                try:
                    named = again.difference(name)
                except Exception:
                    if changed is None:
                        raise  # else: rows that were changed need not be any that can be computed with
            yield from filter(None, [named or changed])
        self.posted = again.posted
        outbox = PublishedRound(self._round, settings, self._warehouse, self._frames, self._of.settings.outbox_path)
        yield from outbox.tasks(with_audits="cards" in record)  # earlier versions drew none
        yield from outbox.assignments()
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

    def _models(self, record: Record, trainer: TrainerResource, embedder: EmbedderResource) -> Iterator[Difference]:
        aligned = self._warehouse.read_round("alignments", self._round.round_no)["model"].drop_nulls()
        for model in sorted({*record["models"], *aligned}):  # earlier records name no aligned model that was not kept
            if model in self._of.removed:
                self._removed.append(model)
            elif problem := self._of.damage(model):
                yield Difference("models", model, "files", problem, model, BY_RECORD)
        for name, stored in (("root", trainer.root_identity()), ("phi", embedder.identity)):
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
