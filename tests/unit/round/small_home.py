"""A home's tables and frames without models: rounds of feedback that passed the gate, and what follows for its labelers.

Belongs here: what tests of judges share. Does not belong here: assertions.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from crowd_assets.quality.conditions import CONDITIONS, facts
from crowd_assets.round.asked import with_asked
from crowd_assets.round.assignment import ASSIGNMENTS, assignments_of, lines_of
from crowd_assets.round.labelers import weights_after
from crowd_assets.round.standing import STANDINGS, paused_before, standings_after
from resources.feedback.events import EVENT_SCHEMA
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.rounds.decisions import DecisionBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import as_stored
from resources.warehouse.duckdb import DuckDBWarehouse

DAY = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = {"seq": pl.Int64(), **EVENT_SCHEMA}


class SmallHome:
    """Rounds one after the other: ``pairs`` comparisons are bought in each, of answers by ``sal`` and ``sue``."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = CrowdSettings(home=str(folder), **settings)
        self.warehouse = DuckDBWarehouse(path=str(folder / "warehouse.duckdb"))
        self.frames = FramesResource(root=str(folder / "frames"))
        self.seq = 0
        self.round = self._round(0)

    def _round(self, number: int) -> Round:
        key = f"{number:064x}"
        name = f"r{number:06d}"
        return Round(number, name, 1, 9, "claimed", 1, None, 0, None, None, DAY + timedelta(days=number), key=key)

    def settle(self, events: list[dict[str, Any]], pairs: int) -> list[dict[str, Any]]:
        """Settle the next round on ``events`` and give what it publishes; answers to assignments are taken for what was asked."""
        with self.warehouse.session():
            return self._settle(events, pairs)

    def _settle(self, events: list[dict[str, Any]], pairs: int) -> list[dict[str, Any]]:
        number = self.round.round_no + 1
        self.round = self._round(number)
        moment = DAY + timedelta(days=number)
        with self.warehouse.transaction() as connection:
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at) "
                "VALUES ($n, $id, $n, $n, 'claimed', 1, 0, '{}', $now)",
                {"n": number, "id": self.round.round_id, "now": as_stored(moment)},
            )
        bids = [
            {
                "kind": "bid",
                "contributor_id": who,
                "event_id": f"b{number}-{at}-{who}",
                "prompt": f"p{number}-{at}",
                "response": f"{who} {at}",
            }
            for at in range(pairs)
            for who in ("sal", "sue")
        ]
        rows = []
        for event in [*bids, *events]:
            self.seq += 1
            submitted = moment + timedelta(seconds=self.seq)
            rows.append(
                {"seq": self.seq, "event_id": f"e{self.seq}", "contributor_id": "", "submitted_at": submitted, **event}
            )
        frame = self.asked(pl.DataFrame(rows, schema=SCHEMA)).select(*SCHEMA)
        self.frames.write("validated_feedback", self.round.round_id, frame, settled=False)
        DecisionBook(self.warehouse).taken_by(number)
        weights, learnt = weights_after(self.round, self.settings, self.warehouse, self.frames)
        self.warehouse.replace_round("labeler_weights", number, weights)
        self.standings = standings_after(self.round, self.settings, self.warehouse, self.frames, learnt)
        self.warehouse.replace_round(STANDINGS, number, self.standings)
        self._buy(number, pairs)
        with self.warehouse.transaction() as connection:
            connection.execute("UPDATE rounds SET status = 'completed' WHERE round_no = $n", {"n": number})
        self.plan = assignments_of(self.round, self.settings, self.warehouse, self.frames)
        self.warehouse.replace_round(ASSIGNMENTS, number, self.plan)
        return lines_of(self.plan, self.round, self.warehouse, self.frames)

    def _buy(self, number: int, pairs: int) -> None:
        tasks = [
            {
                "comparison_id": f"r{number:06d}-{at:016x}",
                "lot_id": "l",
                "event_id_a": f"b{number}-{at}-sal",
                "event_id_b": f"b{number}-{at}-sue",
            }
            for at in range(pairs)
        ]
        schema = dict.fromkeys(("comparison_id", "lot_id", "event_id_a", "event_id_b"), pl.String)
        self.warehouse.replace_round("comparison_tasks", number, pl.DataFrame(tasks, schema=schema))
        awards = [
            {
                "lot_id": "l",
                "event_id": f"b{number}-{at}-{who}",
                "contributor_id": who,
                "quality": 0.5,
                "awarded": True,
                "lot_cleared": True,
            }
            for at in range(pairs)
            for who in ("sal", "sue")
        ]
        self.warehouse.replace_round(
            "awards", number, pl.DataFrame(awards) if awards else pl.DataFrame(schema={"event_id": pl.String})
        )

    def asked(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events as the gate looks at them, in the next round."""
        paused = paused_before(self.warehouse, self.round.round_no)
        return with_asked(events, self.round.round_no, self.settings, self.warehouse, paused)

    def refused(self, events: list[dict[str, Any]]) -> list[list[str]]:
        """Of each preference the conditions of the gate that it does not meet by itself, in the round after this one."""
        self.round = self._round(self.round.round_no + 1)
        rows = [{"seq": at, "event_id": f"x{at}", "submitted_at": DAY, **event} for at, event in enumerate(events)]
        found = facts("preference", self.asked(pl.DataFrame(rows, schema=SCHEMA)), datetime.now(UTC), None)
        self.round = self._round(self.round.round_no - 1)
        names = [each.name for each in CONDITIONS["preference"] if each.name in found.columns]
        return [[name for name in names if not row[name]] for row in found.iter_rows(named=True)]


def answer(line: dict[str, Any], probability_a: float, who: str | None = None) -> dict[str, Any]:
    """A judgement on a line of the assignments."""
    texts = {name: line[name] for name in ("comparison_id", "prompt", "response_a", "response_b")}
    return {
        "kind": "preference",
        "contributor_id": who or line["contributor_id"],
        **texts,
        "probability_a": probability_a,
    }


def judgement(who: str, comparison_id: str, probability_a: float) -> dict[str, Any]:
    """A judgement on a comparison by its own name."""
    texts = {"prompt": comparison_id.replace("gold", "topic"), "response_a": "one", "response_b": "other"}
    return {
        "kind": "preference",
        "contributor_id": who,
        "comparison_id": comparison_id,
        **texts,
        "probability_a": probability_a,
    }


def outcome(comparison_id: str, preferred_a: float) -> dict[str, Any]:
    """What was realised of a comparison."""
    return {"kind": "outcome", "comparison_id": comparison_id, "preferred_a": preferred_a}
