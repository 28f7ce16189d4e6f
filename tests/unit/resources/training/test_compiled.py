"""Compiled blocks train what the same blocks train as they are. Graphs run as torch traced them, without a C++ compiler, which
takes a minute: ``benchmarks/train_candidates.py`` compares losses with that."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resources.training.candidate_runs import CandidateConfig
from resources.training.candidates import _Trainer
from resources.training.valuation import Valuation
from tests.unit.resources.training.test_candidates import CONFIG, GROUPS, VALIDATION, language_model


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> None:
    import torch

    torch._dynamo.reset()


def trained(seed_folder: Path, config: CandidateConfig = CONFIG, backend: Any = None) -> list[list[float]]:
    """Of each candidate: every loss and every value."""
    from resources.training import compiled

    trainer = _Trainer(
        language_model(seed_folder, "gpt2"), GROUPS[:2], config, [3], Valuation(VALIDATION, seeds=1, rows=3)
    )
    if backend:
        compiled.compile_blocks(trainer.stack, backend)
    with compiled.named_errors():
        trainer.run(lambda *_: None)
    return [[*run.losses, *(value for epoch in run.values for value in epoch.values())] for run in trainer.runs]


def test_compiled_blocks_train_the_same_adapters_by_graphs_that_passes_share(seed_folder: Path) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    compiled = trained(seed_folder, backend="aot_eager")
    graphs = counters["stats"]["unique_graphs"]
    assert trained(seed_folder, backend="aot_eager") == compiled
    assert (
        counters["stats"]["unique_graphs"] == graphs == 2
    )  # of the first block, whose input has no gradient, and the other
    assert not counters["graph_break"]
    plain, slower = trained(seed_folder), trained(seed_folder, replace(CONFIG, learning_rate=4e-3))
    for of_compiled, of_plain, of_slower in zip(compiled, plain, slower, strict=True):
        assert of_compiled == pytest.approx(of_plain, abs=1e-8)
        assert of_compiled != pytest.approx(of_slower, abs=1e-5)


def test_a_compiler_that_fails_is_an_error_that_names_the_setting(seed_folder: Path) -> None:
    from resources.training.compiled import CompilationError

    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler here")

    with pytest.raises(CompilationError, match=r"CROWD_COMPILE=true.*no compiler here.*CROWD_COMPILE=false"):
        trained(seed_folder, backend=broken)
