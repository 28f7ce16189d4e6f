"""Candidates in one pass against PEFT one after the other and against TRL's SFTTrainer: time, losses, tokens a second.

Same base, same initial adapters, same batches, same learning rates, same number of steps, in one run: J adapters of rank 8 on
the forum's comments, batches of 1 (small), 4 (medium) and 16 rows (large), each measured with J = 2, 4 and 8.

* *fused*: ``resources.training.candidates``, as the platform trains.
* *sequential*: one PEFT model after the other, torch's AdamW, transformers' own loss, our batches of like length (a loop as
  lean as it can be written; TRL's is what people run).
* *trl*: one ``SFTTrainer`` after the other on the same rows, in the same order, completions only. Its time is that of
  ``train()``, without tokenising. Its time a candidate is the median of two.

``fused_vs_*`` is their time over ours, ``tokens_per_second`` counts tokens without padding, ``share_of_matmul_rate`` is the
floating-point work of the base's and the adapters' matrix products (forward and backward, recomputing nothing) per second
over the rate of a product of 512 x 512 matrices measured in this run. ``max_loss_difference`` is the largest between a step's
loss of fused and of sequential, in nats a token. On a GPU there is also a base of 0.5B parameters, built from its
configuration, in bfloat16.

With J = 4 the same passes also run compiled (``CROWD_COMPILE``): ``compiled_vs_fused`` is the time without over the time with
(on a CPU that of the processor), ``compile_seconds`` by how much longer the first pass took, ``compiled_loss_difference`` the
largest of a step's loss.

Goals: never slower than sequential; 2.5 times faster for small batches on a CPU; 1.7 times on a GPU at J = 8; 3 times against
SFTTrainer. Needs the packages of the extra ``test``.

Belongs here: timing. Does not belong here: whether adapters end the same (see the tests).
"""

import copy
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import CPU, WALL, finish, options, say, seconds
from crowd_assets.forum import comments as forum
from resources.settings.resource import CrowdSettings
from resources.training.candidate_runs import CandidateConfig, Demonstrations, length_bucketed
from resources.training.candidates import _Trainer
from resources.training.loading import LanguageModel, load, use_threads
from resources.training.prompting import Tokens, batch, tokenise
from resources.training.supervised import new_adapter

BATCHES = {"small": 1, "medium": 4, "large": 16}
STEPS = {"small": 16, "medium": 12, "large": 6}
ADAPTERS = (2, 4, 8)
COMPILED_ADAPTERS = 4
REPETITIONS = 3
SEED = 5
HALF_A_BILLION = {
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "intermediate_size": 3584,
    "max_position_embeddings": 1024,
}


def seed_language_model() -> str:
    """The embedded language model of the home in CROWD_HOME; built first, where it is not there."""
    from crowd_assets.commands.campaign import campaign

    settings = CrowdSettings.from_environment()
    if not settings.seed_language_model_path.exists():
        os.environ.setdefault("DAGSTER_HOME", str(Path.cwd()))
        with campaign(settings) as here:
            here.build_seeds()
    return str(settings.seed_language_model_path)


def config_of(batch_size: int) -> CandidateConfig:
    return CandidateConfig(learning_rate=5e-3, epochs=1, batch_size=batch_size, rank=8, alpha=16, max_tokens=128)


def fused(base: LanguageModel, groups: Sequence[Demonstrations], config: CandidateConfig) -> list[list[float]]:
    """Losses of every step of every adapter."""
    trainer = _Trainer(base, groups, config, [SEED], None)
    trainer.run(lambda *_: None)
    return [run.losses for run in trainer.runs]


def compiled(base: LanguageModel, groups: Sequence[Demonstrations], config: CandidateConfig) -> dict[str, float | None]:
    """The same passes as they are and compiled, in turn, after one that compiles."""
    clock = CPU if base.device.type == "cpu" else WALL  # one thread computes; others on the machine do not count

    def losses_of(compile: bool) -> list[list[float]]:
        found = fused(_fresh(base), groups, replace(config, compile=compile))
        _synchronise(base.device)
        return found

    (first, _), (second, _) = (seconds(WALL, partial(losses_of, True)) for _ in range(2))
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(REPETITIONS):
        spent, found = zip(*(seconds(clock, partial(losses_of, compile)) for compile in times), strict=True)
        for of_one, compile in zip(spent, times, strict=True):
            times[compile].append(of_one)
    return {
        "compiled_vs_fused": round(statistics.median(times[False]) / statistics.median(times[True]), 2),
        "compile_seconds": round(first - second, 1),
        "compiled_loss_difference": float(np.abs(np.diff(np.array(found), axis=0)).max()),
    }


