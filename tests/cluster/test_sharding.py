"""A base spread over two processes on CPUs (gloo), without Ray: candidates, values and generations are those of a whole one."""

import json
from pathlib import Path
from typing import Any

import pytest

from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.candidates import train_candidates
from resources.training.generation import generate
from resources.training.loading import load
from resources.training.sharding import ShardingError
from resources.training.valuation import Valuation

pytestmark = pytest.mark.cluster

PROCESSES = 2
GROUPS = [
    Demonstrations(
        [(f"What about thing {row}?", f"Group {group} likes it {'very ' * (row % 4)}much.") for row in range(rows)],
        [f"contributor-{group}-{row % 3}" for row in range(rows)],
    )
    for group, rows in enumerate((6, 3))
]
CONFIG = CandidateConfig(learning_rate=5e-3, epochs=1, batch_size=4, rank=4, alpha=8, max_tokens=48)
VALUATION = Valuation([("What about it?", "Group 0 likes it.")] * 4, rows=4, every=2)


def made(base: str, folder: Path, *, sharded: bool) -> dict[str, Any]:
    """What is trained and written over a base, and the part of it that this process keeps."""
    from torch.distributed.tensor import DTensor

    model = load(base, [], sharded=sharded)
    spread = [each for each in model.model.parameters() if isinstance(each, DTensor)]
    directories = [folder / str(number) for number in range(len(GROUPS))]
    results = train_candidates(model, GROUPS, directories, parent="root", config=CONFIG, seed=3, valuation=VALUATION)
    written = generate(
        load(base, [], sharded=sharded),
        ["What about it?"] * 4,
        max_new_tokens=6,
        temperature=1.0,
        seed=2,
        lineages=[[directory] for directory in directories],
    )
    whole = sum(each.numel() for each in spread)
    return {
        "share": sum(each.to_local().numel() for each in spread) / whole if whole else 1.0,
        "values": [result.values for result in results],
        "written": written,
        "adapters": [(directory / "adapter_model.safetensors").read_bytes().hex() for directory in directories],
    }


def one_of_two(rank: int, base: str, place: Path) -> None:
    """A process of the group."""
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}/group", rank=rank, world_size=PROCESSES)
    found = made(base, place / str(rank), sharded=True)
    (place / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_a_base_spread_over_two_processes_is_trained_on_as_a_whole_one(seed_folder: Path, tmp_path: Path) -> None:
    import torch

    base = str(seed_folder / "language_model")
    torch.multiprocessing.spawn(one_of_two, args=(base, tmp_path), nprocs=PROCESSES)
    whole = json.loads(json.dumps(made(base, tmp_path / "whole", sharded=False)))
    assert whole.pop("share") == 1.0
    for rank in range(PROCESSES):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found.pop("share") == pytest.approx(1 / PROCESSES, abs=0.01)
        assert found == whole


def test_what_cannot_be_spread_is_said(seed_folder: Path) -> None:
    with pytest.raises(ShardingError, match="CROWD_DEVICE_MAP=cpu"):
        load(str(seed_folder / "language_model"), [], sharded=True, device_map="cpu")
