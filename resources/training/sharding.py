"""A base whose blocks are spread over the devices of several processes (torch's FSDP2), for one that fits on none of them.

Every process makes the same passes; a block's weights are brought together when a pass comes to it, and let go after. Adapters are
small, and whole in each. So a model ends as it would on one device, and what is gained is memory, not time.

Belongs here: spreading a model. Does not belong here: starting the processes (see ``resources.ray_compute.sharded``).
"""

from typing import Any

from resources.common.errors import OperatorError


class ShardingError(OperatorError, RuntimeError):
    """CROWD_SHARDING is set, and the model cannot be spread."""


def shard(model: Any, device: Any) -> None:
    """Spread the blocks of a model on the CPU over the processes of the default group, this one's part on ``device``. What is in no
    block (embeddings, the head) stays where it is.

    Raises:
        ShardingError: transformers does not say what the model's blocks are.
    """
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not blocks:
        raise ShardingError(f"{type(model).__name__} has no blocks to spread: set CROWD_SHARDING=none.")
    mesh = init_device_mesh(device.type, (get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