def rows_of(
    base: LanguageModel, group: Demonstrations, config: CandidateConfig
) -> tuple[list[Tokens], list[list[int]]]:
    rows = [tokenise(base.tokenizer, *pair, config.max_tokens) for pair in group.pairs]
    return rows, length_bucketed([len(row.ids) for row in rows], config.batch_size, config.epochs, SEED)


def rate(step: int, steps: int, peak: float) -> float:
    """The platform's schedule."""
    warm_up = max(1, round(0.1 * steps))
    if step <= warm_up:
        return peak * step / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps + 1 - warm_up)))


def peft_model(base: LanguageModel, config: CandidateConfig) -> Any:
    """A PEFT model with the initial adapter that the stack draws."""
    import torch

    model = new_adapter(base, config)
    generator = torch.Generator().manual_seed(SEED)
    for module in model.modules():
        if "default" in getattr(module, "lora_A", {}):
            weight = module.lora_A["default"].weight
            bound = 1 / math.sqrt(weight.shape[1])
            weight.data.copy_(torch.rand(weight.shape, generator=generator).mul_(2 * bound).sub_(bound))
    return model


def sequential(base: LanguageModel, groups: Sequence[Demonstrations], config: CandidateConfig) -> list[list[float]]:
    """Losses of every step of every adapter, one after the other."""
    import torch

    pad, losses = int(base.tokenizer.pad_token_id), []
    for group in groups:
        rows, plan = rows_of(base, group, config)
        model = peft_model(base, config)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
        model.train()
        of_group = []
        for step, chosen in enumerate(plan, start=1):
            optimizer.param_groups[0]["lr"] = rate(step, len(plan), config.learning_rate)
            loss = model(**batch([rows[row] for row in chosen], pad, base.device)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            of_group.append(float(loss.detach()))
        losses.append(of_group)
        model.unload()
    return losses


def trl_seconds(base: LanguageModel, groups: Sequence[Demonstrations], config: CandidateConfig) -> float:
    """Seconds a candidate that SFTTrainer's ``train()`` takes."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    spent = []
    for group in groups:
        rows, plan = rows_of(base, group, config)
        ordered = [rows[row] for step in plan for row in step]
        data = Dataset.from_dict(
            {
                "input_ids": [row.ids for row in ordered],
                "completion_mask": [
                    [0] * row.prompt_length + [1] * (len(row.ids) - row.prompt_length) for row in ordered
                ],
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            arguments = SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=config.batch_size,
                num_train_epochs=1,
                learning_rate=config.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=max(1, round(0.1 * len(plan))),
                max_grad_norm=1.0,
                weight_decay=0.0,
                completion_only_loss=True,
                gradient_checkpointing=False,
                bf16=base.model.dtype == torch.bfloat16,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                use_cpu=base.device.type == "cpu",
                max_length=config.max_tokens,
            )
            model = peft_model(base, config)
            trainer = InOrder(model=model, args=arguments, train_dataset=data, processing_class=base.tokenizer)
            with redirect_stdout(sys.stderr):  # where the trainer reports
                duration, _ = seconds(WALL, trainer.train)
            spent.append(duration)
            model.unload()
    return statistics.median(spent)


def matmul_rate(device: Any, dtype: Any) -> float:
    """Floating-point operations a second of a matrix product in this process."""
    import torch

    size = 512 if device.type == "cpu" else 4096
    left, right = (torch.randn((size, size), device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    _synchronise(device)
    repetitions = 40
    spent, _ = seconds(WALL, lambda: ([left @ right for _ in range(repetitions)], _synchronise(device)))
    return 2 * size**3 * repetitions / spent


def work(base: LanguageModel, groups: Sequence[Demonstrations], config: CandidateConfig) -> tuple[int, float]:
    """Tokens of all steps, and floating-point operations of their matrix products: forward and backward through the frozen
    matrices (2 + 2 a weight and token; the head at labelled tokens alone) and the adapters' (2 + 4)."""
    import torch

    head = base.model.get_output_embeddings()
    layers = [module for module in base.model.modules() if module is not head and isinstance(module, torch.nn.Linear)]
    frozen = sum(module.weight.numel() for module in layers)
    adapter = sum(config.rank * sum(module.weight.shape) for module in layers)
    tokens = labelled = 0
    for group in groups:
        rows, plan = rows_of(base, group, config)
        tokens += sum(len(rows[row].ids) for step in plan for row in step)
        labelled += sum(len(rows[row].ids) - rows[row].prompt_length for step in plan for row in step)
    return tokens, tokens * (4.0 * frozen + 6.0 * adapter) + labelled * 4.0 * head.weight.numel()


def _synchronise(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(base: LanguageModel, quick: bool) -> dict[str, dict[str, dict[str, float | None]]]:
    """Figures by size of batch and by J."""
    rng = np.random.default_rng(SEED)
    comments = [(comment.prompt, comment.response) for comment in forum.write_comments(1_000, rng)]
    peak = matmul_rate(base.device, base.model.dtype)
    figures: dict[str, dict[str, dict[str, float | None]]] = {}
    for size, batch_size in BATCHES.items():
        config, rows = config_of(batch_size), batch_size * STEPS[size]
        per_candidate = None
        figures[size] = {}
        for adapters in ADAPTERS[:1] if quick else ADAPTERS:
            groups = [
                Demonstrations([comments[(number * rows + row) % 1_000] for row in range(rows)], ["contributor"] * rows)
                for number in range(adapters)
            ]
            tokens, operations = work(base, groups, config)
            times: dict[str, list[float]] = {"fused": [], "sequential": []}
            difference = 0.0
            for _ in range(1 if quick else REPETITIONS):
                copies = [_fresh(base), _fresh(base)]
                ours, our_losses = seconds(WALL, lambda: (fused(copies[0], groups, config), _synchronise(base.device)))  # noqa: B023
                theirs, their_losses = seconds(
                    WALL,
                    lambda: (sequential(copies[1], groups, config), _synchronise(base.device)),  # noqa: B023
                )
                times["fused"].append(ours)
                times["sequential"].append(theirs)
                difference = float(np.abs(np.array(our_losses[0]) - np.array(their_losses[0])).max())
            if per_candidate is None:
                per_candidate = trl_seconds(_fresh(base), groups[:2], config)
            ours = statistics.median(times["fused"])
            figures[size][f"J={adapters}"] = {
                "fused_vs_sequential": round(statistics.median(times["sequential"]) / ours, 2),
                "fused_vs_trl": round(per_candidate * adapters / ours, 2),
                "tokens_per_second": round(tokens / ours),
                "share_of_matmul_rate": round(operations / ours / peak, 3),
                "max_loss_difference": difference,
                **({} if quick or adapters != COMPILED_ADAPTERS else compiled(base, groups, config)),
            }
            say(f"{size}, J={adapters}: {figures[size][f'J={adapters}']}")
    return figures


def _fresh(base: LanguageModel) -> LanguageModel:
    return LanguageModel(copy.deepcopy(base.model), base.tokenizer, base.device)


def half_a_billion(root: str) -> LanguageModel:
    """A Llama of 0.5B parameters with random weights in bfloat16, on the GPU."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    small = load(root, [])
    with torch.device("cuda"):
        config = LlamaConfig(vocab_size=32_000, tie_word_embeddings=True, **HALF_A_BILLION)
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    return LanguageModel(model, small.tokenizer, torch.device("cuda"))


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    import torch

    chosen = options(__doc__, argv)
    use_threads(1)
    root = seed_language_model()
    base = load(root, [])
    fused(_fresh(base), [Demonstrations([("warm", "up")] * 4, ["nobody"] * 4)], config_of(2))
    figures = {base.device.type: measure(base, chosen.quick)}
    if torch.cuda.is_available():
        figures["cuda_half_a_billion"] = measure(half_a_billion(root), chosen.quick)
    finish(figures, {"threads": 1, "steps": STEPS, "rows": BATCHES}, "torch", "transformers", "peft", "trl")


if __name__ == "__main__":
    main()
