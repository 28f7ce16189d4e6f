"""What a settled round put into the outbox: as the tables have it, with the texts that were bought.

Belongs here: comparison tasks, comparisons drawn for an audit, assignments. Does not belong here: lots and keys, which stand for rounds
that are not settled as well (see ``audit_home``).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
from upath import UPath

from crowd_assets.operations.differences import BY_RECOMPUTATION, BY_RECORD, Difference
from crowd_assets.round import (
    assignment,
    generated,
    procurement,
)
from crowd_assets.round.procurement import audited_of
from crowd_assets.round.randomness import generator_for
from resources.feedback.events import completed, says_erased
from resources.feedback.generated import ANSWERS, generated_answers
from resources.feedback.inbox import AUDITS, COMPARISON_TASKS
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import COMPLETED, WITHDRAWN


def published_lines(path: UPath) -> list[Any]:
    """What lies in a file of the outbox, a value a line.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: a line is no JSON.
    """
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@dataclass(frozen=True)
class PublishedRound:
    """What one round published, in the folder ``outbox``; ``settings`` are those that the round was settled with."""

    round_: Round
    settings: CrowdSettings
    warehouse: WarehouseResource
    frames: FramesResource
    outbox: UPath

    def tasks(self, *, with_audits: bool) -> Iterator[Difference]:
        """Tasks in the outbox are those of the table, with the texts that were bought; erased ones are gone from it."""
        if self.round_.status != COMPLETED or self.round_.reason is not None:
            return
        where = f"outbox {COMPARISON_TASKS}"
        rows = self.warehouse.read_round("comparison_tasks", self.round_.round_no)
        gone = set(self.warehouse.query(WITHDRAWN)["comparison_id"])
        texts = completed(self.frames.read("validated_feedback", self.round_.round_id))
        named = pl.concat([rows["event_id_a"], rows["event_id_b"]])
        every = pl.concat([texts.select(*ANSWERS), generated_answers(named, self.frames)])
        answers = {event_id: tuple(rest) for event_id, *rest in every.iter_rows()}
        path = self.outbox / COMPARISON_TASKS / f"{self.round_.round_id}.jsonl"
        try:
            tasks = published_lines(path)
            stored = {task["comparison_id"]: task for task in tasks}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            yield Difference(where, self.round_.round_id, "file", str(problem)[:120], "the published tasks", BY_RECORD)
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
        if with_audits and expected.keys() == set(rows["comparison_id"]):
            yield from self._audits()

    def _audits(self) -> Iterator[Difference]:
        """Comparisons are drawn for an audit by the round's key, in the order in which they were published."""
        bought = procurement.tasks_of(self.round_, self.warehouse.read_round("awards", self.round_.round_no))
        tasks = pl.concat([bought, generated.generated_tasks(self.round_, self.settings, self.frames)])
        published = tasks.select("comparison_id").to_dicts()
        path = self.outbox / AUDITS / f"{self.round_.round_id}.jsonl"
        drawn = audited_of(published, self.settings.audit_share, generator_for(self.round_, "audits"))
        try:
            stored = published_lines(path)
        except FileNotFoundError:
            stored = []
        except (OSError, ValueError):
            stored = [{}]
        if stored != drawn:
            where = f"outbox {AUDITS}"
            yield Difference(where, self.round_.round_id, "comparison_id", "others", "those drawn", BY_RECOMPUTATION)

    def assignments(self) -> Iterator[Difference]:
        """Assignments in the outbox are those of the table, with the texts of their comparisons; erased ones are gone from it."""
        rows = self.warehouse.read_round("assignments", self.round_.round_no)
        if self.round_.status != COMPLETED or rows.is_empty():
            return
        where = f"outbox {assignment.ASSIGNMENTS}"
        path = self.outbox / assignment.ASSIGNMENTS / f"{self.round_.round_id}.jsonl"
        try:
            lines = published_lines(path)
            stored = {line["comparison_id"]: line for line in lines}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            yield Difference(where, self.round_.round_id, "file", str(problem)[:120], "the assignments", BY_RECORD)
            return
        again = assignment.lines_of(rows, self.round_, self.warehouse, self.frames)
        expected = {line["comparison_id"]: line for line in again}
        for name in sorted(stored.keys() | expected.keys()):
            if stored.get(name) != expected.get(name):  # no text of contributors in what an audit prints
                words = ("another line" if name in stored else "no line", "the line" if name in expected else "no line")
                yield Difference(where, name, "comparison_id", *words, BY_RECOMPUTATION)
