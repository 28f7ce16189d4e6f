"""Training, generation and embedding as tasks of a Ray cluster, where CROWD_COMPUTE=ray.

Belongs here: what knows of Ray. Does not belong here: tensors (see ``training``), which are the same in a task as without.
Nothing imports the modules of this package where CROWD_COMPUTE=embedded: the base install has no Ray.
"""

import os
from importlib.util import find_spec

from resources.common.errors import OperatorError


class RayMissingError(OperatorError, RuntimeError):
    """Ray is asked for, and is not installed."""


def require_ray(setting: str) -> None:
    """Check that Ray can be imported, and let it send no statistics of its use.

    Args:
        setting: What asks for it, for the error.

    Raises:
        RayMissingError: Ray or dagster-ray is not installed.
    """
    if any(find_spec(package) is None for package in ("ray", "dagster_ray")):
        raise RayMissingError(
            f'{setting} needs Ray: pip install -e ".[cluster]", here and on every node of the cluster, or unset {setting}.'
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
