"""What there is to do: prompts to answer and comparisons to judge, as rounds publish them in the outbox.

Belongs here: reading them, and which is next for whom. Does not belong here: publishing (see ``crowd_assets.round``), forms.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crowd_assets.desk.letting_in import Seals
from resources.feedback.events import ERASED
from resources.feedback.inbox import COMPARISON_TASKS, OutboxResource, rows_of
from resources.files.storage import state_of

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


@dataclass
class _Published:
    """What the outbox held, and when it was looked at."""

    state: tuple[Any, ...] = ()
    looked_at: float = 0.0
    lots: tuple[Lot, ...] = ()
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    by_count: list[tuple[str, ...]] = field(default_factory=list)


class Work:
    """What is published, looked at again every two seconds.

    Args:
        judged: How many judgements each comparison has.
        enough: Judgements after which a comparison is asked no more.
    """

    def __init__(
        self, outbox: OutboxResource, seals: Seals, judged: Callable[[], Mapping[str, int]], enough: int
    ) -> None:
        self._outbox, self._seals, self._judged, self._enough = outbox, seals, judged, enough
        self._known = _Published()
        self._lock = threading.Lock()

    def lots(self) -> tuple[Lot, ...]:
        """Prompts of the round that is published last."""
        return self._now().lots

    def lot(self, lot_id: str) -> Lot | None:
        """One of them."""
        return next((each for each in self.lots() if each.lot_id == lot_id), None)

    def comparison(self, comparison_id: str) -> Comparison | None:
        """One that was published."""
        return self._now().comparisons.get(comparison_id)

    def next_for(self, name: str, done: set[str], written: set[str]) -> Comparison | None:
        """What somebody should judge next: of those with the fewest judgements one by a draw of the person's own; neither what the person
        judged or skipped, nor an answer of the person's.

        Args:
            done: Comparisons that the person judged or skipped.
            written: Hashes of what the person wrote.
        """
        known = self._now()
        for names in known.by_count:
            start = self._seals.drawn("next", name) % max(len(names), 1)
            for comparison_id in (*names[start:], *names[:start]):
                found = known.comparisons[comparison_id]
                if comparison_id not in done and not written & self._hashes(found):
                    return found
        return None

    def open_for(self, done: set[str]) -> int:
        """How many comparisons somebody has not judged or skipped; own answers are among them."""
        return sum(1 for names in self._now().by_count for name in names if name not in done)

    def left_is_a(self, name: str, comparison_id: str) -> bool:
        """Whether answer A stands left for somebody: by a keyed hash, so that nobody can know which is which."""
        return self._seals.drawn("side", name, comparison_id) % 2 == 0

    def coverage(self) -> dict[int, int]:
        """How many published comparisons have how many judgements from the desk."""
        counts: dict[int, int] = defaultdict(int)
        judged = self._judged()
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

    def _looked(self) -> _Published:
        paths = {topic: self._outbox.files(topic) for topic in (LOTS, COMPARISON_TASKS)}
        state = tuple((str(path), state_of(path)) for files in paths.values() for path in files)
        known = self._known
        if state != known.state or not known.looked_at:
            lots = [
                Lot(row["lot_id"], row["prompt"])
                for path in paths[LOTS][-1:]
                for row in rows_of(path)
                if row.get("prompt") and row["prompt"] != ERASED
            ]
            comparisons = {
                row["comparison_id"]: Comparison(
                    row["comparison_id"],
                    row["prompt"],
                    row["response_a"],
                    row["response_b"],
                    tuple(row.get("messages") or ())[:-1],
                )
                for path in paths[COMPARISON_TASKS]
                for row in rows_of(path)
                if ERASED not in (row["prompt"], row["response_a"], row["response_b"])
            }
            known = _Published(state, 0.0, tuple(lots), comparisons)
        judged = self._judged()
        buckets: dict[int, list[str]] = defaultdict(list)
        for comparison_id in known.comparisons:
            if (count := judged.get(comparison_id, 0)) < self._enough:
                buckets[count].append(comparison_id)
        known.by_count = [tuple(buckets[count]) for count in sorted(buckets)]
        known.looked_at = time.monotonic()
        return known
