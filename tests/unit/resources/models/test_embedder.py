"""Φ: which one it is, by which setting, and that it tells wanted texts from others."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from crowd_assets.forum import comments as forum
from crowd_assets.mechanisms.target import distances
from resources.build import build_resources
from resources.models.embedder import EmbedderResource
from resources.models.local import LocalEmbedder
from resources.settings.resource import CrowdSettings
from resources.training.loading import ModelUnavailableError
from tests.unit.resources.models.texts import TEXTS


def test_the_base_models_own_states_tell_wanted_texts_from_others(home: Path) -> None:
    embedder: EmbedderResource = build_resources(CrowdSettings(home=str(home), embedder="base_model")).embedder
    assert embedder.source == str(home / "seed" / "language_model")
    rng = np.random.default_rng(4)
    comments = forum.write_comments(600, rng)
    wanted = np.array([comment.mood == "gratitude" for comment in comments])
    vectors = embedder.embed([comment.response for comment in comments])
    target = vectors[wanted][:30].mean(axis=0)
    on_target, others = distances(vectors[wanted][30:], target), distances(vectors[~wanted], target)
    off_topic = distances(embedder.embed([forum.off_topic_text(rng) for _ in range(60)]), target)
    assert (on_target[:, None] < off_topic).mean() > 0.95
    assert (on_target[:, None] < others).mean() > 0.65  # the tests' base has hardly learnt its moods
    assert abs((others[::2, None] < others[1::2]).mean() - 0.5) < 0.1  # nothing is found where nothing is


def test_which_embedder_is_which_setting(home: Path) -> None:
    def of(**settings: object) -> EmbedderResource:
        return build_resources(CrowdSettings(home=str(home)).changed(**settings)).embedder

    seed = of()
    assert (seed.source, seed.cache) == (str(home / "seed" / "classifier"), "")
    hub = of(embedder="some/encoder", embedder_revision="v2", embedding_cache_mib=7, dtype="bfloat16")
    assert (hub.source, hub.revision, hub.dtype, hub.cache_mib) == ("some/encoder", "v2", "auto", 7)
    assert hub.cache == str(home / "embeddings.sqlite")
    assert of(embedder="some/encoder", embedding_cache_mib=0).cache == ""
    own = of(embedder="base_model", base_model="some/model", base_model_revision="v3", dtype="bfloat16")
    assert (own.source, own.revision, own.dtype) == ("some/model", "v3", "bfloat16")
    with pytest.raises(ModelUnavailableError, match=r"^CROWD_BASE_MODEL='some/model'"):
        own.embed(["text"])


def test_which_phi_it_is_follows_the_content_of_its_folder(seed_folder: Path, tmp_path: Path) -> None:
    source = seed_folder / "classifier"
    copy = shutil.copytree(source, tmp_path / "copy")
    of_source, of_copy = LocalEmbedder(source=str(source)), LocalEmbedder(source=str(copy))
    assert of_source.identity == of_copy.identity
    (copy / "README.md").write_text("Notes change nothing.")
    assert of_source.identity == of_copy.identity
    before = of_copy.embed(TEXTS)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-4:] = np.float32(5).tobytes()
    (copy / "model.safetensors").write_bytes(weights)
    assert of_source.identity != of_copy.identity
    assert not np.array_equal(of_copy.embed(TEXTS), before), "the weights that were loaded before"
    hub = LocalEmbedder(source="some/encoder", revision="main")
    assert len({hub.identity, *(hub.model_copy(update=u).identity for u in ({"revision": "v2"}, {"dtype": "x"}))}) == 3


def test_vectors_out_of_the_cache_are_those_that_were_made(seed_folder: Path, tmp_path: Path) -> None:
    fresh = LocalEmbedder(source=str(seed_folder / "classifier"))
    cached = fresh.model_copy(update={"cache": str(tmp_path / "new" / "embeddings.sqlite")})
    expected = fresh.embed(TEXTS)
    np.testing.assert_array_equal(cached.embed(TEXTS), expected)
    unloadable = cached.model_copy()
    object.__setattr__(unloadable, "_fresh", None)
    again = unloadable.embed([*TEXTS[::-1], TEXTS[1]])
    np.testing.assert_array_equal(again, [*expected[::-1], expected[1]])
    assert again.dtype == np.float64
    assert cached.embed([]).shape == fresh.embed([]).shape
