"""What there is to do: prompts to answer and comparisons to judge, as rounds publish them in the outbox.

Where a round publishes assignments, people judge what they are assigned, in the order in which they are assigned it; a newcomer takes a seat.
Without assignments everybody judges the comparisons with the fewest judgements, and ranks the answers of comparisons with the same prompt.

Belongs here: reading them, and which is next for whom. Does not belong here: publishing (see ``crowd_assets.round``), forms.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

from upath import UPath

from crowd_assets.desk.letting_in import Seals
from crowd_assets.desk.store import PREFERENCE, DeskStore, History
from resources.feedback.aliases import persons
from resources.feedback.events import ERASED
from resources.feedback.inbox import ASSIGNMENTS, COMPARISON_TASKS, OutboxResource, rows_of
from resources.files.storage import state_of
from resources.warehouse.base import WarehouseResource
from resources.warehouse.snapshot import NoSnapshotError

LOTS = "lots"
LOOKED_AT_S = 2.0


@dataclass(frozen=True)
class Lot:
    """A prompt that may be answered, with or without a price."""

    lot_id: str
    prompt: str


@dataclass(frozen=True)
class Comparison:
    """Two answers to a prompt, as the outbox has them; ``messages`` is the conversation before, where there is one."""

    comparison_id: str
    prompt: str
    response_a: str
    response_b: str
    messages: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Ranking:
    """Answers to one prompt that are ranked at once: those of several ``comparisons`` that a round published.

    Attributes:
        ranking_id: a keyed hash of the texts.
        answers: three or more texts, each once.
    """

    ranking_id: str
    comparisons: tuple[Comparison, ...]
    answers: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """What is answered."""
        return self.comparisons[0].prompt

    @property
    def messages(self) -> tuple[Mapping[str, str], ...]:
        """The conversation before the prompt."""
        return self.comparisons[0].messages

    @cached_property
    def pairs(self) -> tuple[Comparison, ...]:
        """Every two of the answers: as the round published the two, or under a name that everybody's ranking gives them."""
        published = {frozenset((each.response_a, each.response_b)): each for each in self.comparisons}
        return tuple(
            published.get(frozenset((one, other)))
            or Comparison(f"{self.ranking_id}-{at}", self.prompt, one, other, self.messages)
            for at, (one, other) in enumerate(combinations(self.answers, 2), start=1)
        )


@dataclass
class _Published:
    """What the outbox held, and when it was looked at."""

    state: tuple[Any, ...] = ()
    looked_at: float = 0.0
    lots: tuple[Lot, ...] = ()
    all_lots: Mapping[str, Lot] = field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    by_count: list[tuple[str, ...]] = field(default_factory=list)
    free: tuple[str, ...] = ()
    rankings: Mapping[str, Ranking] = field(default_factory=dict)
    ranked_in: Mapping[str, Ranking] = field(default_factory=dict)
    assigned: str = ""
    of_people: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    of_seats: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    person: Callable[[str], str] = str


