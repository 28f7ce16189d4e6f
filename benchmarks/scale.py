"""What a round costs past one machine, by part: ``python -m benchmarks.scale workers``.

*workers*: seconds of J candidates over the embedded base, trained in one pass of this process, and by Ray with 1, 2 and 3 tasks on
a cluster of three nodes with a CPU each, which is started on loopback for it (needs the extra ``cluster``).

* ``seconds_embedded``, ``seconds_of_1_worker``, …: from the call to stored candidates, after a task that lets each node's process
  import torch.
* ``overhead_s``: seconds of one worker less those of this process: what a task adds to the same pass, its base loaded anew.
* ``empty_task_s``: of a task that does nothing, one after the other: Ray's own part of that.
* ``efficiency_of_2``, ``…_3``: seconds of one worker over those of so many times their number; 1 is perfect. Where nodes share the
  machine's cores it says more about them than about Ray: ``cpu_s_embedded`` stands beside it, the least that any way needs.

Belongs here: costs of what is distributed. Does not belong here: whether it comes out the same (see ``tests/cluster``).
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import CPU, WALL, finish, options, say, seconds
from benchmarks.train_candidates import config_of, seed_language_model
from crowd_assets.simulation import forum
from resources.model_store import ModelStoreResource
from resources.ray_compute import require_ray
from resources.trainer import TrainerResource
from resources.training.candidates import Demonstrations
from resources.training.loading import use_threads

if TYPE_CHECKING:
    from resources.ray_compute.cluster import RayCluster

WORKERS = (1, 2, 3)
EMPTY_TASKS = 10


def nothing(*, progress: Any) -> None:
    """A task that does nothing."""


def warm(*, progress: Any) -> None:
    """A task that imports what training does."""
    import peft  # noqa: F401
    import transformers  # noqa: F401


@contextmanager
def cluster_on_loopback(nodes: int) -> "Iterator[RayCluster]":
    """A cluster of nodes with a CPU each, whose worker processes have imported torch."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # its nodes listen on 127.0.0.1
    import ray
    from ray.cluster_utils import Cluster

    from resources.ray_compute.cluster import RayCluster

    started = Cluster()
    try:
        for _ in range(nodes):
            started.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        yield RayCluster(address=started.address)
    finally:
        ray.shutdown()
        started.shutdown()


def seconds_by_workers(
    cluster: "RayCluster", base: str, groups: list[Demonstrations], batch_size: int
) -> dict[str, float]:
    """Seconds of the same candidates by this process, and by 1, 2 and 3 tasks at once."""
    from resources.ray_compute.trainer import RayTrainer

    def train(trainer: type[TrainerResource], **fields: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            store = ModelStoreResource(root=str(Path(folder, "store")), cache=str(Path(folder, "cache")))
            made = trainer(store=store, base_model=base, fused=len(groups), **fields)
            return made.train_candidates(
                None,
                groups,
                config=config_of(batch_size),
                seed=1,
                valuation=None,
                cards=[{"role": "candidate"}] * len(groups),
                progress=lambda *_: None,
            )

    use_threads(1)
    train(TrainerResource)  # imports
    cpu, _ = seconds(CPU, lambda: train(TrainerResource))
    wall, _ = seconds(WALL, lambda: train(TrainerResource))
    figures = {"cpu_s_embedded": cpu, "seconds_embedded": wall}
    cluster.run("warm", warm, [()] * max(WORKERS))
    for workers in WORKERS:
        of_these = cluster.model_copy(update={"tasks": workers})
        wall, _ = seconds(WALL, lambda some=of_these: train(RayTrainer, cluster=some))  # type: ignore[misc]
        figures[f"seconds_of_{workers}_worker{'s' if workers > 1 else ''}"] = wall
        say(f"{len(groups)} candidates, {workers} workers: {wall:.1f} s")
    return figures


def workers(argv: list[str]) -> None:
    """The part of that name."""
    given = options(__doc__, argv, candidates=(12, "candidates"), rows=(64, "demonstrations of each"))
    require_ray("benchmarks.scale workers")
    count, rows = (3, 8) if given.quick else (given.candidates, given.rows)
    comments = forum.write_comments(rows * count, np.random.default_rng(given.seed))
    pairs = [(comment.prompt, comment.response) for comment in comments]
    groups = [Demonstrations(pairs[first : first + rows], ["somebody"] * rows) for first in range(0, len(pairs), rows)]
    with cluster_on_loopback(max(WORKERS)) as cluster:
        figures = seconds_by_workers(cluster, seed_language_model(), groups, batch_size=4)
        empty, _ = seconds(WALL, lambda: [cluster.run("nothing", nothing, [()]) for _ in range(EMPTY_TASKS)])
    figures["overhead_s"] = figures["seconds_of_1_worker"] - figures["seconds_embedded"]
    figures["empty_task_s"] = empty / EMPTY_TASKS
    for many in WORKERS[1:]:
        figures[f"efficiency_of_{many}"] = figures["seconds_of_1_worker"] / (
            many * figures[f"seconds_of_{many}_workers"]
        )
    finish(
        {name: round(value, 3) for name, value in figures.items()},
        {"candidates": count, "demonstrations_each": rows},
        "ray",
        "torch",
    )


PARTS: dict[str, Callable[[list[str]], None]] = {"workers": workers}


def main(argv: list[str] | None = None) -> None:
    part, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if part not in PARTS:
        sys.exit(f"python -m benchmarks.scale PART [--quick], where PART is one of {', '.join(PARTS)}")
    PARTS[part](rest)


if __name__ == "__main__":
    main()
