"""A crowd whose truth is known: contributors of every kind, who write the files that real people's tools would.

Belongs here: who they are, what they know and how they behave. Does not belong here: the forum's sentences
(see ``forum``), and anything that looks at a round's results to decide what is true.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from upath import UPath

from crowd_assets.forum import comments as forum
from crowd_assets.forum import words
from resources.files.storage import write_text_atomically

DEMONSTRATORS = {"careful": 11, "sloppy": 3, "off_topic": 2, "spammer": 2, "adversary": 2}
LABELERS = {"accurate": 5, "biased": 2, "strategic": 2, "absent": 1}
SELLERS = {"honest": 6, "overclaiming": 2}
MISREPORTING = ("biased", "strategic")

DEMONSTRATIONS = 16  # a contributor and round
GOLD_COMPARISONS = 48  # a round, with known outcomes
LOTS = 12  # a round
TASKS_WITH_OUTCOME = 0.5  # share of bought comparisons whose outcome end users realise
BROKEN_LINES = ('{"kind": "demonstration", "contributor_id":', '{"kind": "opinion"}', "not JSON at all")
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Person:
    """One contributor and the truth about them: ``cost`` in credits an answer, ``skill`` the share of their answers
    that are on target."""

    contributor_id: str
    role: str
    kind: str
    cost: float = 0.0
    skill: float = 0.0


class SimulatedCrowd:
    """Contributors who want, or do not want, a model that writes in one mood.

    Args:
        mood: The mood that the platform asks for, one of ``forum.MOODS``.
        seed: Decides who is who and everything they do; round ``n`` depends on the seed and ``n`` only.

    Raises:
        ValueError: the forum has no such mood.
    """

    def __init__(self, mood: str, seed: int) -> None:
        if mood not in forum.MOODS:
            raise ValueError(f"the simulated crowd knows no mood {mood!r}; choose one of {', '.join(forum.MOODS)}.")
        self.mood = mood
        self.seed = seed
        self.people = list(_people(np.random.default_rng([seed, 0])))

    def truth(self) -> dict[str, dict[str, Any]]:
        """The truth about every contributor, by id."""
        return {person.contributor_id: asdict(person) for person in self.people}

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
        """Write what the crowd sends before round ``round_no`` into ``inbox``; some lines are broken, as some always are.

        Args:
            tasks: Comparison tasks that the platform published after the round before.
            assignments: Who is asked what, as it published that: everybody judges what they were assigned, none of them knowing
                a check from the rest. None: everybody judges every task.
            gold: Whether they judge gold items of their own as well, which nobody assigned.
            lots: Lots that are open, each with its prompt, or an empty one for any; the sellers bid in as many as in theirs, which are
                those of the embedded forum (None).

        Returns:
            The files, complete under their final names.
        """
        rng = np.random.default_rng([self.seed, round_no])
        batches = {
            "demonstrations": list(self.demonstrations(rng)),
            "judgements": list(self._judgements(round_no, rng, tasks, assignments, gold)),
            "bids": [bid for bid, _ in self._bids(round_no, lots)],
        }
        files = []
        start = FIRST_DAY + timedelta(days=round_no)
        for name, events in batches.items():
            lines = [
                json.dumps({**event, "submitted_at": (start + timedelta(seconds=number)).isoformat()})
                for number, event in enumerate(events)
            ]
            if name == "demonstrations":
                lines += BROKEN_LINES
            if not lines:
                continue
            path = inbox / f"round-{round_no}-{name}.jsonl"
            write_text_atomically(path, "\n".join(lines) + "\n")
            files.append(path)
            start += timedelta(hours=1)
        return files

    def demonstrations(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        """What demonstrators write in a round, without its time."""
        for person in self._of("demonstrator"):
            spam = forum.spam_text(rng)
            for _ in range(DEMONSTRATIONS):
                prompt, response = self._demonstration(person.kind, spam, rng)
                yield {
                    "kind": "demonstration",
                    "contributor_id": person.contributor_id,
                    "prompt": prompt,
                    "response": response,
                }

    def _of(self, role: str) -> list[Person]:
        return [person for person in self.people if person.role == role]

    def _demonstration(self, kind: str, spam: str, rng: np.random.Generator) -> tuple[str, str]:
        if kind == "spammer":
            return self._comment(self.mood, rng)[0], spam
        if kind == "off_topic":
            return self._comment(self.mood, rng)[0], forum.off_topic_text(rng)
        if kind == "adversary":
            return self._comment(words.OPPOSITE[self.mood], rng)
        if kind == "careful" or rng.random() < 0.5:
            prompt, response = self._comment(self.mood, rng)
        else:
            prompt, response = self._comment(self._other_mood(rng), rng)
        return prompt, forum.misspell(response, rng) if kind == "sloppy" else response

    def _judgements(
        self,
        round_no: int,
        rng: np.random.Generator,
        tasks: list[dict[str, Any]],
        assignments: list[dict[str, Any]] | None,
        with_gold: bool,
    ) -> Iterator[dict[str, Any]]:
        """Reports on gold items and on what was asked, and afterwards the outcomes realised."""
        moods = {bid["response"]: mood for past in range(1, round_no) for bid, mood in self._bids(past)}
        labelers = self._of("labeler")
        gold = list(self._gold(round_no, rng)) if with_gold else []
        asked = [(person, item, item["truth"]) for item in gold for person in labelers]
        truths = {task["comparison_id"]: self._truth(task, moods) for task in tasks}
        if assignments is None:
            asked += [(person, task, truths[task["comparison_id"]]) for task in tasks for person in labelers]
        else:
            known = {
                self._answers(item): item["truth"] for past in range(1, round_no) for item in self._past_gold(past)
            }
            named = {person.contributor_id: person for person in labelers}
            asked += [
                (named[line["contributor_id"]], line, known.get(self._answers(line), self._truth(line, moods)))
                for line in assignments
                if line["contributor_id"] in named
            ]
        for person, item, truth in asked:
            report = _report(person.kind, truth, rng)
            if report is not None:
                yield {
                    "kind": "preference",
                    "contributor_id": person.contributor_id,
                    **{name: item[name] for name in ("comparison_id", "prompt", "response_a", "response_b")},
                    "probability_a": round(report, 4),
                }
        realised = {item["comparison_id"]: item["truth"] for item in gold}
        realised |= {name: truth for name, truth in truths.items() if rng.random() < TASKS_WITH_OUTCOME}
        for name, truth in realised.items():
            preferred = 0.5 if truth == 0.5 else float(truth > 0.5)
            yield {"kind": "outcome", "comparison_id": name, "preferred_a": preferred}

    def _past_gold(self, round_no: int) -> Iterator[dict[str, Any]]:
        """The gold items of an earlier round, as it drew them."""
        rng = np.random.default_rng([self.seed, round_no])
        for _ in self.demonstrations(rng):
            pass
        return self._gold(round_no, rng)

    @staticmethod
    def _answers(item: dict[str, Any]) -> tuple[str, str, str]:
        return item["prompt"], item["response_a"], item["response_b"]

    def _gold(self, round_no: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        for number in range(GOLD_COMPARISONS):
            prompt, good = self._comment(self.mood, rng)
            _, other = self._comment(self._other_mood(rng), rng)
            first_is_good = bool(rng.random() < 0.5)
            yield {
                "comparison_id": f"gold-{round_no}-{number}",
                "prompt": prompt,
                "response_a": good if first_is_good else other,
                "response_b": other if first_is_good else good,
                "truth": 0.95 if first_is_good else 0.05,
            }

    def _truth(self, task: dict[str, Any], moods: dict[str, str]) -> float:
        """Probability that end users prefer answer A of a bought pair, from the moods its answers were written in."""
        on_target = [moods.get(task[name]) == self.mood for name in ("response_a", "response_b")]
        return 0.5 + 0.45 * (int(on_target[0]) - int(on_target[1]))

    def _bids(self, round_no: int, lots: list[tuple[str, str]] | None = None) -> Iterator[tuple[dict[str, Any], str]]:
        """The bids of a round, each with the mood that its answer was written in: the same whenever it is asked, in whichever lots."""
        rng = np.random.default_rng([self.seed, round_no, 1])
        prompts = forum.lot_prompts(self.mood, self.seed, round_no, LOTS)
        own = [(f"lot-{round_no}-{number}", prompt) for number, prompt in enumerate(prompts)]
        for (lot, asked), prompt in zip(own if lots is None else lots, prompts, strict=False):
            self._comment(self.mood, rng)
            for person in self._of("seller"):
                mood = self.mood if rng.random() < person.skill else self._other_mood(rng)
                cost = person.cost * rng.uniform(0.8, 1.2)
                claimed = 1.0 if person.kind == "overclaiming" else person.skill
                bid = {
                    "kind": "bid",
                    "contributor_id": person.contributor_id,
                    "lot_id": lot,
                    "prompt": asked or prompt,
                    "response": self._comment(mood, rng)[1],
                    "asked_price": str(Decimal(str(round(cost, 4)))),
                    "claimed_quality": round(claimed, 4),
                }
                yield bid, mood

    def _comment(self, mood: str, rng: np.random.Generator) -> tuple[str, str]:
        comment = forum.write_comment(mood, forum.TOPICS[int(rng.integers(len(forum.TOPICS)))], rng)
        return comment.prompt, comment.response

    def _other_mood(self, rng: np.random.Generator) -> str:
        others = [mood for mood in forum.MOODS if mood != self.mood]
        return others[int(rng.integers(len(others)))]


def _people(rng: np.random.Generator) -> Iterator[Person]:
    """Everybody, with ids that say nothing about their kind."""
    for role, kinds in (("demonstrator", DEMONSTRATORS), ("labeler", LABELERS), ("seller", SELLERS)):
        drawn = [kind for kind, count in kinds.items() for _ in range(count)]
        for number, position in enumerate(rng.permutation(len(drawn)), start=1):
            kind = drawn[int(position)]
            selling = role == "seller"
            skill = (
                float(rng.uniform(0.3, 0.5) if kind == "overclaiming" else rng.uniform(0.7, 0.95)) if selling else 0.0
            )
            yield Person(
                contributor_id=f"{role}-{number:02d}",
                role=role,
                kind=kind,
                cost=float(rng.uniform(0.1, 0.4)) if selling else 0.0,
                skill=skill,
            )


def _report(kind: str, truth: float, rng: np.random.Generator) -> float | None:
    """The probability that a labeler of one kind reports for answer A, None where they do not report."""
    belief = float(np.clip(truth + rng.normal(0, 0.05), 0, 1))
    if kind == "absent":
        return belief if rng.random() < 0.1 else None
    if kind == "biased":
        return float(np.clip(belief + 0.4, 0, 1))  # leans towards the answer shown first
    if kind == "strategic":
        return float(rng.random() < 0.5)  # steers: certain of whichever answer serves them
    return belief
