"""The simulated crowd with attackers among it, a third of all names, who play their attacks at once in the files of a round.

Belongs here: what each attacker sends. Does not belong here: honest people (see ``simulation.crowd``), the games in which each attack is
played alone (see ``payoffs``).
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from upath import UPath

from crowd_assets.forum import comments as forum
from crowd_assets.simulation.attacks.texts import insults, salads, the_forum
from crowd_assets.simulation.crowd import DEMONSTRATIONS, Person, SimulatedCrowd
from resources.files.storage import write_text_atomically

HONEST = ("careful", "sloppy", "accurate", "honest")
ATTACKERS = {
    "text_salad": 2,
    "insult_with_salad": 2,
    "copycat": 2,
    "sybils_repeat_work": 3,
    "free_rider_flood": 1,
    "exam_writing": 1,
    "invented_lots": 2,
    "blocked_budget": 1,
    "second_name_rival_lots": 1,
    "labeler_sybils": 3,
    "coin_flipper": 1,
}
FLOOD, EXAM, LOTS = 64, 200, 48


class AttackedCrowd(SimulatedCrowd):
    """The simulated crowd of a mood and seed, who send what they always send, and the attackers."""

    def __init__(self, mood: str, seed: int) -> None:
        super().__init__(mood, seed)
        rng = np.random.default_rng([seed, 2])
        kinds = [kind for kind, count in ATTACKERS.items() for _ in range(count)]
        self.attackers = [
            Person(contributor_id=f"member-{number:02d}", role="attacker", kind=kinds[int(position)])
            for number, position in enumerate(rng.permutation(len(kinds)), start=1)
        ]
        self.people += self.attackers

    def write_feedback(
        self,
        round_no: int,
        inbox: UPath,
        tasks: list[dict[str, Any]],
        assignments: list[dict[str, Any]] | None = None,
        *,
        gold: bool = True,
        lots: list[tuple[str, str]] | None = None,
    ) -> list[UPath]:
        """See ``SimulatedCrowd.write_feedback``; attackers know what everybody else sent."""
        files = super().write_feedback(round_no, inbox, tasks, assignments, gold=gold, lots=lots)
        sent = []
        for path in files:
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if "contributor_id" in event and "prompt" in event and "submitted_at" in event:
                    sent.append(event)
        rng = np.random.default_rng([self.seed, round_no, 3])
        at = max(str(event["submitted_at"]) for event in sent)
        lines = [json.dumps({**event, "submitted_at": at}) for event in self._attacks(round_no, sent, rng)]
        path = inbox / f"round-{round_no}-members.jsonl"
        write_text_atomically(path, "\n".join(lines) + "\n")
        return [*files, path]

    def _attacks(self, round_no: int, sent: list[dict[str, Any]], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        mates: dict[str, list[str]] = {}
        for person in self.attackers:
            mates.setdefault(person.kind, []).append(person.contributor_id)
        by_kind = {
            kind: [person.contributor_id for person in self.people if person.kind == kind]
            for kind in ("careful", "accurate", "honest")
        }
        demonstrations = [event for event in sent if event["kind"] == "demonstration"]
        judgements = [event for event in sent if event["kind"] == "preference"]
        bids = [event for event in sent if event["kind"] == "bid"]
        here = the_forum()
        for kind in ("text_salad", "insult_with_salad"):
            for name in mates[kind]:
                texts = salads(DEMONSTRATIONS, here.words, here.quality, rng)
                for text in insults(texts, rng) if kind == "insult_with_salad" else texts:
                    yield self._demonstrated(name, self._comment(self.mood, rng)[0], text)
        for place, name in enumerate(mates["copycat"]):
            for event in _of(demonstrations, by_kind["careful"][place]):
                yield self._demonstrated(name, event["prompt"], forum.misspell(event["response"], rng))
        for name in mates["sybils_repeat_work"]:
            for event in _of(demonstrations, by_kind["careful"][-1]):
                words = event["response"].split()
                yield self._demonstrated(name, event["prompt"], " ".join([*words[1:], words[0]]))
        for name in mates["free_rider_flood"]:
            for _ in range(FLOOD):
                yield self._demonstrated(name, *self._comment(self._other_mood(rng), rng))
        for name in mates["exam_writing"]:
            for number in range(EXAM):
                yield self._demonstrated(
                    name, f"{self._comment(self.mood, rng)[0]} ({number})", self._comment(self._other_mood(rng), rng)[1]
                )
        for name in mates["invented_lots"]:
            for number in range(LOTS):
                yield self._bid(name, f"lot-{round_no}-a{number}", bids[0]["prompt"], rng, "0.05")
        lots = {event["lot_id"]: event["prompt"] for event in bids}
        for kind, price, mood in (
            ("blocked_budget", "1000", self.mood),
            ("second_name_rival_lots", "0.3", self._other_mood(rng)),
        ):
            for name in mates[kind]:
                for lot, prompt in lots.items():
                    yield self._bid(name, lot, prompt, rng, price) | {"response": self._comment(mood, rng)[1]}
        judged = _of(judgements, by_kind["accurate"][0])
        for name in mates["labeler_sybils"]:
            for event in judged:
                said = float(np.clip(event["probability_a"] + rng.normal(0, 0.1), 0, 1))
                yield {**event, "contributor_id": name, "probability_a": round(said, 4)}
        for name in mates["coin_flipper"]:
            for event in judged:
                yield {**event, "contributor_id": name, "probability_a": float(rng.random() < 0.5)}

    @staticmethod
    def _demonstrated(name: str, prompt: str, response: str) -> dict[str, Any]:
        return {"kind": "demonstration", "contributor_id": name, "prompt": prompt, "response": response}

    def _bid(self, name: str, lot: str, prompt: str, rng: np.random.Generator, price: str) -> dict[str, Any]:
        return {
            "kind": "bid",
            "contributor_id": name,
            "lot_id": lot,
            "prompt": prompt,
            "response": self._comment(self.mood, rng)[1],
            "asked_price": price,
            "claimed_quality": 1.0,
        }


def _of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["contributor_id"] == name]
