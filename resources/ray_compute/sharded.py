"""A task that several processes do together, each with a part of the base on its device: Ray Train starts and connects them.

Belongs here: the worker group. Does not belong here: what it does (see ``tasks``), how the base is spread (see
``training.sharding``).
"""

import tempfile
from collections.abc import Callable
from typing import Any


def in_group(
    function: Callable[..., Any],
    call: tuple[Any, ...],
    processes: int,
    resources: dict[str, float],
    retries: int = 0,
    *,
    progress: Callable[..., None],
) -> Any:
    """What ``function(*call)`` returns in the first of ``processes`` that all call it, connected to one another.

    Args:
        resources: What each process asks for.
        retries: How often all begin again where one of them, or its node, ended.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def each() -> Any:
        from ray.train import get_context

        first = get_context().get_world_rank() == 0
        result = function(*call, progress=progress if first else lambda *_: None)
        return result if first else None

    with tempfile.TemporaryDirectory() as folder:
        trainer = TorchTrainer(
            each,
            scaling_config=ScalingConfig(
                num_workers=processes, use_gpu="GPU" in resources, resources_per_worker=resources
            ),
            run_config=RunConfig(storage_path=folder, failure_config=FailureConfig(max_failures=retries)),
        )
        result: Any = trainer.fit()
        return result.return_value
