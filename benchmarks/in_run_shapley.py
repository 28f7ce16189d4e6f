"""In-run contributor values against exact retraining of every coalition, and what they cost.

The game: eight contributors of one group, eight demonstrations each: on target, of other moods, off topic, spam, and one
who writes at random. A coalition trains a candidate on the same batches with the others' rows left out (the loss still
divided by the whole batch, as the update of a step is the sum of its members' gradients), clipping and schedule as the
platform has them. Its worth is by how much the mean loss on 64 validation texts of the wanted mood falls. All 256
coalitions are retrained; their exact Shapley values are the reference, and leave-one-out is beside them.

In-run values come from one run with everybody (``resources.training.candidates``), of first and of second order, and are
correlated with the reference from the same initial adapter; first order takes a gradient at every step, second order where the
platform takes it. ``pearson_*`` is for SGD, whose steps the theory is about;
``pearson_*_adamw`` for AdamW at the platform's learning rate, whose scale depends on the coalition.
``time_ratio`` is the time of training the six groups of a default round with values as the platform finds them (second order,
one seed) over that without, median of paired repetitions.

Goals: Pearson at least 0.95, time at most 1.15.

Belongs here: accuracy and time of the values. Does not belong here: whether a row's product is exact (see the tests).
"""

import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import WALL, finish, options, say, seconds
from benchmarks.train_candidates import seed_language_model
from crowd_assets.forum import comments as forum
from crowd_assets.mechanisms.shapley import exact_shapley
from resources.training.candidate_runs import CandidateConfig, Demonstrations, length_bucketed
from resources.training.candidates import train_candidates
from resources.training.loading import load, use_threads
from resources.training.prompting import tokenise
from resources.training.valuation import Valuation

MOOD = "gratitude"
PLAYERS, DEMONSTRATIONS, VALIDATION = 8, 8, 64
COALITIONS_A_PASS = 32
ADAMW = CandidateConfig(learning_rate=5e-3, epochs=2, batch_size=16, rank=8, alpha=16, max_tokens=128)
CONFIGS = {"": replace(ADAMW, optimizer="sgd", learning_rate=1.0), "_adamw": ADAMW}
HOW = Valuation(())
TIMED_GROUPS, TIMED_ROWS, REPETITIONS = 6, 54, 5

Values = NDArray[np.float64]


