"""The audit of what a home says of itself and to others: its identity and secret, what it published, words of rejections, cards.

Belongs here: comparing. Does not belong here: what a round computes (see ``audit``), what was taken in (see ``audit_intake``).
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from crowd_assets.operations.audit_outbox import published_lines
from crowd_assets.operations.differences import BY_RECOMPUTATION, BY_RECORD, Difference
from crowd_assets.quality.detectors import masked
from crowd_assets.round.asked import with_asked
from crowd_assets.round.lots import LOTS
from crowd_assets.round.randomness import KEYS, shown_keys
from resources.feedback.events import ERASED, EXCERPT_CHARACTERS, rejection, shown_of_event
from resources.feedback.inbox import InboxResource
from resources.feedback.pseudonyms import BEGUN, PSEUDONYM, Pseudonyms
from resources.home.identity import FILE, HomeError, known_home
from resources.models.store import CARD, ModelStoreResource
from resources.rounds.book import Round
from resources.rounds.secret import FILE as SECRET
from resources.rounds.secret import VARIABLE, commitment, round_key
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import COMPLETED, RECORD_HASHES, SKIPPED, round_id_of

GAVE_UP = re.compile(r"\d+ attempts ended without completing r\d{6,}.*", re.DOTALL)
"""Why a settled round was completed without its tasks or its report."""
HASH = re.compile(r"[0-9a-f]{32}")
WORDS = ("stage", "source", "line", "reason", "round_no", "event_id")


def home_differences(
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    inbox: InboxResource,
    store: ModelStoreResource,
    rounds: Sequence[Round],
    records: Sequence[Mapping[str, Any]],
    removed: frozenset[str],
) -> Iterator[Difference]:
    """Differences of a home as a whole.

    Args:
        rounds: All of them, oldest first; ``records``, what was recorded of those that are settled.
        removed: Models that retention removed.
    """
    yield from _identity(settings, warehouse)
    yield from _secret(settings, rounds)
    yield from _states(rounds)
    yield from _arrivals(warehouse)
    yield from _pseudonyms(warehouse)
    yield from _words(warehouse, inbox)
    yield from _quarantined(settings, warehouse, inbox, records)
    yield from _lots(settings, warehouse)
    yield from _keys(settings, rounds, records)
    yield from _cards(store, records, removed)


def _identity(settings: CrowdSettings, warehouse: WarehouseResource) -> Iterator[Difference]:
    """The file and the table say the same."""
    rows = warehouse.query("SELECT uuid, schema_version, program, begun_at FROM home").rows()
    try:
        known = known_home(settings)
    except HomeError as problem:
        yield Difference("home", "", FILE, str(problem)[:120], "what the table home says", BY_RECORD)
        return
    if not rows:
        if known is not None:
            yield Difference("home", "", "uuid", "no row", known.uuid, BY_RECORD)
        return  # else of a version that knew no homes, and nobody has written to it since
    uuid, schema, program, begun_at = rows[0]
    said = {
        "uuid": uuid,
        "schema": schema,
        "program": program,
        "begun_at": f"{begun_at.isoformat(timespec='seconds')}+00:00",
    }
    for name, value in said.items():
        stored = getattr(known, name, None)
        if stored != value:
            yield Difference("home", FILE, name, str(stored), str(value), BY_RECORD)
    hashes = warehouse.query(RECORD_HASHES)["hash"].to_list()
    if known and known.last_record and known.last_record not in hashes:
        yield Difference("home", FILE, "last_record", known.last_record, hashes[-1] if hashes else "none", BY_RECORD)


def _secret(settings: CrowdSettings, rounds: Sequence[Round]) -> Iterator[Difference]:
    """The secret that lies here gives the key that the last round spoke of."""
    settled = [each for each in rounds if each.settled]
    if not settled or settled[-1].next_commitment is None:
        return
    file = Path(settings.home, SECRET)
    given = [os.environ[VARIABLE].encode()] if os.environ.get(VARIABLE) else []
    secrets = [*given, *([file.read_bytes().strip()] if file.exists() else [])]  # who audits a copy may have neither
    found = [commitment(round_key(secret, len(settled))) for secret in secrets]
    if found and settled[-1].next_commitment not in found:
        yield Difference("secret", "", "hash of the next key", found[0], settled[-1].next_commitment, BY_RECORD)


def _states(rounds: Sequence[Round]) -> Iterator[Difference]:
    """A round before another is over, and a reason is one that the platform gives."""
    for each, later in pairwise([*rounds, None]):
        assert each is not None
        if later is not None and each.status not in (COMPLETED, SKIPPED):
            yield Difference("rounds", each.round_id, "status", each.status, COMPLETED, BY_RECORD)
        if each.settled and each.reason is not None and not GAVE_UP.fullmatch(each.reason):
            yield Difference("rounds", each.round_id, "reason", each.reason[:60], "none", BY_RECORD)
        if each.settled and each.attempt < 1:
            yield Difference("rounds", each.round_id, "attempt", str(each.attempt), "1 or more", BY_RECORD)


def _arrivals(warehouse: WarehouseResource) -> Iterator[Difference]:
    """An event arrived with its file, and a segment has the digest that its name ends with."""
    chain = warehouse.query("SELECT record FROM ingestions ORDER BY number")["record"].to_list()
    for record in map(json.loads, chain):
        if len(record["files"]) != 1:
            continue  # of a release, or what a home took in before it had a chain
        (file,) = record["files"]
        for segment in record["segments"]:
            other = warehouse.query(
                "SELECT event_id, ingested_at FROM event_index WHERE seq BETWEEN $first AND $last AND ingested_at <> $at LIMIT 1",
                {"first": segment["first_seq"], "last": segment["last_seq"], "at": _instant(file["ingested_at"])},
            )
            for event_id, ingested_at in other.rows():
                yield Difference(
                    "event_index", event_id, "ingested_at", str(ingested_at), file["ingested_at"], BY_RECORD
                )
    for uri, digest in warehouse.query("SELECT uri, digest FROM feedback_segments").rows():
        if uri.split("-", 1)[-1] != f"{digest}.parquet":
            yield Difference("feedback_segments", uri, "digest", digest, uri, BY_RECORD)


def _pseudonyms(warehouse: WarehouseResource) -> Iterator[Difference]:
    """Everybody who sent something has one pseudonym that was drawn, or had until the identifier was erased. Nothing vouches for the link
    between name and pseudonym itself: whatever did would outlive its erasure."""
    where, rows = "pseudonyms", warehouse.query("SELECT slot, pseudonym FROM pseudonyms ORDER BY slot").rows()
    keys = warehouse.query("SELECT fingerprint, since FROM pseudonym_key").rows()
    for fingerprint, since in keys:
        key = Pseudonyms.from_environment()
        if not HASH.fullmatch(fingerprint) or (key.keyed and fingerprint != key.fingerprint):
            yield Difference("pseudonym_key", "", "fingerprint", fingerprint, "that of the key", BY_RECOMPUTATION)
        first = warehouse.query("SELECT min(ingested_at) FROM ingested_files").item()
        if first is not None and since > first:
            yield Difference("pseudonym_key", "", "since", str(since), f"{first} or before", BY_RECORD)
    if rows and (not keys or (BEGUN, "") not in rows):
        yield Difference(
            where, "", "rows", f"{len(rows)}", "none without a key, nor without the row that begins them", BY_RECORD
        )
        return
    drawn = [pseudonym for slot, pseudonym in rows if slot != BEGUN]
    for slot, pseudonym in rows:
        if slot != BEGUN and not (HASH.fullmatch(slot) and PSEUDONYM.fullmatch(pseudonym)):
            yield Difference(where, slot, "pseudonym", pseudonym, "a pseudonym beside a hash", BY_RECORD)
    for pseudonym, count in Counter(drawn).items():
        if count > 1:
            yield Difference(where, pseudonym, "slot", f"{count} rows", "one", BY_RECORD)
    if rows:
        unknown = warehouse.query(
            "SELECT contributor_id FROM (SELECT contributor_id FROM event_index UNION SELECT name FROM aliases UNION "
            "SELECT person FROM aliases) known WHERE contributor_id <> '' AND contributor_id NOT IN "
            "(SELECT pseudonym FROM pseudonyms UNION SELECT contributor_id FROM erased_identifiers) ORDER BY contributor_id LIMIT 1"
        )
        for name in unknown["contributor_id"]:
            yield Difference(where, name, "pseudonym", "no row", "a row", BY_RECORD)


def _instant(text: str) -> Any:
    return pl.Series([text]).str.to_datetime("%+", time_unit="us", strict=False, exact=False)[0] or text


def _words(warehouse: WarehouseResource, inbox: InboxResource) -> Iterator[Difference]:
    """The id of a rejected line is made of its reason; an excerpt is how its line begins. Both go with an erasure."""
    rows = warehouse.query("SELECT * FROM rejected_feedback").to_dicts()
    digests: dict[str, list[str]] = {}
    for digest, uri in warehouse.query("SELECT digest, uri FROM ingested_files").rows():
        digests.setdefault(uri.rsplit("/", 1)[-1], []).append(digest)
    erased = warehouse.query("SELECT uri FROM erased_files")["uri"].to_list()
    excerpts: dict[str, list[bytes]] = {}
    for row in rows:
        if row["excerpt"] == ERASED:
            continue
        plain = rejection(**{name: row[name] for name in WORDS})["rejection_id"]
        of_file = {
            hashlib.blake2b(f"{digest} {plain}".encode(), digest_size=16).hexdigest(): digest
            for digest in digests.get(row["source"], [])
        }
        if row["rejection_id"] not in {plain, *of_file}:
            yield Difference(
                "rejected_feedback", row["rejection_id"], "reason", "another reason", "that of its id", BY_RECOMPUTATION
            )
            continue
        if row["stage"] == "gate":
            continue  # see _quarantined
        digest = of_file.get(row["rejection_id"])
        if row["event_id"] is not None or not row["line"]:
            expected: str | None = ""
        elif digest is None or any(digest in uri for uri in erased):
            continue
        else:
            expected = _excerpt(inbox, digest, row["line"], excerpts)
        if expected is not None and row["excerpt"] != expected:
            yield Difference(
                "rejected_feedback", row["rejection_id"], "excerpt", "another text", "how its line begins", BY_RECORD
            )


def _quarantined(
    settings: CrowdSettings, warehouse: WarehouseResource, inbox: InboxResource, records: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    """What is shown of events that the gate rejected is how the gate saw them begin: by the settings of the round, personal data masked."""
    settled_with = {record["round_no"]: record["settings"] for record in records}
    rows = warehouse.query(
        "SELECT rejection_id, event_id, excerpt, round_no, from_seq, to_seq, settings FROM rejected_feedback JOIN rounds USING (round_no) "
        "WHERE stage = 'gate' AND excerpt <> $erased ORDER BY rejection_id",
        {"erased": ERASED},
    )
    for of_round in rows.partition_by("round_no"):
        first = of_round.row(0, named=True)
        of_record = settings.of_record(settled_with.get(first["round_no"]) or json.loads(first["settings"]))
        wanted = of_round["event_id"].implode()
        parts = [
            chunk.filter(pl.col("event_id").is_in(wanted)) for chunk in inbox.chunks(first["from_seq"], first["to_seq"])
        ]
        if not parts:
            continue
        events = with_asked(masked(pl.concat(parts), of_record), first["round_no"], of_record, warehouse, [])
        shown = dict(events.select("event_id", shown_of_event()).iter_rows())
        for rejection_id, event_id, excerpt in of_round.select("rejection_id", "event_id", "excerpt").iter_rows():
            if event_id in shown and excerpt != _kept(shown[event_id]):
                yield Difference(
                    "rejected_feedback",
                    rejection_id,
                    "excerpt",
                    "another text",
                    "how its event begins",
                    BY_RECOMPUTATION,
                )


def _kept(text: str) -> str:
    """An excerpt as the quarantine keeps it."""
    return str(rejection(stage="", source="", line=0, reason="", excerpt=text)["excerpt"])


def _excerpt(inbox: InboxResource, digest: str, line: int, known: dict[str, list[bytes]]) -> str | None:
    """How a line of an archived file begins; None where nobody can tell any more."""
    if digest not in known:
        paths = list(UPath(inbox.archive).glob(f"{digest}*.jsonl"))
        known[digest] = paths[0].read_bytes().split(b"\n") if paths else []
    lines = known[digest]
    if line > len(lines):
        return None
    raw = lines[line - 1] + (b"\n" if line < len(lines) else b"")
    text = raw[:EXCERPT_CHARACTERS].decode("utf-8", errors="replace")
    return _kept(text)


def _published(path: UPath) -> list[Any] | None:
    """The rows of a file of the outbox; None where it cannot be read."""
    try:
        return published_lines(path)
    except (OSError, ValueError):
        return None


def _lots(settings: CrowdSettings, warehouse: WarehouseResource) -> Iterator[Difference]:
    """Lots are published as the table has them, but for those whose prompt was erased."""
    expected: dict[int, list[dict[str, str]]] = {}
    rows = warehouse.query(
        "SELECT round_no, lot_id, prompt FROM published_lots ORDER BY round_no, length(lot_id), lot_id"
    )
    for number, lot, prompt in rows.rows():
        of_round = expected.setdefault(number, [])
        if prompt != ERASED:
            of_round.append({"lot_id": lot, "prompt": prompt})
    for number, should in expected.items():
        if _published(settings.outbox_path / LOTS / f"{round_id_of(number)}.jsonl") != should:
            yield Difference(
                f"outbox {LOTS}",
                round_id_of(number),
                "lots",
                "other lots",
                "those of the table published_lots",
                BY_RECORD,
            )
    for path in (settings.outbox_path / LOTS).glob("r*.jsonl"):
        if path.stem not in {round_id_of(number) for number in expected}:
            yield Difference(f"outbox {LOTS}", path.stem, "lots", "a file", "no lots of this round", BY_RECORD)


def _keys(
    settings: CrowdSettings, rounds: Sequence[Round], records: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    """What is said of keys is what the records say of them."""
    recorded = {record["round_no"] for record in records if record.get("key")}
    for each in rounds:
        if each.status != COMPLETED or each.reason is not None or each.round_no not in recorded:
            continue
        if _published(settings.outbox_path / KEYS / f"{each.round_id}.jsonl") != shown_keys(each, rounds):
            yield Difference(f"outbox {KEYS}", each.round_id, "keys", "other keys", "those of the records", BY_RECORD)


def _cards(
    store: ModelStoreResource, records: Sequence[Mapping[str, Any]], removed: frozenset[str]
) -> Iterator[Difference]:
    """Cards of models are as they were when their round was settled."""
    cards = {model: hashed for record in records for model, hashed in record.get("cards", {}).items()}
    for model, hashed in cards.items():
        if model in removed:
            continue
        try:
            found = store.card_hash(model)
        except OSError as problem:
            found = str(problem)[:120]
        if found != hashed:
            yield Difference("models", model, CARD, found, hashed, BY_RECORD)
