"""The trainer whose models are trained, aligned, sampled and judged in tasks of a Ray cluster.

Belongs here: how work is split, so that what comes out does not depend on how. Does not belong here: the work (see
``resources.models.local``, whose trainer every task has one of), keys and stored models (see ``resources.models.trainer``), the
cluster (see ``cluster``).
"""

import json
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from dagster import ResourceDependency
from pydantic import Field

from resources.models.trainer import TrainedModel, TrainerResource
from resources.ray_compute import tasks
from resources.ray_compute.cluster import RayCluster, evenly
from resources.ray_compute.sharded import in_group
from resources.training import alignment, candidates, generation
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.preference_values import PairValues
from resources.training.prompting import Prompt
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RayTrainer(TrainerResource):
    """The local trainer's work, in tasks. Nodes put what they train into the model store, which they share; what is there
    already is found here, and asks for no cluster."""

    cluster: ResourceDependency[RayCluster]
    # The work is done elsewhere, by processes that wait for other work between tasks.
    keeps: bool = Field(default=False, description="Whether models stay loaded in this process between calls.")
    shards: int = Field(default=1, description="Processes that a base is spread over; 1: each task has a whole one.")

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
        """As the local trainer, in batches that are trained side by side, each in one pass.

        Which candidates share a pass decides the last digits of their weights: the batches are those into which the same
        candidates were split first, whatever the cluster is by now.
        """
        shared: dict[str, Any] = {"config": config, "seed": seed, "valuation": valuation}
        sizes, _ = self.store.pinned(
            self._key("batches", parent, groups=groups, **shared),
            lambda: json.dumps(evenly(len(groups), max(self._at_once, -(-len(groups) // self.fused)))),
        )
        cards = [{**card, "root": self.base_model} for card in cards]
        of_batches: list[dict[str, Any]] = [
            {"parent": parent, "groups": groups[part], **shared, "cards": cards[part]}
            for part in _parts(json.loads(sizes))
        ]
        stored = [self._found(self.candidates_key(parent, batch["groups"], **shared)) for batch in of_batches]
        missing = [batch for batch, models in zip(of_batches, stored, strict=True) if models is None]
        trained = iter(self._run("candidates", tasks.train_candidates, missing, progress))
        return [model for models in stored for model in (next(trained) if models is None else models)]

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
        how: dict[str, Any] = {"config": config, "beta": beta, "seed": seed}
        card = {**card, "root": self.base_model}
        if stored := self._found(self.alignment_key(parent, pairs, **how)):
            return stored[0]
        arguments = {"parent": parent, "pairs": pairs, **how, "card": card}
        return self._run("alignment", tasks.align, [arguments], progress)[0]

    def generate(
        self,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        longest: int | None = None,
        progress: generation.Progress = lambda done, total: None,
    ) -> list[list[str]]:
        """As the local trainer: tasks share out its own passes, with the noise that they have there."""
        device = "cuda" if self.cluster.gpus else "cpu"
        of_models = [models[first : first + self.fused] for first in range(0, len(models), self.fused)]
        calls, places = [], []
        for number, some in enumerate(of_models):
            a_pass = generation.prompts_a_pass(len(some), device)
            passes = -(-len(prompts) // a_pass)
            share = round(self._at_once * len(some) / len(models))
            for part in _parts(evenly(passes, share)):
                first = part.start * a_pass
                calls.append(
                    {
                        "models": some,
                        "prompts": prompts[first : part.stop * a_pass],
                        "max_new_tokens": max_new_tokens,
                        "temperature": temperature,
                        "seed": seed + first,
                        "top_k": top_k,
                        "top_p": top_p,
                        "min_p": min_p,
                        "longest": longest,
                    }
                )
                places.append(number)
        responses: list[list[list[str]]] = [[[] for _ in some] for some in of_models]
        written = self._run("generation", tasks.generate, calls, lambda done, total, note: progress(done, total))
        for number, of_call in zip(places, written, strict=True):
            for already, more in zip(responses[number], of_call, strict=True):
                already += more
        return [texts for of_batch in responses for texts in of_batch]

    def likelihoods(
        self, model: str | None, pairs: Sequence[tuple[Prompt, str]], max_tokens: int
    ) -> "list[NDArray[np.float64]]":
        arguments = {"model": model, "pairs": pairs, "max_tokens": max_tokens}
        return self._run("likelihoods", tasks.likelihoods, [arguments], lambda *_: None)[0]

    def pair_values(
        self,
        parent: str | None,
        aligned: str,
        pairs: Sequence[PreferencePair],
        held_out: Sequence[PreferencePair],
        *,
        beta: float,
        max_tokens: int,
    ) -> PairValues:
        arguments = {
            "parent": parent,
            "aligned": aligned,
            "pairs": pairs,
            "held_out": held_out,
            "beta": beta,
            "max_tokens": max_tokens,
        }
        return self._run("values of pairs", tasks.pair_values, [arguments], lambda *_: None)[0]

    def preference_accuracy(self, model: str | None, pairs: Sequence[PreferencePair], max_tokens: int) -> float:
        arguments = {"model": model, "pairs": pairs, "max_tokens": max_tokens}
        return self._run("preference accuracy", tasks.preference_accuracy, [arguments], lambda *_: None)[0]

    @property
    def _at_once(self) -> int:
        return self.cluster.at_once // self.shards

    def _run(
        self,
        what: str,
        function: Callable[..., Any],
        of_calls: Sequence[dict[str, Any]],
        progress: Callable[[Any, Any, Any], None],
    ) -> list[Any]:
        if not of_calls:
            return []
        sent = tasks.SentTrainer.of(self, self.shards)
        calls: list[tuple[Any, ...]] = [(sent, arguments) for arguments in of_calls]
        if self.shards == 1:
            return self.cluster.run(what, function, calls, progress)
        each = self.cluster.asked()
        grouped = [(function, call, self.shards, each, self.cluster.retries) for call in calls]
        return self.cluster.run(what, in_group, grouped, progress, processes=self.shards)


def _parts(sizes: Sequence[int]) -> list[slice]:
    """Neighbouring slices of these sizes."""
    return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
