"""Answers of models behind their names: found with their prompts, and none of a round whose frames are gone."""

from pathlib import Path

import polars as pl

from resources.feedback.events import IDENTIFIER
from resources.feedback.generated import generated_answers, name_of, written_in
from resources.files.frames import FramesResource


def test_answers_are_found_by_their_names_alone(tmp_path: Path) -> None:
    frames = FramesResource(root=str(tmp_path))
    said = '[{"role": "user", "content": "q1"}]'
    frames.write(
        "generations",
        "r000002",
        pl.DataFrame({"prompt": ["q0", "q1"], "messages": [None, said], "base": ["b0", "b1"], "winner": ["w0", "w1"]}),
        settled=False,
    )
    frames.write("aligned_generations", "r000002", pl.DataFrame({"aligned": ["a0", "a1"]}), settled=False)
    frames.write(
        "generations", "r000001", pl.DataFrame({"prompt": ["old"], "base": ["x"], "winner": ["y"]}), settled=False
    )
    names = [name_of("r000002", "base", 1), name_of("r000002", "aligned", 1), name_of("r000001", "winner", 0)]
    found = generated_answers([*names, "r000009 base 0", "r000002 base 7", "bid-1"], frames)
    assert {row[0]: row[1:] for row in found.iter_rows()} == {
        names[0]: ("q1", said, "b1"),
        names[1]: ("q1", said, "a1"),
        names[2]: ("old", None, "y"),
    }
    assert written_in("r000009", frames) is None
    assert not any(IDENTIFIER.fullmatch(name) for name in names), "no event has such a name"
