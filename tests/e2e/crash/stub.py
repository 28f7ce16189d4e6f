"""A trainer that trains nothing: rounds with it take seconds, and everything around the tensors is real.

Belongs here: adapters, texts and figures drawn from hashes. Does not belong here: storing and naming models, which stay
the real trainer's.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from crowd_assets.forum import comments as forum
from resources.models.store import fingerprint
from resources.models.trainer import ROOT_CARD_NAME, TrainedModel, TrainerResource
from resources.training import alignment, candidates, generation
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation

MOOD = "gratitude"
ROOT_SKILL = 0.2  # share of its texts in that mood
RANK = 2
PROJECTION = "base_model.model.model.layers.0.self_attn.q_proj"
FIGURES = {"first_loss": 2.0, "last_loss": 1.0, "steps": 1, "tokens": 100, "seconds": 1.0, "peak_memory_mib": 1.0}


class StubTrainer(TrainerResource):
    """Adapters in PEFT's format whose weights are drawn from (parent, groups, seed), texts drawn from a model's hash."""

    def train_candidates(
        self,
        parent: str | None,
        groups: Sequence[Demonstrations],
        *,
        config: CandidateConfig,
        seed: int,
        valuation: Valuation | None,
        cards: Sequence[dict[str, Any]],
        progress: candidates.Progress,
    ) -> list[TrainedModel]:
        def make() -> tuple[list[str], list[list[dict[str, float]]]]:
            models = [
                self._drawn(parent, card, "candidate", group=group, seed=seed)
                for group, card in zip(groups, cards, strict=True)
            ]
            return models, [
                [
                    {who: _share("value", who, of_seed, seed) - 0.4 for who in sorted(set(group.contributors))}
                    for of_seed in range(valuation.seeds if valuation else 0)
                ]
                for group in groups
            ]

        key = self._key("stub candidates", parent, groups=groups, config=config, seed=seed, valuation=valuation)
        return self._together(key, make)

    def align(
        self,
        parent: str | None,
        pairs: Sequence[PreferencePair],
        *,
        config: AdapterConfig,
        beta: float,
        seed: int,
        card: dict[str, Any],
        progress: alignment.Progress,
    ) -> TrainedModel:
        key = self._key("stub alignment", parent, pairs=pairs, config=config, beta=beta, seed=seed)
        model, reused = self.store.reuse(key, lambda: self._drawn(parent, card, "aligned", pairs=pairs, seed=seed))
        return TrainedModel(model, reused, self.store.card(model)["training"])

    def generate(
        self,
        models: Sequence[str | None],
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        progress: generation.Progress = lambda done, total: None,
        **_: Any,
    ) -> list[list[str]]:
        for model in models:
            self._adapters(self.store.lineage(model))  # verified, as where they are loaded
        return [_texts(model or ROOT_CARD_NAME, len(prompts), seed) for model in models]

    def likelihoods(
        self, model: str | None, pairs: Sequence[tuple[str, str]], max_tokens: int
    ) -> list[NDArray[np.float64]]:
        return [
            _generator("likelihood", model or ROOT_CARD_NAME, pair).normal(-2.0, 0.1, size=1 + len(pair[1].split()))
            for pair in pairs
        ]

    def preference_accuracy(self, model: str | None, pairs: Sequence[PreferencePair], max_tokens: int) -> float:
        return _share("accuracy", model or ROOT_CARD_NAME)

    def _drawn(self, parent: str | None, card: dict[str, Any], role: str, **inputs: Any) -> str:
        rng = _generator(role, parent, fingerprint(**inputs))
        width = json.loads(Path(self.base_model, "config.json").read_text())["hidden_size"]
        with tempfile.TemporaryDirectory() as folder:
            config = {
                "peft_type": "LORA",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": parent or ROOT_CARD_NAME,
                "r": RANK,
                "lora_alpha": RANK,
                "target_modules": [PROJECTION.rsplit(".", 1)[1]],
                "layers_to_transform": [0],
            }
            Path(folder, "adapter_config.json").write_text(json.dumps(config, sort_keys=True))
            weights = {
                f"{PROJECTION}.lora_A.weight": rng.normal(size=(RANK, width)).astype(np.float32),
                f"{PROJECTION}.lora_B.weight": rng.normal(size=(width, RANK)).astype(np.float32),
            }
            save_file(weights, Path(folder, "adapter_model.safetensors"), metadata={"format": "pt"})
            return self._put(Path(folder), parent, FIGURES | {"held_out_loss": None}, card)


def _texts(model: str, count: int, seed: int) -> list[str]:
    rng = _generator("texts", model, seed)
    skill = ROOT_SKILL if model == ROOT_CARD_NAME else _share("skill", model)
    others = [mood for mood in forum.MOODS if mood != MOOD]
    moods = [MOOD if rng.random() < skill else others[int(rng.integers(len(others)))] for _ in range(count)]
    topics = [forum.TOPICS[int(rng.integers(len(forum.TOPICS)))] for _ in range(count)]
    return [forum.write_comment(mood, topic, rng).response for mood, topic in zip(moods, topics, strict=True)]


def _share(*parts: Any) -> float:
    """A number in [0, 1) that is the same for the same parts."""
    return float(_generator(*parts).random())


def _generator(*parts: Any) -> np.random.Generator:
    return np.random.default_rng(int(fingerprint(parts=parts)[:16], 16))
