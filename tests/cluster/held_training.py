"""The platform's command line with a smaller crowd, where the training of one round stops on one node until that node is killed.

    CLUSTER_TEST_HELD=<folder> python -m tests.cluster.held_training round --rounds 5

On Ray, in ``HELD_ROUND`` the first task on another node than the head stops after a step, and writes the number of its node's process
to the file ``stopped`` of the folder, in which the file ``head`` has the head's. Everything else is as the command does it.
Belongs here: stopping. Does not belong here: killing (see ``test_campaign``).
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from resources.models.trainer import TrainedModel
from resources.ray_compute import tasks

FOLDER = "CLUSTER_TEST_HELD"
HELD_ROUND = "r000002"
LONGEST_S = 600


def train_candidates(sent: Any, arguments: dict[str, Any], *, progress: Any) -> list[TrainedModel]:
    """The task of that name."""
    folder, node = Path(os.environ[FOLDER]), os.getppid()
    here = arguments["cards"][0]["round_id"] == HELD_ROUND and str(node) != (folder / "head").read_text()

    def held(done: int, total: int, note: str) -> None:
        progress(done, total, note)
        if here and 0 < done < total:
            with suppress(FileExistsError), (folder / "stopped").open("x") as file:
                file.write(str(node))
                file.flush()
                time.sleep(LONGEST_S)

    return sent.made().train_candidates(**arguments, progress=held)


if __name__ == "__main__":
    from crowd_assets.__main__ import main
    from tests.cluster import held_training
    from tests.e2e.crash.crowd import make_crowd_smaller

    make_crowd_smaller()
    tasks.train_candidates = held_training.train_candidates  # by its module's name, as nodes import it
    main()
