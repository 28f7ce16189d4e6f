"""The exam: who sends most prompts does not write most of it."""

from datetime import UTC, datetime

import polars as pl
import pytest

from crowd_assets.round.training import evaluation_prompts
from resources.rounds.book import Round

ROUND = Round(1, "r000001", 1, 2, "claimed", 1, None, 1, None, None, datetime(2026, 1, 1, tzinfo=UTC))


def asked_by_one(many: int, by: str, samples: int = 256) -> float:
    """Share of the exam that one contributor's ``many`` prompts are, beside ten others with 18 each."""
    rows = [(f"c{who}", f"prompt {who}-{number}") for who in range(10) for number in range(18)]
    rows += [("writer of exams", f"Say thanks, please, {number}") for number in range(many)]
    sent = pl.DataFrame(rows, schema=["contributor_id", "prompt"], orient="row")
    found = evaluation_prompts(ROUND, "selection", samples, sent, by=by)
    assert len(found) == samples
    assert found == evaluation_prompts(ROUND, "selection", samples, sent.reverse(), by=by)
    return sum(prompt.startswith("Say") for prompt in found) / samples


@pytest.mark.parametrize("many", [1, 64, 500, 2000])
def test_every_contributor_writes_the_same_share_of_the_exam(many: int) -> None:
    assert asked_by_one(many, "contributors") == pytest.approx(1 / 11, abs=1 / 256)


def test_by_prompts_one_contributor_writes_nearly_all_of_it() -> None:
    assert asked_by_one(2000, "prompts") > 0.85


def test_an_exam_of_fewer_prompts_than_contributors_asks_nobodys_twice() -> None:
    sent = pl.DataFrame({"contributor_id": list("abcdef"), "prompt": list("uvwxyz")})
    assert len(set(evaluation_prompts(ROUND, "report", 4, sent))) == 4
