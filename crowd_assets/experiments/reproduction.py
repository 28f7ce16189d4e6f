"""The experiments as assets, and the reproduction that gathers their figures.

Belongs here: how an experiment becomes an asset, and what is written of it: JSON, a page, a document.
Does not belong here: experiments.
"""

import base64
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import psutil
from dagster import AssetExecutionContext, AssetsDefinition, Config, MaterializeResult, MetadataValue, asset
from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import Field
from upath import UPath

from crowd_assets.assets import OWNERS
from crowd_assets.experiments import judges, labelers, points, procurement, selection, truthfulness
from crowd_assets.experiments.study import PROJECT, Figure, Findings, Study, code_version
from crowd_assets.report import display
from resources.files.storage import write_text_atomically
from resources.settings.resource import CrowdSettings

GROUP = "experiments"
REPORTS = Path("reports")
DOCUMENT = PROJECT / "docs" / "reproduction.md"
LIBRARIES = ("torch", "transformers", "peft", "numpy", "polars")


@dataclass(frozen=True, slots=True)
class Experiment:
    """A title and what runs; its function's name is the asset's, its docstring the asset's description."""

    title: str
    run: Callable[[Study], Findings]

    @property
    def name(self) -> str:
        return self.run.__name__


EXPERIMENTS = (
    Experiment("Points against Shapley values, the authors' protocol", points.points_authors_protocol),
    Experiment("Points that track Shapley values", points.points_beyond),
    Experiment("One model against selection among three, the authors' protocol", selection.paper_protocol),
    Experiment("An open crowd against one model and an oracle", selection.open_crowd),
    Experiment("Regret of labeler weights", labelers.regret),
    Experiment("A real stream of labelers", labelers.real_labelers),
    Experiment("What judgements earn", judges.judgement_pay),
    Experiment("Gain of the best misreport", truthfulness.truthfulness),
    Experiment("Quality bought with money", procurement.procurement),
    Experiment("Models trained on what was bought", procurement.bought_preferences),
)


class ReproductionConfig(Config):
    """How an experiment runs."""

    quick: bool = Field(default=False, description="Fewer cells and repetitions under the same names.")


def experiment_assets() -> list[AssetsDefinition]:
    """An asset for every experiment, and the one that gathers them."""
    return [*(_asset(experiment) for experiment in EXPERIMENTS), gathered(tuple(each.name for each in EXPERIMENTS))]


def _asset(experiment: Experiment) -> AssetsDefinition:
    @asset(
        name=experiment.name,
        group_name=GROUP,
        kinds={"numpy"},
        owners=OWNERS,
        description=f"{experiment.title}. {experiment.run.__doc__ or ''}",
        code_version=code_version(experiment.run),
    )
    def run(
        context: AssetExecutionContext, config: ReproductionConfig, settings: CrowdSettings
    ) -> MaterializeResult[None]:
        study = Study(
            quick=config.quick,
            seed=settings.seed,
            folder=Path(settings.home, "experiments").resolve(),
            workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            log=context.log.info,
        )
        started = time.monotonic()
        findings = experiment.run(study)
        _keep(settings, experiment, config.quick, findings, sum(study.spent))
        return MaterializeResult(
            metadata=display.rounded({figure.name: figure.value for figure in findings.figures})
            | {"summary": MetadataValue.md(findings.summary), "quick": config.quick}
            | {"computed_seconds": round(sum(study.spent)), "seconds": round(time.monotonic() - started)}
            | {title: display.plot(png) for title, png in findings.plots.items()}
            | {title: display.table(frame) for title, frame in findings.tables.items()}
        )

    return run


def gathered(names: Sequence[str]) -> AssetsDefinition:
    """The asset that writes what the experiments ``names`` found."""

    @asset(group_name=GROUP, kinds={"json"}, owners=OWNERS, deps=list(names))
    def reproduction(config: ReproductionConfig, settings: CrowdSettings) -> MaterializeResult[None]:
        """Every figure of the experiments in ``reports/reproduction.json``, and with plots on a page that needs no other
        file; the figures of a full run also in ``docs/reproduction.md``."""
        command = "make reproduce QUICK=1" if config.quick else "make reproduce"
        kept = [_kept(settings, experiment, config.quick) for experiment in EXPERIMENTS]
        figures = [
            {**{name: _finite(value) for name, value in figure.items() if name != "goal"}, "command": command}
            for found in kept
            for figure in found["figures"]
        ]
        described = {"command": command, "date": datetime.now(UTC).date().isoformat(), "machine": _machine()}
        templates = Environment(
            loader=PackageLoader("crowd_assets.experiments", "."),
            autoescape=select_autoescape(["html.jinja"]),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters |= {"figure": _shown, "minutes": lambda seconds: f"{seconds / 60:.1f}"}
        written = {"reproduction.json": json.dumps(figures, indent=1)}
        written["reproduction.html"] = templates.get_template("reproduction.html.jinja").render(found=kept, **described)
        for name, text in written.items():
            write_text_atomically(UPath(REPORTS / name), text)
        if not config.quick:
            document = templates.get_template("reproduction.md.jinja").render(found=kept, **described)
            write_text_atomically(UPath(DOCUMENT), document)
        return MaterializeResult(
            metadata={
                "figures": len(figures),
                "page": MetadataValue.path(str((REPORTS / "reproduction.html").resolve())),
                "all": display.table(
                    pl.DataFrame(
                        [[figure["name"], _shown(figure["value"]), _shown(figure["published"])] for figure in figures],
                        schema=["name", "value", "published"],
                        orient="row",
                    )
                ),
            }
        )

    return reproduction


def run_config(quick: bool) -> dict[str, Any]:
    """Run configuration of the reproduction's job."""
    names = [*(experiment.name for experiment in EXPERIMENTS), "reproduction"]
    return {"ops": {name: {"config": {"quick": quick}} for name in names}}


def _path(settings: CrowdSettings, experiment: Experiment, quick: bool) -> UPath:
    return settings.path("experiments", "findings", "quick" if quick else "full", f"{experiment.name}.json")


def _keep(
    settings: CrowdSettings, experiment: Experiment, quick: bool, findings: Findings, computed_seconds: float
) -> None:
    """What a later step needs of the findings, with plots as text."""
    kept = {
        "title": experiment.title,
        "name": experiment.name,
        "summary": findings.summary,
        "computed_seconds": computed_seconds,
        "figures": [asdict(figure) for figure in sorted(findings.figures, key=_by_name)],
        "tables": {title: {"columns": frame.columns, "rows": frame.rows()} for title, frame in findings.tables.items()},
        "plots": {title: base64.b64encode(png).decode() for title, png in findings.plots.items()},
    }
    write_text_atomically(_path(settings, experiment, quick), json.dumps(kept))


def _kept(settings: CrowdSettings, experiment: Experiment, quick: bool) -> Mapping[str, Any]:
    kept: Mapping[str, Any] = json.loads(_path(settings, experiment, quick).read_text(encoding="utf-8"))
    return kept


def _by_name(figure: Figure) -> str:
    return figure.name


def _shown(value: float | None) -> str:
    """Four significant digits, or nothing."""
    return "" if value is None else f"{value:.4g}"


def _finite(value: Any) -> Any:
    """JSON has no NaN: a figure that could not be read off is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, Python {platform.python_version()}, {libraries}"
