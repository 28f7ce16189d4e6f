"""The target of the settings: what it is the centroid of, what is kept of it, and what is said where it cannot be had."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from crowd_assets.round.target import Target, find_target
from crowd_assets.round.training import valuation_of
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.settings.fields import SettingError
from resources.settings.resource import CrowdSettings

ORDINARY = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"]


class Lengths:
    """A Φ of two dimensions: a text's length, and one that is 1 for texts with a z."""

    source, identity = "somewhere/lengths", "0" * 40

    def __init__(self, labels: tuple[str, ...] = ("long", "z")) -> None:
        self.labels = labels
        self.embedded = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.embedded += len(texts)
        return np.array([[float(len(text)), float("z" in text)] for text in texts])


class Finder:
    """Finds targets in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames = FramesResource(root=str(folder / "frames"))
        self.settings = CrowdSettings(reference_texts=self.file("ordinary.txt", *ORDINARY), target_attribute="long")

    def file(self, name: str, *lines: object) -> str:
        path = self.folder / name
        rows = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return str(path)

    def __call__(self, embedder: Lengths | None = None, **settings: object) -> Target:
        return find_target(self.settings.changed(**settings), embedder or Lengths(), self.frames)  # type: ignore[arg-type]


@pytest.fixture
def find(tmp_path: Path) -> Finder:
    return Finder(tmp_path)


def test_a_target_is_the_centroid_of_what_the_setting_says(find: Finder) -> None:
    neighbours = find(target_neighbours=2)
    assert neighbours.texts == ("eeeee", "dddd")
    assert neighbours.vector.tolist() == [4.5, 0]
    highest = find(target_from="top_k", target_neighbours=2)
    assert highest.texts == ("ffffff", "eeeee")
    assert highest.vector.tolist() == [5.5, 0]
    assert highest.ordinary_distance == pytest.approx(np.mean([4.5, 3.5, 2.5, 1.5, 0.5, 0.5]))
    assert find(target_from="top_k", target_neighbours=6).vector.tolist() == [3.5, 0]
    texts = find(target_texts=find.file("wanted.txt", "zz", "", "zzzz"))
    assert (texts.texts, texts.prompts) == (("zz", "zzzz"), ("", ""))
    assert texts.vector.tolist() == [3, 1]


def test_gold_answers_are_embedded_alone_and_keep_their_prompts(find: Finder) -> None:
    rows = ({"prompt": "A long question?", "response": "zz"}, {"response": "z\u2028zz", "prompt": None}, "")
    found = find(gold_answers=find.file("gold.jsonl", *rows))
    assert found.vector.tolist() == [3, 1]
    assert found.texts == ("zz", "z\u2028zz")
    assert found.prompts == ("A long question?", "")


def test_a_target_is_found_once_and_again_where_what_it_is_made_of_changed(find: Finder) -> None:
    embedder, gold = Lengths(), find.file("gold.jsonl", {"response": "zz"})
    first = find(embedder, gold_answers=gold)
    asked = embedder.embedded
    again = find(embedder, gold_answers=gold)
    assert embedder.embedded == asked == len(ORDINARY) + 1
    np.testing.assert_array_equal(again.vector, first.vector)
    assert (again.texts, again.prompts) == (first.texts, first.prompts)
    find.file("gold.jsonl", {"response": "zzzz"})
    assert find(embedder, gold_answers=gold).vector.tolist() == [4, 1]
    other = Lengths()
    other.identity = "1" * 40
    find(other, gold_answers=gold)
    assert other.embedded, "another Φ has another target"


def test_with_both_files_the_setting_chooses(find: Finder) -> None:
    files = {
        "target_texts": find.file("wanted.txt", "z"),
        "gold_answers": find.file("gold.jsonl", {"response": "zzz"}),
    }
    with pytest.raises(SettingError, match="are both set: unset one of the two, or choose with CROWD_TARGET_FROM"):
        find(**files)
    assert find(**files, target_from="texts").vector[0] == 1
    assert find(**files, target_from="gold").vector[0] == 3
    assert find(**files, target_from="top_k", target_neighbours=1).vector[0] == 6
    with pytest.raises(SettingError, match="CROWD_TARGET_FROM=gold needs a file: set CROWD_GOLD_ANSWERS"):
        find(target_from="gold")
    with pytest.raises(SettingError, match="set CROWD_TARGET_TEXTS"):
        find(target_from="texts", gold_answers=files["gold_answers"])


@pytest.mark.parametrize("source", ["neighbourhood", "top_k"])
def test_an_attribute_needs_a_label_and_reference_texts_enough(find: Finder, source: str) -> None:
    encoder = Lengths(labels=())
    with pytest.raises(
        SettingError, match=r"no label of somewhere/lengths, which has no labels.*or set CROWD_TARGET_TEXTS"
    ):
        find(encoder, target_from=source)
    assert encoder.embedded == 0, "nothing is embedded before the settings are known to be right"
    with pytest.raises(SettingError, match=r"'joy' is no label.*its labels are long, z\. Choose one"):
        find(target_from=source, target_attribute="joy")
    with pytest.raises(SettingError, match=r"CROWD_TARGET_NEIGHBOURS=7 needs [78] reference texts.*has 6: lower"):
        find(target_from=source, target_neighbours=7)
    assert find(encoder, target_texts=find.file("wanted.txt", "z")).vector.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "every line must be a JSON object"),
        ("[1]", "every line must be a JSON object"),
        ({"prompt": "only"}, "the field response must be a text"),
        ({"response": " "}, "the field response must be a text"),
        ({"response": ["z"]}, "the field response must be a text"),
        ({"response": "z", "prompt": 3}, "the field prompt must be a text"),
    ],
)
def test_a_gold_answer_that_is_none_is_named_by_its_line(find: Finder, line: object, problem: str) -> None:
    gold = find.file("gold.jsonl", {"response": "z"}, line)
    with pytest.raises(SettingError, match=rf"CROWD_GOLD_ANSWERS='.*gold\.jsonl', line 2: .*{problem}"):
        find(gold_answers=gold)


def test_a_file_that_gives_no_text_is_named(find: Finder) -> None:
    with pytest.raises(SettingError, match="CROWD_GOLD_ANSWERS='nowhere': no such file"):
        find(gold_answers="nowhere")
    with pytest.raises(SettingError, match=r"CROWD_TARGET_TEXTS=.*the file has no text"):
        find(target_texts=find.file("empty.txt", " "))
    with pytest.raises(SettingError, match=r"CROWD_TARGET_TEXTS=.*line 1: the field text"):
        find(target_texts=find.file("texts.jsonl", {"words": "z"}))
    find.folder.joinpath("latin.txt").write_bytes("für".encode("latin-1"))
    with pytest.raises(SettingError, match=r"CROWD_REFERENCE_TEXTS=.*expected text in UTF-8"):
        find(reference_texts=str(find.folder / "latin.txt"))


def test_in_run_values_ask_for_a_gold_answer_by_its_own_prompt(find: Finder) -> None:
    gold = find.file("gold.jsonl", {"prompt": "Why?", "response": "zz"}, {"response": "zzz"})
    settings = find.settings.changed(gold_answers=gold)
    demonstrations = pl.DataFrame({"contributor_id": ["ann"], "prompt": ["Asked in the round?"]})
    round_ = Round(1, "r000001", 1, 1, "claimed", 1, None, 0, None, None, datetime.now(UTC))
    valuation = valuation_of(round_, demonstrations, settings, Lengths(), find.frames)  # type: ignore[arg-type]
    assert valuation is not None
    assert list(valuation.pairs) == [("Why?", "zz"), ("Asked in the round?", "zzz")]
