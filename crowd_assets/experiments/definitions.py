"""The code location of the experiments: whoever runs rounds loads none of them.

Belongs here: putting the experiments' assets, job and resources together. Does not belong here: rounds (see ``crowd_assets.definitions``).
"""

from typing import Any

from dagster import Definitions

from crowd_assets.assets.catalogue import with_references
from crowd_assets.experiments.reproduction import experiment_assets
from crowd_assets.jobs import reproduction_job
from crowd_assets.terminal.log import console_logger, use_json_lines
from resources.build import build_resources
from resources.home.identity import open_home
from resources.settings.resource import CrowdSettings


def build_experiments(settings: CrowdSettings | None = None) -> Definitions:
    """The experiments with their job.

    Args:
        settings: Settings; read from the environment where None.
    """
    settings = settings or CrowdSettings.from_environment()
    if settings.log_format == "json":
        use_json_lines()
    made = build_resources(settings)
    return Definitions(
        assets=with_references(experiment_assets()),
        jobs=[reproduction_job(settings, made.warehouse)],
        loggers={"console": console_logger(settings.log_format)},
        resources=made.as_dict(),
    )


def __getattr__(name: str) -> Any:
    """``definitions``, made when a code server asks."""
    if name != "definitions":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = CrowdSettings.from_environment()
    open_home(settings, build_resources(settings).warehouse)
    globals()[name] = build_experiments(settings)
    return globals()[name]
