"""The notebook of the documentation runs on two rounds, and every question has an answer."""

import json
import re
from decimal import Decimal

import pytest

from tests import PROJECT
from tests.assets.platform import Platform

NOTEBOOK = PROJECT / "docs" / "notebooks" / "questions.ipynb"


def test_ten_questions_are_answered(two_rounds: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", two_rounds.settings.home)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    asked = [re.match(r"## (\d+)\. .+\?", "".join(each["source"])) for each in cells if each["cell_type"] == "markdown"]
    assert [int(each[1]) for each in asked if each] == list(range(1, 11))
    known: dict[str, object] = {}
    answers = []
    for each in cells:
        if each["cell_type"] != "code":
            continue
        assert not each["outputs"], "outputs of somebody's home"
        source = "".join(each["source"])
        if source.startswith("ask("):
            answers.append(eval(source, known))
        else:
            exec(source, known)
    assert len(answers) == 10
    assert all(answer.height for answer in answers)
    balanced = answers[9]
    assert set(balanced["unit"]) == {"point", "credit"}
    assert set(balanced["must_be_zero"]) == {Decimal(0)}
    assert set(balanced["breaks"]) == {0}
