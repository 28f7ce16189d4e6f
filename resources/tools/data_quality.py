"""Data quality: Great Expectations behind one resource, with Data Docs that keep a page a round.

Belongs here: the context, running a suite on a frame, what it found. Does not belong here: the suites themselves and
what follows from a finding (see ``crowd_assets.quality``).
"""

import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import polars as pl
from dagster import ConfigurableResource
from pydantic import Field

from resources.common.errors import OperatorError
from resources.common.locks import held


class QualityBusyError(OperatorError, TimeoutError):
    """The Great Expectations context was not free in time; the message says who holds it."""


class DataQualityResource(ConfigurableResource):
    """A Great Expectations file context under ``root``; one process at a time, as two would break it."""

    root: str = Field(description="Local folder of the context and its Data Docs.")
    lock_timeout_s: float = Field(default=120.0, description="Longest wait for the context, in seconds.")

    @property
    def data_docs(self) -> Path:
        """The front page of the Data Docs."""
        return Path(self.root, "gx", "uncommitted", "data_docs", "local_site", "index.html")

    def run_suites(
        self, frames: Mapping[str, pl.DataFrame], suites: Mapping[str, Sequence[Any]], run_name: str
    ) -> dict[tuple[str, str], int]:
        """Run each suite on the frame of its name and add the results to the Data Docs.

        Of rows that do not meet an expectation the pages list the first twenty, and count the others.

        Args:
            frames: Frames by suite name.
            suites: Expectations by suite name, each of one column, with a ``description`` in words.
            run_name: Round id, under which the Data Docs show the run.

        Returns:
            By suite and column, how many rows do not meet it; 0 or 1 for an expectation of the column as a whole.

        Raises:
            QualityBusyError: another process held the context too long.
            RuntimeError: an expectation could not be computed.
        """
        import great_expectations as gx
        from great_expectations.core.run_identifier import RunIdentifier
        from great_expectations.data_context.types.base import ProgressBarsConfig

        from resources.tools.data_docs import SITE, is_ours

        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

        with self._locked():
            unfinished = Path(self.root, "unfinished")
            if unfinished.exists():
                _remove_what_may_be_torn(Path(self.root, "gx"))
            unfinished.touch()
            context = gx.get_context(mode="file", project_root_dir=self.root)
            context.variables.progress_bars = ProgressBarsConfig(globally=False)
            context.variables.data_docs_sites = {"local_site": SITE}
            run = RunIdentifier(run_name=run_name)
            failing_counts: dict[tuple[str, str], int] = {}
            pages = []
            for name, frame in frames.items():
                of_frame, result = _run(context, name, frame, suites[name], run)
                pages += of_frame
                failing_counts |= {(name, column): failing for column, failing in map(_counted, result.results)}
            context.build_data_docs(resource_identifiers=pages if is_ours(self.data_docs) else None)
            unfinished.unlink()
            return failing_counts

    def forget(self, run_names: Collection[str]) -> int:
        """Remove the results and pages of runs; the front page names them until the next run.

        Returns:
            How many pages there were.

        Raises:
            QualityBusyError: as :meth:`run_suites`.
        """
        results = Path(self.root, "gx", "uncommitted", "validations")
        pages = self.data_docs.parent / "validations"
        forgotten = 0
        with self._locked():
            for folder in (results, pages):  # in this order: the front page lists what has a result
                for of_run in sorted(folder.glob("*/*")):
                    if of_run.name in run_names:
                        forgotten += len(list(of_run.rglob("*.html")))
                        shutil.rmtree(of_run)
        return forgotten

    def _locked(self) -> AbstractContextManager[None]:
        return held(Path(self.root, "context.lock"), self.lock_timeout_s, _busy(self.root, self.lock_timeout_s))


def _busy(root: str, timeout_s: float) -> Callable[[str], QualityBusyError]:
    return lambda holder: QualityBusyError(
        f"{root} has been locked for {timeout_s:.0f} s by {holder}. "
        "Wait for that process or stop that process; CROWD_LOCK_TIMEOUT_S sets how long to wait."
    )


def _remove_what_may_be_torn(folder: Path) -> None:
    """Great Expectations writes its files in place: one that a killed process left half written would stop every run to come.
    Configuration and suites are made anew by each run; of results only those go that cannot be read."""
    for name in ("great_expectations.yml", "uncommitted/config_variables.yml"):
        (folder / name).unlink(missing_ok=True)
    for name in ("expectations", "validation_definitions"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / "uncommitted" / "validations").rglob("*.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            path.unlink()


def _run(context: Any, name: str, frame: pl.DataFrame, expectations: Sequence[Any], run: Any) -> tuple[list[Any], Any]:
    """Validate and keep one frame; returns what names its pages, and the result.

    Not by a checkpoint: its action builds the front page anew for each frame.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    source = context.data_sources.add_or_update_pandas("feedback")
    batch = source.add_dataframe_asset(name=name).add_batch_definition_whole_dataframe("round")
    suite = context.suites.add_or_update(gx.ExpectationSuite(name=name, expectations=list(expectations)))
    validation = context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=name, data=batch, suite=suite)
    )
    result = validation.run(
        batch_parameters={"dataframe": frame.to_pandas()}, result_format={"result_format": "SUMMARY"}, run_id=run
    )
    about = ExpectationSuiteIdentifier(name=name)
    return [about, ValidationResultIdentifier(about, run, result.batch_id)], result


def _counted(result: Any) -> tuple[str, int]:
    """The column of an expectation, and how many rows do not meet it."""
    problem = [each["exception_message"] for each in _exceptions(result.exception_info) if each["raised_exception"]]
    if problem:
        raise RuntimeError(f"{result.expectation_config.description}: {problem[0]}")
    failing = result.result.get("unexpected_count")
    return str(result.expectation_config.kwargs["column"]), int(not result.success) if failing is None else int(failing)


def _exceptions(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Great Expectations gives one dictionary, or one for each metric."""
    return [info] if "raised_exception" in info else list(info.values())
