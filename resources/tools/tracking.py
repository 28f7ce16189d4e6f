"""What rounds came to, in an experiment tracker: MLflow, Weights & Biases or Trackio, each by its own client.

Belongs here: one member a tracker. Does not belong here: which figures a round has. Where a tracker keeps things its client reads
from its own variables (MLFLOW_TRACKING_URI, WANDB_API_KEY, WANDB_MODE, TRACKIO_DIR and so on).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from resources.common.errors import MissingExtraError

Figures = Mapping[str, float]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class TrackedRound:
    """A round of a home, as a tracker shows it.

    Attributes:
        home: Name of the home, with a part of its uuid: all its rounds stand together.
        round_id: ``r000003``; a round that is told again replaces what was told of it.
        round_no: Its number, the step of its figures.
        settings: What it was settled with, without places and people.
        figures: Finite numbers by name.
    """

    home: str
    round_id: str
    round_no: int
    settings: Settings
    figures: Figures


def track(tracker: str, told: TrackedRound) -> None:
    """Tell a tracker of a round.

    Raises:
        MissingExtraError: its client is not installed.
        Exception: whatever the client raises.
    """
    check_tracker(tracker)
    TRACKERS[tracker](told)


def check_tracker(tracker: str) -> None:
    """Check that a tracker's client is installed, without importing it.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec(tracker) is None:
        package = "mlflow-skinny" if tracker == "mlflow" else tracker
        raise MissingExtraError(
            f"CROWD_TRACKING={tracker} needs the tracker's own client, and {tracker} is not installed. Run pip install {package}, or "
            "leave CROWD_TRACKING empty."
        )


def _mlflow(told: TrackedRound) -> None:
    mlflow = import_module("mlflow")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(told.home)
    number = experiment.experiment_id if experiment else client.create_experiment(told.home)
    for earlier in client.search_runs([number], f"attributes.run_name = '{told.round_id}'"):
        client.delete_run(earlier.info.run_id)
    run = client.create_run(number, run_name=told.round_id).info.run_id
    for name, value in told.settings.items():
        client.log_param(run, name, str(value)[:500])
    for name, figure in told.figures.items():
        client.log_metric(run, name, figure, step=told.round_no)
    client.set_terminated(run)


def _like_wandb(client: str) -> Callable[[TrackedRound], None]:
    def tell(told: TrackedRound) -> None:
        tracker = import_module(client)
        options = {"id": f"{told.home}-{told.round_id}"} if client == "wandb" else {}
        run = tracker.init(project=told.home, name=told.round_id, config=dict(told.settings), resume="allow", **options)
        run.log(dict(told.figures), step=told.round_no)
        run.finish()

    return tell


TRACKERS: dict[str, Callable[[TrackedRound], None]] = {
    "mlflow": _mlflow,
    "wandb": _like_wandb("wandb"),
    "trackio": _like_wandb("trackio"),
}