class Work:
    """What is published, looked at again every two seconds.

    Args:
        store: What was judged, and who has which seat.
        warehouse: Who is behind which name.
        enough: Judgements after which a comparison that nobody is assigned is asked no more.
        ranked: Number of answers that are ranked at once, at most; 2: two by two.
        required: Whether nobody may judge what is not assigned to them.
    """

    def __init__(
        self,
        outbox: OutboxResource,
        seals: Seals,
        store: DeskStore,
        warehouse: WarehouseResource,
        enough: int,
        *,
        ranked: int = 2,
        required: bool = False,
    ) -> None:
        self._outbox, self._seals, self._store, self._enough, self._required = outbox, seals, store, enough, required
        self._warehouse, self._ranked = warehouse, ranked
        self._known = _Published()
        self._lock = threading.Lock()

    def lots(self) -> tuple[Lot, ...]:
        """Prompts of the round that is published last."""
        return self._now().lots

    def lot(self, lot_id: str) -> Lot | None:
        """One of them."""
        return next((each for each in self.lots() if each.lot_id == lot_id), None)

    def earlier_lot(self, lot_id: str) -> Lot | None:
        """One of this round or of an earlier one: an answer to its prompt still teaches, though nobody buys the answer."""
        return self._now().all_lots.get(lot_id)

    def comparison(self, comparison_id: str) -> Comparison | None:
        """One that was published."""
        return self._now().comparisons.get(comparison_id)

    def ranking(self, ranking_id: str) -> Ranking | None:
        """One of what was published."""
        return self._now().rankings.get(ranking_id)

    def next_for(self, name: str, history: History) -> Comparison | Ranking | None:
        """What somebody should judge next: what the person is assigned, in order; else, unless assignments are required, of the comparisons with
        the fewest judgements one by a draw of the person's own, with the others of its ranking where there are some. Never a pair that the
        person judged or skipped, nor an own answer.
        """
        known, done, written = self._now(), history.done, history.written
        for comparison_id in self._assigned(name, history.counts[PREFERENCE], known):
            if comparison_id not in done:
                return known.comparisons[comparison_id]
        if self._required and known.assigned:
            return None
        for names in known.by_count:
            start = self._seals.drawn("next", name) % max(len(names), 1)
            for comparison_id in (*names[start:], *names[:start]):
                if self._is_new(known.comparisons[comparison_id], done, written):
                    whole = known.ranked_in.get(comparison_id)
                    if whole is not None and all(self._is_new(each, done, written) for each in whole.pairs):
                        return whole
                    return known.comparisons[comparison_id]
        return None

    def open_for(self, name: str, history: History) -> int:
        """How many comparisons wait for somebody; own answers may be among them."""
        known, done = self._now(), history.done
        if left := sum(1 for each in self._assigned(name, history.counts[PREFERENCE], known) if each not in done):
            return left
        if self._required and known.assigned:
            return 0
        return sum(1 for names in known.by_count for each in names if each not in done)

    def pair(self, found: Comparison) -> str:
        """A keyed hash of what is compared, the same under whatever name and in whatever order."""
        return self._seals.hashed("pair", found.prompt, *sorted((found.response_a, found.response_b)))

    def _is_new(self, found: Comparison, done: set[str], written: set[str]) -> bool:
        return found.comparison_id not in done and not written & {self.pair(found), *self._hashes(found)}

    def _assigned(self, name: str, judged: int, known: _Published) -> tuple[str, ...]:
        """What somebody is assigned in the file that holds, or what their seat is."""
        own = known.of_people.get(known.person(name))
        if own is not None or not known.of_seats:
            return own or ()
        if judged and not self._store.has_seat(known.assigned, name):
            return ()  # judged before: no newcomer
        seat = self._store.seat(known.assigned, name, tuple(known.of_seats))
        return () if seat is None else known.of_seats[seat]

    def left_is_a(self, name: str, comparison_id: str) -> bool:
        """Whether answer A stands left for somebody: by a keyed hash, so that nobody can know which is which."""
        return self._seals.drawn("side", name, comparison_id) % 2 == 0

    def shown(self, name: str, found: Ranking) -> tuple[int, ...]:
        """In which order somebody sees the answers of a ranking: by a keyed hash of the person's own."""
        return tuple(
            sorted(
                range(len(found.answers)), key=lambda at: self._seals.drawn("order", name, found.ranking_id, str(at))
            )
        )

    def coverage(self) -> dict[int, int]:
        """How many published comparisons have how many judgements from the desk."""
        counts: dict[int, int] = defaultdict(int)
        judged = self._store.judged()
        for comparison_id in self._now().comparisons:
            counts[judged.get(comparison_id, 0)] += 1
        return dict(sorted(counts.items()))

    def _hashes(self, found: Comparison) -> set[str]:
        return {self._seals.hashed("text", text.strip()) for text in (found.response_a, found.response_b)}

    def _now(self) -> _Published:
        with self._lock:
            if time.monotonic() - self._known.looked_at > LOOKED_AT_S or not self._known.looked_at:
                self._known = self._looked()
            return self._known

    def _persons(self) -> Callable[[str], str]:
        try:
            return persons(self._warehouse)
        except NoSnapshotError:
            return str

    def _looked(self) -> _Published:
        paths = {topic: self._outbox.files(topic) for topic in (LOTS, COMPARISON_TASKS, ASSIGNMENTS)}
        settled = [UPath(self._warehouse.snapshot_path)] if self._warehouse.snapshot_path.exists() else []
        state = tuple((str(path), state_of(path)) for files in (settled, *paths.values()) for path in files)
        known = self._known
        if state != known.state or not known.looked_at:
            by_file = [_lots(rows_of(path)) for path in paths[LOTS]]
            tasks = [_comparisons(rows_of(path)) for path in paths[COMPARISON_TASKS]]
            free = {name: each for of_one in tasks for name, each in of_one.items()}
            rankings = [each for of_one in tasks for each in self._rankings(of_one.values())]
            rows = [row for path in paths[ASSIGNMENTS][-1:] for row in rows_of(path)]
            assigned = _comparisons(rows)
            people: dict[str, list[str]] = defaultdict(list)
            seats: dict[int, list[str]] = defaultdict(list)
            for row in sorted(rows, key=lambda row: row["place"]):
                if row["comparison_id"] in assigned:
                    (people[row["contributor_id"]] if row["contributor_id"] else seats[row["seat"]]).append(
                        row["comparison_id"]
                    )
            known = _Published(
                state,
                0.0,
                tuple(by_file[-1] if by_file else ()),
                {lot.lot_id: lot for lots in by_file for lot in lots},
                {**free, **assigned},
                free=tuple(free),
                rankings={each.ranking_id: each for each in rankings},
                ranked_in={one.comparison_id: each for each in rankings for one in each.comparisons},
                assigned=paths[ASSIGNMENTS][-1].name if rows else "",
                of_people={who: tuple(each) for who, each in people.items()},
                of_seats={seat: tuple(each) for seat, each in seats.items()},
                person=self._persons(),
            )
        judged = self._store.judged()
        buckets: dict[int, list[str]] = defaultdict(list)
        for comparison_id in known.free:
            if (count := judged.get(comparison_id, 0)) < self._enough:
                buckets[count].append(comparison_id)
        known.by_count = [tuple(buckets[count]) for count in sorted(buckets)]
        known.looked_at = time.monotonic()
        return known

    def _rankings(self, published: Iterable[Comparison]) -> Iterable[Ranking]:
        """The answers of comparisons with the same prompt and conversation, as many at once as are ranked at once."""
        by_prompt: dict[Any, list[Comparison]] = defaultdict(list)
        for each in published:
            by_prompt[each.prompt, json.dumps(each.messages)].append(each)
        for same in by_prompt.values():
            while same:
                answers: dict[str, None] = {}
                taken = 0
                for each in same:
                    more = answers | dict.fromkeys((each.response_a, each.response_b))
                    if taken and len(more) > self._ranked:
                        break
                    answers, taken = more, taken + 1
                if len(answers) > 2:
                    texts = tuple(answers)
                    hashed = self._seals.hashed("ranking", same[0].prompt, *texts)
                    yield Ranking(f"ranking-{hashed}", tuple(same[:taken]), texts)
                del same[:taken]


def _lots(rows: Iterable[Mapping[str, Any]]) -> list[Lot]:
    """Rows of the outbox without those whose prompt is any, or was erased."""
    return [Lot(row["lot_id"], row["prompt"]) for row in rows if row.get("prompt") and row["prompt"] != ERASED]


def _comparisons(rows: Iterable[Mapping[str, Any]]) -> dict[str, Comparison]:
    """Rows of the outbox by name, without those of which a text was erased; the conversation's last turn is the prompt."""
    found = {}
    for row in rows:
        messages = tuple(row.get("messages") or ())
        prompt = row.get("prompt") or (messages[-1]["content"] if messages else "")
        if ERASED not in (prompt, row["response_a"], row["response_b"]):
            found[row["comparison_id"]] = Comparison(
                row["comparison_id"], prompt, row["response_a"], row["response_b"], messages[:-1]
            )
    return found
