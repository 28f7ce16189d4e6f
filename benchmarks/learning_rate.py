"""The learning rate of candidates: a sweep on the base model of ``CROWD_BASE_MODEL``, the embedded one where that is empty.

For each rate, and each of several crowds (``crowd_assets.simulation.crowd``), the demonstrations of a first round are dealt at
random to the six groups of the default settings, their candidates are trained in one pass, and each writes 128 texts.
``distance`` is the target distance over the base's, of the mean candidate and of the best; ``loss`` the candidates' mean
loss a token on comments of the wanted mood that nobody was given, ``base_loss`` the base's. ``best`` is the rate with the nearest
best candidate of those whose loss is no higher than the base's: beyond it candidates say what the target likes to hear in worse
and worse language.

Belongs here: the sweep. Does not belong here: what a rate does over rounds (see ``crowd_assets.experiments``).
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import finish, options, say
from benchmarks.train_candidates import seed_language_model
from crowd_assets.forum import comments as forum
from crowd_assets.mechanisms.target import mean_distance
from crowd_assets.round.rates import RATES as RATES_TRIED
from crowd_assets.round.target import find_target
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.settings.resource import CrowdSettings
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.candidates import train_candidates
from resources.training.generation import generate
from resources.training.likelihood import token_likelihoods
from resources.training.loading import load, use_threads

OWN_RATES = (5e-5, *RATES_TRIED)  # of a base model that is not embedded
RATES = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)
CROWDS = 3
TEXTS, HELD_OUT = 128, 64


def groups_of(crowd: SimulatedCrowd, count: int, rng: np.random.Generator) -> list[Demonstrations]:
    """A first round's demonstrations, their contributors dealt to groups at random."""
    written = [(each["contributor_id"], each["prompt"], each["response"]) for each in crowd.demonstrations(rng)]
    people = sorted({contributor for contributor, _, _ in written})
    group_of = dict(zip(rng.permutation(people).tolist(), np.arange(len(people)) % count, strict=True))
    return [
        Demonstrations(
            [(prompt, response) for contributor, prompt, response in written if group_of[contributor] == group],
            [contributor for contributor, _, _ in written if group_of[contributor] == group],
        )
        for group in range(count)
    ]


def held_out_loss(root: str, adapters: list[Path], pairs: list[tuple[str, str]]) -> float:
    """Mean loss a token of the model of a lineage, nats."""
    model = load(root, adapters)
    scores = token_likelihoods(model, pairs, max_tokens=256)
    return -float(np.concatenate(scores).mean())


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(__doc__, argv)
    settings = CrowdSettings.from_environment()
    use_threads(settings.threads)
    root = settings.base_model or seed_language_model()
    resources = build_resources(settings)
    target = find_target(settings, resources.embedder, resources.frames).vector
    rates = OWN_RATES if settings.base_model else RATES
    rates = rates[2:5] if chosen.quick else rates
    found: dict[float, list[tuple[float, float, float]]] = {rate: [] for rate in rates}
    base_losses: list[float] = []
    for seed in range(chosen.seed, chosen.seed + (1 if chosen.quick else CROWDS)):
        rng = np.random.default_rng(seed)
        groups = groups_of(SimulatedCrowd(settings.target_attribute, seed), settings.groups, rng)
        fresh = forum.write_comments(HELD_OUT, rng, moods=(settings.target_attribute,))
        pairs = [(comment.prompt, comment.response) for comment in fresh]
        base_losses.append(held_out_loss(root, [], pairs))
        prompts = [groups[0].pairs[row % len(groups[0].pairs)][0] for row in range(TEXTS)]
        for rate in rates:
            config = CandidateConfig(
                learning_rate=rate,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                rank=settings.lora_rank,
                alpha=settings.lora_alpha,
                max_tokens=settings.max_tokens,
            )
            with tempfile.TemporaryDirectory() as folder:
                directories = [Path(folder) / str(group) for group in range(len(groups))]
                train_candidates(load(root, []), groups, directories, parent="root", config=config, seed=seed)
                texts = generate(
                    load(root, []),
                    prompts,
                    lineages=[[], *([directory] for directory in directories)],
                    max_new_tokens=settings.max_new_tokens,
                    temperature=settings.temperature,
                    seed=seed,
                )
                loss = float(np.mean([held_out_loss(root, [directory], pairs) for directory in directories]))
            base, *candidates = [mean_distance(resources.embedder.embed(each), target).mean for each in texts]
            found[rate].append((float(np.mean(candidates)) / base, min(candidates) / base, loss))
            say(f"crowd {seed}, rate {rate:g}: mean {found[rate][-1][0]:.3f}, best {found[rate][-1][1]:.3f}")
    means = {rate: np.mean(of_rate, axis=0).round(4).tolist() for rate, of_rate in found.items()}
    rows = [
        {"learning_rate": rate, "distance_mean": mean, "distance_best": best, "loss": loss}
        for rate, (mean, best, loss) in means.items()
    ]
    base_loss = round(float(np.mean(base_losses)), 4)
    kept = [row for row in rows if row["loss"] <= base_loss]
    best = min(kept, key=lambda row: row["distance_best"])["learning_rate"] if kept else None
    finish(
        {"best": best, "base_loss": base_loss, "rates": rows},
        {"crowds": len(next(iter(found.values()))), "seed": chosen.seed, "epochs": settings.epochs},
        "torch",
        "transformers",
        "peft",
    )


if __name__ == "__main__":
    main()
