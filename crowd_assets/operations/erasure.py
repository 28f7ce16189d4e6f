"""A contributor's texts are erased on request: out of every file and table, while ids, points and payments stay.

What was written is replaced by ``feedback.ERASED``; who took part, what was paid and what was judged is kept, so the
ledger stays balanced. Models that were trained on the texts cannot unlearn them: the record names them.

Belongs here: finding the texts, the order of the steps, the record. Does not belong here: a file without the texts (see
``erased_files``), refusing the texts when they come back (see ``resources.feedback.inbox``), settled rounds that cannot be repeated (see ``resources.rounds.book``).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl
from upath import UPath

from crowd_assets.mechanisms.ledger import contributor_account, deposit_account
from crowd_assets.operations.erased_files import WRITTEN, Rewrite, Without
from crowd_assets.quality.detectors.personal import masked
from crowd_assets.round.lots import LOTS
from resources.build import Resources
from resources.common.errors import OperatorError
from resources.common.hashes import file_hash
from resources.feedback.aliases import names_of
from resources.feedback.events import ERASED, completed
from resources.feedback.inbox import ASSIGNMENTS, COMPARISON_TASKS, InboxResource, OutboxResource, check_key
from resources.feedback.pseudonyms import KEY_VARIABLE, HomePseudonyms
from resources.files.frames import read_parquet
from resources.files.storage import files_below, write_bytes_atomically
from resources.models.store import ModelStoreResource
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource, as_stored, fetch_row
from resources.warehouse.connection import Connection
from resources.warehouse.facts import BEGUN_ERASURE, IS_OPEN

QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class ErasureError(OperatorError, RuntimeError):
    """Nothing was erased; the message says what to do first."""


class _NobodyError(ErasureError):
    """The home has nothing of anybody of that name."""


@dataclass(frozen=True)
class Erasure:
    """What was erased.

    Attributes:
        erasure_id: of the record in the table ``erasures``; empty where there was nothing left to erase.
        contributor_id: as the home knows the contributor.
        events: the contributor's events.
        files: files that were rewritten.
        withdrawn: comparisons that held a text of the contributor: no judgement of them is taken any more.
        trained_on: models whose training saw the texts.
        descended: models that were made from those.
        at_desk: texts, drafts and appeals that the desk kept.
        unlinked: what the contributor held when the link to the name was destroyed, in words; empty where it was not.
    """

    erasure_id: str
    contributor_id: str
    events: int = 0
    files: int = 0
    withdrawn: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    descended: tuple[str, ...] = ()
    at_desk: int = 0
    unlinked: str = ""


def erase(
    contributor: str,
    reason: str,
    settings: CrowdSettings,
    resources: Resources,
    *,
    identifier: bool = False,
    at_desk: Callable[[Sequence[str]], int] = lambda names: 0,
) -> Erasure:
    """Erase the texts of a contributor. Interrupted anywhere, the same call again finishes; after that it does nothing.

    Args:
        contributor: one of the person's names, or the pseudonym of one.
        reason: who asked and why, for the record, which keeps it as it is.
        resources: Of the home.
        identifier: Whether the link between the name and its pseudonym is destroyed as well. What the pseudonym stands in stays,
            so ledger and records are as they were; who sends something under the name again is somebody else.
        at_desk: Erases what a desk keeps of a person, by the person's names in the home, and says how many texts: asked before a link
            is destroyed, and where the home itself knows nobody of that name.

    Raises:
        ErasureError: a round is open, nobody of that name took part, or the home cannot destroy the link.
        PseudonymKeyError: the home was begun with another key.
    """
    eraser = _Eraser(contributor, settings, resources, at_desk)
    if not identifier:
        return eraser.run(reason)
    eraser.check_drawn()
    found = eraser.run(reason)
    return replace(found, unlinked=eraser.unlink(reason))


def places_of(contributor: str, settings: CrowdSettings, resources: Resources) -> dict[str, int]:
    """Files of a home that hold texts of a contributor, or what came along with them, and in how many places."""
    return _Eraser(contributor, settings, resources, lambda names: 0).places()


class _Eraser:
    def __init__(
        self,
        contributor: str,
        settings: CrowdSettings,
        resources: Resources,
        at_desk: Callable[[Sequence[str]], int],
    ) -> None:
        self._given = contributor
        self._settings = settings
        self._warehouse: WarehouseResource = resources.warehouse
        self._pseudonyms = HomePseudonyms.of_home(self._warehouse)
        self._name, self._names = "", [""]
        self._at_desk = at_desk
        self._inbox: InboxResource = resources.inbox
        self._outbox: OutboxResource = resources.outbox
        self._store: ModelStoreResource = resources.model_store
        self._texts: frozenset[str] = frozenset()
        self._withdrawn: frozenset[str] = frozenset()

    def check_drawn(self) -> None:
        """Refuse to destroy a link that is none, before anything is erased."""
        if not self._pseudonyms.keyed:
            raise ErasureError(
                "this home keeps contributors by the names that contributors gave, and the chain of records vouches for the names: names cannot go. "
                f"Leave --identifier out; a home that is begun with {KEY_VARIABLE} can erase names."
            )
        if not self._pseudonyms.drawn_here:
            raise ErasureError(
                f"this home was begun before pseudonyms were drawn: each pseudonym follows from the name and {KEY_VARIABLE}, and only without that key nobody can tell whose a pseudonym is. Leave --identifier out; a new home draws pseudonyms."
            )

    def unlink(self, reason: str) -> str:
        """Destroy the links between the person's names and their pseudonyms; what the person holds."""
        accounts = [account(name) for name in self._names for account in (contributor_account, deposit_account)]
        with self._warehouse.transaction() as connection:
            linked = connection.execute(
                "SELECT pseudonym FROM pseudonyms WHERE pseudonym = ANY($who) ORDER BY pseudonym", {"who": self._names}
            ).fetchall()
            connection.execute("DELETE FROM pseudonyms WHERE pseudonym = ANY($who)", {"who": self._names})
            for (name,) in linked:
                connection.execute(
                    "INSERT INTO erased_identifiers VALUES ($who, $reason, $now) ON CONFLICT DO NOTHING",
                    {"who": name, "reason": reason, "now": as_stored(datetime.now(UTC))},
                )
            held = connection.execute(
                "SELECT unit, sum(amount) FROM ledger WHERE account = ANY($accounts) GROUP BY unit ORDER BY unit",
                {"accounts": accounts},
            ).fetchall()
        self._warehouse.compact()
        self._warehouse.publish_snapshot()
        if not linked:
            return ""
        amounts = [f"{amount.normalize():f} {unit}s" for unit, amount in held]
        return f"the pseudonym holds {' and '.join(amounts) or 'nothing'}"

    def run(self, reason: str) -> Erasure:
        self._inbox.ingest()  # what has arrived is erased, too
        self._look_up()
        segments = _files(UPath(self._inbox.segments), ".parquet")
        self._texts, left = self._own_texts(segments)
        try:
            erasure = self._plan(left)
        except _NobodyError:
            if at_desk := self._at_desk(self._names):
                return Erasure("", self._given, at_desk=at_desk)
            raise
        if erasure is None:
            return Erasure("", self._name, at_desk=self._at_desk(self._names))
        erasure_id = self._begin(erasure, reason)
        at_desk = self._at_desk(self._names)
        for path, erased in self._elsewhere(segments):
            self._rewrite(erasure_id, path, erased)
        self._erase_excerpts(erasure_id)
        self._close_lots()
        for path in segments:  # last: until then an interrupted erasure finds here what to look for elsewhere
            self._rewrite(erasure_id, path, self._without.frame)
        return self._end(erasure_id, replace(erasure, at_desk=at_desk))

    def _look_up(self) -> None:
        """Whom the home knows by the name, also as what was in the inbox has brought it."""
        self._pseudonyms = HomePseudonyms.of_home(self._warehouse)
        self._names = names_of(self._warehouse, self._given)
        self._name = self._names[0]

    def places(self) -> dict[str, int]:
        """Files that hold something to erase, and in how many places; nothing is changed."""
        self._look_up()
        segments = _files(UPath(self._inbox.segments), ".parquet")
        self._texts, _ = self._own_texts(segments)
        self._withdrawn = self._sold()
        found = {}
        for path, erased in [*((path, self._without.frame) for path in segments), *self._elsewhere(segments)]:
            if places := erased(path.read_bytes())[1]:
                found[str(path)] = places
        return found

    @property
    def _without(self) -> Without:
        """What files are without the texts that are known by now."""
        return Without(self._names, self._texts, self._withdrawn, self._settings.max_parquet_mib << 20)

    def _elsewhere(self, segments: list[UPath]) -> Iterator[tuple[UPath, Rewrite]]:
        """Files that may hold a text, but for the segments, and what each is without them."""
        for path in _files(self._settings.frames_path, ".parquet"):
            if path not in segments:
                yield path, self._without.frame
        for path in _files(UPath(self._inbox.archive), ".jsonl", ".parquet"):
            yield path, self._without.arrived_frame if path.suffix == ".parquet" else self._without.lines
        for path in (*self._outbox.files(COMPARISON_TASKS), *self._outbox.files(ASSIGNMENTS)):
            yield path, self._without.tasks
        for path in self._outbox.files(LOTS):
            yield path, self._without.lots
        for path in _files(self._settings.path("quality"), ".html", ".json", ".md"):
            yield path, self._without.page
        for path in _files(self._settings.reports_path, ".html", ".json"):
            yield path, self._without.report

    def _sold(self) -> frozenset[str]:
        """Comparisons that hold an answer of the contributor."""
        rows = self._warehouse.query(
            "SELECT DISTINCT comparison_id FROM comparison_tasks JOIN event_index ON event_id IN (event_id_a, event_id_b) "
            "WHERE contributor_id = ANY($who)",
            {"who": self._names},
        )
        sold = rows["comparison_id"].to_list()
        assigned = self._warehouse.query(
            "SELECT assignment_id FROM assignments WHERE comparison_id = ANY($sold)", {"sold": sold}
        )
        return frozenset((*sold, *assigned["assignment_id"]))

    def _own_texts(self, segments: list[UPath]) -> tuple[frozenset[str], int]:
        """What the contributor wrote and nobody else did (a text that others wrote as well is theirs, too), also as it is
        with personal data masked; and how many events of the contributor still hold something."""
        mine: set[str] = set()
        others: set[str] = set()
        left = 0
        own = pl.col("contributor_id").is_in(self._names)
        asked = self._warehouse.query("SELECT lot_id, prompt AS asked FROM published_lots")
        for path in segments:
            rows = completed(read_parquet(path)).filter(own)
            written = rows.filter(pl.col("kind").is_in(WRITTEN), pl.col("response") != ERASED)
            for texts in (written, masked(written, self._settings.phone_region)):
                mine.update(_own_prompts(texts, asked), texts["response"])
            left += written.height + rows.filter(pl.col("kind") == "preference", pl.col("payload") != "").height
        for path in segments:
            rows = completed(read_parquet(path)).filter(~own, pl.col("kind").is_in(WRITTEN))
            for texts in (rows, masked(rows, self._settings.phone_region)):
                for column in (_own_prompts(texts, asked), texts["response"]):
                    others.update(column.filter(column.is_in(list(mine))))
        return frozenset(mine - others - {ERASED}), left

    def _plan(self, left: int) -> Erasure | None:
        """What there is to erase; None where there is nothing any more."""
        who = {"who": self._names}
        self._withdrawn = self._sold()
        with self._warehouse.connect() as connection:
            check_key(connection, self._pseudonyms, as_stored(datetime.now(UTC)))
            (events,) = fetch_row(connection, "SELECT count(*) FROM event_index WHERE contributor_id = ANY($who)", who)
            candidates = connection.execute(
                "SELECT DISTINCT c.model FROM candidates c JOIN contributor_groups g USING (round_no, group_index) "
                "WHERE g.contributor_id = ANY($who)",
                who,
            ).fetchall()
            aligned = connection.execute(
                "SELECT round_id, a.model FROM alignments a JOIN rounds USING (round_no) WHERE a.model IS NOT NULL"
            ).fetchall()
            models = connection.execute(
                "SELECT model FROM candidates UNION SELECT model FROM alignments WHERE model IS NOT NULL"
            ).fetchall()
            before = fetch_row(
                connection, "SELECT status FROM erasures WHERE contributor_id = ANY($who) ORDER BY status LIMIT 1", who
            )
            mentioned = self._mentions(connection)
        if before == ("done",) and not left and not mentioned:
            return None
        if not before and not events and not mentioned:
            if begun := self._begun():
                raise ErasureError(f"the erasure of {begun} was interrupted: repeat that erasure first, by that name.")
            raise _NobodyError(f"{self._given} is no contributor of this home ({self._settings.home}).")
        trained_on = {model for (model,) in candidates}
        trained_on |= {model for round_id, model in aligned if self._judged_in(round_id)}
        descended = {model for (model,) in models if trained_on & set(self._lineage(model))} - trained_on
        withdrawn, trained, made_from = (tuple(sorted(each)) for each in (self._withdrawn, trained_on, descended))
        return Erasure("", self._name, int(events), 0, withdrawn, trained, made_from)

    def _judged_in(self, round_id: str) -> bool:
        """Whether a withdrawn comparison was among the pairs of a round."""
        path = self._settings.frames_path / "aggregated_preferences" / f"{round_id}.parquet"
        return path.exists() and bool(read_parquet(path)["comparison_id"].is_in(list(self._withdrawn)).any())

    def _lineage(self, model: str) -> list[str]:
        try:
            return self._store.lineage(model)
        except FileNotFoundError:  # deleted since
            return []

    def _begin(self, erasure: Erasure, reason: str) -> str:
        """Write the record before anything else is written, or take up the one that an interrupted call left."""
        with self._warehouse.transaction() as connection:
            open_round = fetch_row(connection, f"SELECT round_id, status FROM rounds WHERE {IS_OPEN}")
            if open_round:
                raise ErasureError(
                    f"{open_round[0]} is {open_round[1]} and works with the texts: let the round finish (make round), then "
                    "repeat this command."
                )
            begun = fetch_row(connection, BEGUN_ERASURE)
            if begun and begun[0] != self._name:
                raise ErasureError(f"the erasure of {begun[0]} was interrupted: repeat that erasure first.")
            if begun:
                return str(begun[1])
            (number,) = fetch_row(connection, "SELECT count(*) + 1 FROM erasures")
            erasure_id = f"e{number:06d}"
            record = {
                "erasure_id": [erasure_id],
                "contributor_id": [self._name],
                "reason": [reason],
                "status": ["begun"],
                "begun_at": [as_stored(datetime.now(UTC))],
                "events": [erasure.events],
                "rejections": [0],
                "trained_on": [list(erasure.trained_on)],
                "descended": [list(erasure.descended)],
            }
            lists = {"trained_on": pl.List(pl.String), "descended": pl.List(pl.String)}
            self._warehouse.append(connection, "erasures", pl.DataFrame(record, schema_overrides=lists))
            withdrawn = pl.DataFrame({"comparison_id": erasure.withdrawn}, schema={"comparison_id": pl.String})
            self._warehouse.append(
                connection, "withdrawn_comparisons", withdrawn.with_columns(erasure_id=pl.lit(erasure_id))
            )
        return erasure_id

    def _rewrite(self, erasure_id: str, path: UPath, erased: Rewrite) -> None:
        """Replace a file if something in it is to go; its hashes before and after are on record before it is replaced."""
        before = path.read_bytes()
        after, places = erased(before)
        if not places:
            return
        row = {
            "erasure_id": [erasure_id],
            "uri": [str(path)],
            "places": [places],
            "digest_before": [file_hash(before)],
            "digest_after": [file_hash(after)],
        }
        with self._warehouse.transaction() as connection:
            incoming = self._warehouse.stage(connection, "erased_files", pl.DataFrame(row))
            connection.execute(  # of an interrupted erasure: the file is as it was, or as that call left it
                f"INSERT INTO erased_files SELECT * FROM {incoming} ON CONFLICT (erasure_id, uri) DO UPDATE SET digest_after = excluded.digest_after"
            )
        write_bytes_atomically(path, after)

    def _close_lots(self) -> None:
        """Take the contributor's texts from the table of published lots: a lot without its prompt is open to nobody."""
        with self._warehouse.transaction() as connection:
            prompts = connection.execute("SELECT DISTINCT prompt FROM published_lots").fetchall()
            for prompt in sorted({prompt for (prompt,) in prompts} & self._texts):
                connection.execute(
                    "UPDATE published_lots SET prompt = $erased WHERE prompt = $prompt",
                    {"erased": ERASED, "prompt": prompt},
                )

    def _begun(self) -> str:
        """Whose erasure was begun and not ended; empty where none was."""
        with self._warehouse.connect() as connection:
            begun = fetch_row(connection, BEGUN_ERASURE)
        return str(begun[0]) if begun else ""

    def _mentions(self, connection: Connection) -> list[tuple[str, str]]:
        """Rejected lines whose excerpt or reason may hold a text of the contributor: their ids and reasons."""
        rows = connection.execute(
            "SELECT rejection_id, reason, excerpt, contributor_id FROM rejected_feedback WHERE excerpt NOT IN ('', $erased)",
            {"erased": ERASED},
        ).fetchall()
        return [
            (rejection_id, reason)
            for rejection_id, reason, excerpt, contributor in rows
            if contributor in self._names
            or self._without.names_them(excerpt)
            or any(text.startswith(excerpt) for text in self._texts)
        ]

    def _erase_excerpts(self, erasure_id: str) -> None:
        with self._warehouse.transaction() as connection:
            mentioned = self._mentions(connection)
            for rejection_id, reason in mentioned:
                connection.execute(
                    "UPDATE rejected_feedback SET excerpt = $erased, reason = $reason WHERE rejection_id = $id",
                    {"erased": ERASED, "reason": QUOTED.sub("'…'", reason), "id": rejection_id},
                )
            connection.execute(
                "UPDATE erasures SET rejections = rejections + $rows WHERE erasure_id = $id",
                {"rows": len(mentioned), "id": erasure_id},
            )

    def _end(self, erasure_id: str, erasure: Erasure) -> Erasure:
        """Take what was deleted out of the warehouse's own file and its snapshot, then close the record."""
        self._warehouse.compact()
        with self._warehouse.transaction() as connection:
            connection.execute(
                "UPDATE erasures SET status = 'done', done_at = $now WHERE erasure_id = $id",
                {"now": as_stored(datetime.now(UTC)), "id": erasure_id},
            )
            (files,) = fetch_row(
                connection, "SELECT count(*) FROM erased_files WHERE erasure_id = $id", {"id": erasure_id}
            )
        self._warehouse.publish_snapshot()
        return replace(erasure, erasure_id=erasure_id, files=int(files))


def _own_prompts(written: pl.DataFrame, asked: pl.DataFrame) -> pl.Series:
    """Prompts of demonstrations and bids, but for those that bids repeat of the lots that the platform published."""
    beside = written.select("lot_id", "prompt").join(asked, on="lot_id", how="left", maintain_order="left")
    return beside.filter(~pl.col("prompt").eq_missing(pl.col("asked")))["prompt"]


def _files(folder: UPath, *suffixes: str) -> list[UPath]:
    return [each.path for each in files_below(folder) if each.path.suffix in suffixes]