def game(rng: np.random.Generator) -> tuple[Demonstrations, list[tuple[str, str]]]:
    """The group, and the validation pairs."""
    wanted = [(comment.prompt, comment.response) for comment in forum.write_comments(400, rng, moods=(MOOD,))]
    others = [(comment.prompt, comment.response) for comment in forum.write_comments(60, rng)]
    other_mood = [(c.prompt, c.response) for c in forum.write_comments(60, rng, moods=("anger",))]
    n = DEMONSTRATIONS
    texts = {
        "on target 1": wanted[:n],
        "on target 2": wanted[n : 2 * n],
        "on target 3": wanted[2 * n : 3 * n],
        "half on target": wanted[3 * n : 3 * n + n // 2] + other_mood[: n // 2],
        "any mood": others[:n],
        "another mood": other_mood[n : 2 * n],
        "off topic": [(prompt, forum.off_topic_text(rng)) for prompt, _ in wanted[-n:]],
        "spam": [(prompt, forum.spam_text(rng)) for prompt, _ in wanted[-n:]],
    }
    pairs = [pair for of_player in texts.values() for pair in of_player]
    owners = [name for name, of_player in texts.items() for _ in of_player]
    return Demonstrations(pairs, owners), wanted[4 * n : 4 * n + VALIDATION]


def retrained(
    config: CandidateConfig, group: Demonstrations, validation: Sequence[tuple[str, str]], root: str, seed: int
) -> Values:
    """Worth of every coalition, (2^N,), bit i of the index for player i: all of them retrained, many in a pass."""
    worths = np.zeros(2**PLAYERS)
    for begin in range(0, len(worths), COALITIONS_A_PASS):
        coalitions = np.arange(begin, begin + COALITIONS_A_PASS)
        worths[coalitions] = _train_coalitions(coalitions, config, group, validation, root, seed)
        say(f"coalitions: {begin + COALITIONS_A_PASS} of {len(worths)}")
    return worths


def _train_coalitions(
    coalitions: NDArray[np.int64],
    config: CandidateConfig,
    group: Demonstrations,
    validation: Sequence[tuple[str, str]],
    root: str,
    seed: int,
) -> Values:
    import torch

    from resources.training.stacked import AdapterStack, stacked_batch

    model = load(root, [])
    pad, count = int(model.tokenizer.pad_token_id), len(coalitions)
    rows = [tokenise(model.tokenizer, *pair, config.max_tokens) for pair in group.pairs]
    names = list(dict.fromkeys(group.contributors))
    player = np.array([names.index(owner) for owner in group.contributors])
    member = (coalitions[:, None] >> player) & 1  # (coalitions, rows)
    plan = length_bucketed([len(row.ids) for row in rows], config.batch_size, config.epochs, seed)
    stack = AdapterStack(model, rank=config.rank, alpha=config.alpha, seeds=[seed] * count)
    parameters = torch.nn.Parameter(stack.parameters)
    rule = torch.optim.SGD if config.optimizer == "sgd" else torch.optim.AdamW
    optimizer = rule([parameters], lr=config.learning_rate, weight_decay=0.0)
    measured = [tokenise(model.tokenizer, *pair, config.max_tokens) for pair in validation]
    tokens = sum(len(row.ids) - row.prompt_length for row in measured)

    def validation_loss() -> Values:
        stack.use(range(count))
        with torch.no_grad():
            weights = [[1 / tokens] * len(measured)] * count
            found = [
                stack.loss(stacked_batch([part] * count, [w[: len(part)] for w in weights], pad, "cpu"))
                for part in (measured[at : at + 8] for at in range(0, len(measured), 8))
            ]
        return sum(part.view(count, -1).sum(1) for part in found).double().numpy()  # type: ignore[union-attr]

    before = validation_loss()
    warm_up = max(1, round(0.1 * len(plan)))
    for step, chosen in enumerate(plan, start=1):
        batch_tokens = sum(len(rows[row].ids) - rows[row].prompt_length for row in chosen)
        stack.use(range(count))
        weights = [(member[index, chosen] / batch_tokens).tolist() for index in range(count)]
        stack.loss(stacked_batch([[rows[row] for row in chosen]] * count, weights, pad, "cpu")).sum().backward()
        norms = stack.gradients.norm(dim=1, keepdim=True)
        parameters.grad = stack.gradients * (1 / (norms + 1e-6)).clamp(max=1)
        done = (step - warm_up) / (len(plan) + 1 - warm_up)
        rate = step / warm_up if step <= warm_up else 0.5 * (1 + math.cos(math.pi * done))
        optimizer.param_groups[0]["lr"] = config.learning_rate * rate
        optimizer.step()
    return before - validation_loss()


def in_run(
    config: CandidateConfig,
    group: Demonstrations,
    validation: Sequence[tuple[str, str]],
    root: str,
    seed: int,
    **how: Any,
) -> Values:
    """Values of every contributor, in the order of their first row."""
    with tempfile.TemporaryDirectory() as folder:
        (result,) = train_candidates(
            load(root, []),
            [group],
            [Path(folder) / "candidate"],
            parent="root",
            config=config,
            seed=seed,
            valuation=replace(HOW, pairs=validation, seeds=1, **how),
        )
    return np.array([result.values[0][name] for name in dict.fromkeys(group.contributors)])


def timed(root: str, seed: int, repetitions: int) -> float:
    """Time with values over time without, median of repetitions."""
    rng = np.random.default_rng(seed)
    pairs = [(comment.prompt, comment.response) for comment in forum.write_comments(TIMED_GROUPS * TIMED_ROWS, rng)]
    groups = [
        Demonstrations(pairs[at : at + TIMED_ROWS], [f"contributor {row // 16}" for row in range(TIMED_ROWS)])
        for at in range(0, len(pairs), TIMED_ROWS)
    ]
    validation = pairs[:VALIDATION]

    def train(valuation: Valuation | None) -> float:
        with tempfile.TemporaryDirectory() as folder:
            model, directories = load(root, []), [Path(folder) / str(number) for number in range(len(groups))]
            spent, _ = seconds(
                WALL,
                lambda: train_candidates(
                    model,
                    groups,
                    directories,
                    parent="root",
                    config=replace(ADAMW, epochs=4),
                    seed=seed,
                    valuation=valuation,
                ),
            )
        return spent

    train(None)
    ratios = []
    for repetition in range(repetitions):
        without = train(None)
        ratios.append(train(replace(HOW, pairs=validation, seeds=1)) / without)
        say(f"time: repetition {repetition + 1} of {repetitions}, ratio {ratios[-1]:.3f}")
    return statistics.median(ratios)


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(__doc__, argv)
    use_threads(1)
    root = seed_language_model()
    group, validation = game(np.random.default_rng(chosen.seed))
    bits = 1 << np.arange(PLAYERS)
    everybody = 2**PLAYERS - 1
    figures: dict[str, object] = {"time_ratio": timed(root, chosen.seed, 1 if chosen.quick else REPETITIONS)}
    context: dict[str, object] = {"seed": chosen.seed, "players": list(dict.fromkeys(group.contributors))}
    for name, config in CONFIGS.items():
        if chosen.quick and name:
            continue
        say(f"coalitions under {config.optimizer}")
        worths = retrained(config, group, validation, root, chosen.seed)
        reference = exact_shapley(lambda masks, worths=worths: worths[masks @ bits], PLAYERS).values
        first = in_run(config, group, validation, root, chosen.seed, order=1, every=1)
        second = in_run(config, group, validation, root, chosen.seed, order=2)
        leave_one_out = worths[everybody] - worths[everybody ^ bits]
        figures[f"pearson_first_order{name}"] = _pearson(first, reference)
        figures[f"pearson_second_order{name}"] = _pearson(second, reference)
        figures[f"pearson_leave_one_out{name}"] = _pearson(leave_one_out, reference)
        context[config.optimizer] = {
            "reference": reference.round(5).tolist(),
            "first_order": first.round(5).tolist(),
            "second_order": second.round(5).tolist(),
            "leave_one_out": leave_one_out.round(5).tolist(),
            "fall_of_validation_loss": round(float(worths[everybody]), 5),
        }
    finish(figures, context | {"coalitions": 2**PLAYERS}, "torch", "transformers", "peft")


def _pearson(values: Values, others: Values) -> float:
    return round(float(np.corrcoef(values, others)[0, 1]), 4)


if __name__ == "__main__":
    main()
