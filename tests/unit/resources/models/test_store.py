"""Models are stored whole, under the hash of their content, with a card."""

from pathlib import Path

import pytest
from upath import UPath

from resources.files.storage import UNFINISHED
from resources.models.store import DamagedModelError, ModelStoreResource


@pytest.fixture
def store(tmp_path: Path) -> ModelStoreResource:
    return ModelStoreResource(root=str(tmp_path / "store"), cache=str(tmp_path / "cache"))


def directory(tmp_path: Path, content: str) -> Path:
    folder = tmp_path / f"made-{content}"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_text(content)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_the_same_files_are_the_same_model(store: ModelStoreResource, tmp_path: Path) -> None:
    first = store.put(directory(tmp_path, "a"), {"parent": None, "round_id": "r000001"})
    again = store.put(directory(tmp_path, "a"), {"parent": None, "round_id": "r000001"})
    other = store.put(directory(tmp_path, "b"), {"parent": first, "round_id": "r000002"})
    assert first == again != other
    assert store.lineage(other) == [first, other]
    assert store.lineage(None) == []
    assert store.card(other)["round_id"] == "r000002"


def test_a_card_can_change_and_the_model_stays_itself(store: ModelStoreResource, tmp_path: Path) -> None:
    model = store.put(directory(tmp_path, "a"), {"parent": None})
    store.write_card(model, {"parent": None, "target_distance": 0.5, "note": "<b>|</b>"})
    store.verify(model)
    readme = (store.path(model) / "README.md").read_text()
    assert "target_distance | 0.5" in readme
    assert "<b>" not in readme


def test_damage_is_noticed(store: ModelStoreResource, tmp_path: Path) -> None:
    model = store.put(directory(tmp_path, "a"), {"parent": None})
    (store.path(model) / "adapter_model.safetensors").write_text("tampered")
    with pytest.raises(DamagedModelError, match=model):
        store.verify(model)


def test_what_a_killed_writer_left_is_not_of_the_model(store: ModelStoreResource, tmp_path: Path) -> None:
    model = store.put(directory(tmp_path, "a"), {"parent": None})
    (store.path(model) / f"README.md.0123{UNFINISHED}").write_text("# Mod")
    store.verify(model)
    assert sorted(store.files(model)) == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_removed_model_is_gone_and_can_be_made_again(store: ModelStoreResource, tmp_path: Path) -> None:
    def make() -> str:
        return store.put(directory(tmp_path, "a"), {"parent": None})

    kept, _ = store.reuse("kept", lambda: store.put(directory(tmp_path, "b"), {"parent": None}))
    model, _ = store.reuse("key", make)
    assert (store.remove(model), store.remove(model)) == (1, 0)
    store.remove_idle_notes()
    names = {path.name for path in Path(store.root).rglob("*.json") if path.parent.name == "made"}
    assert names == {"kept.json"}
    assert store.reuse("key", make) == (model, False)
    store.verify(model)
    assert store.reuse("kept", make) == (kept, True)


def test_pickles_are_not_stored(store: ModelStoreResource, tmp_path: Path) -> None:
    folder = directory(tmp_path, "a")
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        store.put(folder, {"parent": None})


@pytest.mark.parametrize("written", [b'{"parent" 1}', b"[]", b"\xff"])
def test_a_card_that_is_none_is_named(store: ModelStoreResource, tmp_path: Path, written: bytes) -> None:
    model = store.put(directory(tmp_path, "a"), {"parent": None})
    (store.path(model) / "card.json").write_bytes(written)
    with pytest.raises(DamagedModelError, match=r"card\.json is no JSON object"):
        store.verify_stored(model)


def test_a_model_without_a_card_is_none_yet(store: ModelStoreResource, tmp_path: Path) -> None:
    """Killed between the rename and the card: the next put finishes it."""
    model = store.put(directory(tmp_path, "a"), {"parent": None})
    (store.path(model) / "card.json").unlink()
    with pytest.raises(FileNotFoundError, match=model):
        store.card(model)
    assert store.put(directory(tmp_path, "a"), {"parent": None}) == model
    store.verify(model)


def test_what_was_made_is_not_made_again(store: ModelStoreResource, tmp_path: Path) -> None:
    made = []

    def make() -> str:
        made.append(1)
        return store.put(directory(tmp_path, "a"), {"parent": None})

    model, reused = store.reuse("key", make)
    assert store.reuse("key", make) == (model, True)
    assert (len(made), reused) == (1, False)


def test_a_remote_store_is_read_through_a_local_copy(tmp_path: Path) -> None:
    store = ModelStoreResource(root="memory://store", cache=str(tmp_path / "cache"))
    model = store.put(directory(tmp_path, "a"), {"parent": None})
    assert store.path(model) == tmp_path / "cache" / model
    store.verify(model)


def test_a_model_of_a_store_elsewhere_is_checked_as_it_is_fetched(tmp_path: Path) -> None:
    store = ModelStoreResource(root=f"memory://{tmp_path.name}/models", cache=str(tmp_path / "cache"))
    made = directory(tmp_path, "a")
    (made / "inner").mkdir()
    (made / "inner" / "more.json").write_text("[]")
    model = store.put(made, {"parent": None})
    weights = UPath(store.root, model, "adapter_model.safetensors")
    weights.write_text("tampered")
    for look in (store.path, store.verify, store.verify_stored):
        with pytest.raises(DamagedModelError, match=model):
            look(model)
    assert list(Path(store.cache).iterdir()) == []
    weights.write_text("a")
    assert sorted(store.files(model)) == ["adapter_config.json", "adapter_model.safetensors", "inner/more.json"]
    weights.write_text("tampered")
    store.verify(model)  # what is loaded was fetched before
    with pytest.raises(DamagedModelError, match=model):
        store.verify_stored(model)
    assert store.remove(model) == 1
    assert not weights.exists()
    assert store.remove(model) == 0
