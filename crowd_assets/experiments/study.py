"""What an experiment is handed and what it hands back: cells computed once, figures, tables and plots.

Belongs here: running and caching cells, code versions, the shape of findings. Does not belong here: any one experiment.
"""

import ast
import hashlib
import importlib.util
import json
import multiprocessing
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from upath import UPath

from resources.common.errors import OperatorError
from resources.common.locks import held
from resources.common.progress import throttled
from resources.files.storage import write_bytes_atomically

REFERENCE_DATA = "CROWD_REFERENCE_DATA"
PROJECT = Path(__file__).resolve().parents[2]
SECONDS = "seconds"
LONGEST_BUILD_S = 4 * 3600.0  # another process's, that one waits for
WHOLE = "*"  # in place of a definition's name: all of a module
OURS = ("crowd_assets", "resources", "sensors")

Cell = Callable[..., Any]


class ReferenceDataError(OperatorError, FileNotFoundError):
    """A set of real data that an experiment measures on is not there; the message says where it can be had."""


class StudyBusyError(OperatorError, TimeoutError):
    """Another process is at what an experiment builds for too long; the message says which."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a reproduction.

    Attributes:
        name: Dotted name, the same in every run, so that figures can be compared over time.
        value: What was measured; shares and reductions are fractions.
        low, high: A 95 % interval, or None where the figure is a count or has no sampling error.
        published: What the paper or its authors' own files say, or None.
        source: Which paper, table or data the figure belongs to.
        seed: Seed that it was drawn with.
        goal: What this project wants of it, in words ("at least 0.94"), or empty.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    published: float | None
    source: str
    seed: int
    goal: str = ""


@dataclass(slots=True)
class Findings:
    """What an experiment found: ``summary`` is Markdown (what was done, what came out, what fell short and why);
    ``tables`` and ``plots`` (PNG) by their titles."""

    figures: list[Figure]
    summary: str
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    plots: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """What an experiment is handed.

    Attributes:
        quick: Fewer cells and repetitions under the same names.
        seed: Seed of everything that is drawn.
        folder: Where cells and what they build are kept.
        workers: Processes that compute cells side by side.
        log: Takes one line of progress.
        spent: Seconds of every cell (CPU) and folder (clock) that the study asked for, computed now or before.
    """

    quick: bool
    seed: int
    folder: Path
    workers: int
    log: Callable[[str], None]
    spent: list[float] = field(default_factory=list)

    def map(self, cell: Cell, parameters: Sequence[Mapping[str, Any]], *, reads: Sequence[str] = ()) -> list[Any]:
        """``cell(**p)`` for every p of ``parameters``, in their order; each is computed once and then read back.

        A result is kept under the version of the code that made it (see :func:`code_version`), its parameters and the content of the files it reads, so a stopped study goes on where it was, and a
        change to the code starts it anew.

        Args:
            cell: A function of a module, with arguments and result that JSON can hold. Torch and BLAS get one thread.
            parameters: Keyword arguments of each call.
            reads: Files below the reference data that the cell reads; it is then handed ``data: str``, their folder.

        Raises:
            ReferenceDataError: one of ``reads`` is missing.
        """
        kept = self.folder / "cells" / f"{cell.__module__.rpartition('.')[2]}.{cell.__name__}"
        version = [code_version(cell), *(_content(reference_file(name)) for name in reads)]
        extra = {"data": str(reference_folder())} if reads else {}
        paths = [kept / f"{_digest([version, dict(given)])}.json" for given in parameters]
        missing = {path: given for path, given in zip(paths, parameters, strict=True) if not path.exists()}
        for path, timed in self._computed(cell, {path: {**given, **extra} for path, given in missing.items()}):
            write_bytes_atomically(UPath(path), json.dumps(timed).encode())
        cells = [json.loads(path.read_bytes()) for path in paths]
        self.spent.append(sum(cell["seconds"] for cell in cells))
        return [cell["result"] for cell in cells]

    def build(self, builder: Cell, *, reads: Sequence[str] = (), **parameters: Any) -> Path:
        """The folder that ``builder(folder, **parameters)`` makes: models, say. Built once, under the same key as a cell.

        Args:
            builder: Makes the folder, which does not exist yet, and says how far it is by ``say: Callable[[str], None]``.
            reads: As in :meth:`map`.
        """
        version = [code_version(builder), *(_content(reference_file(name)) for name in reads)]
        folder = self.folder / "built" / f"{builder.__name__}-{_digest([version, parameters])}"
        extra = {"data": str(reference_folder())} if reads else {}
        folder.parent.mkdir(parents=True, exist_ok=True)

        def busy(holder: str) -> StudyBusyError:
            return StudyBusyError(
                f"{folder} has been built for {LONGEST_BUILD_S / 3600:.0f} hours by {holder}. Wait for that process or stop that process."
            )

        lock = Path(f"{folder}.lock")
        with held(
            lock,
            LONGEST_BUILD_S,
            busy,
            lambda holder: self.log(f"{folder.name}: waiting while {holder} builds the folder"),
        ):
            if not folder.exists():
                unfinished = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
                started = time.monotonic()
                builder(unfinished, say=self.log, **parameters, **extra)
                (unfinished / SECONDS).write_text(str(time.monotonic() - started))
                unfinished.rename(folder)
        self.spent.append(float((folder / SECONDS).read_text()))
        return folder

    def _computed(self, cell: Cell, calls: Mapping[Path, Mapping[str, Any]]) -> Iterator[tuple[Path, dict[str, Any]]]:
        if not calls:
            return
        said = throttled(cell.__name__, self.log)
        self.log(f"{cell.__name__}: {len(calls)} cells to compute")
        with _one_thread_each(), ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn")) as pool:
            running = {pool.submit(_timed, cell, given): path for path, given in calls.items()}
            failed: BaseException | None = None
            try:
                for done, future in enumerate(as_completed(running), start=1):
                    if future.cancelled():
                        continue
                    if future.exception() is not None:  # what other cells are at is finished and kept
                        failed = failed or future.exception()
                        pool.shutdown(wait=False, cancel_futures=True)
                        continue
                    yield running[future], future.result()
                    said(done, len(calls))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
            if failed is not None:
                raise failed


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of independent values, and its 95 % interval by Student's t."""
    from scipy.stats import t

    array = np.asarray(values, dtype=np.float64)
    half = float(t.ppf(0.975, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size)) if array.size > 1 else 0.0
    return float(array.mean()), float(array.mean()) - half, float(array.mean()) + half


def _timed(cell: Cell, given: Mapping[str, Any]) -> dict[str, Any]:
    started = time.process_time()
    result = cell(**given)
    return {"seconds": time.process_time() - started, "result": result}


def reference_folder() -> Path:
    """The folder of real data: ``CROWD_REFERENCE_DATA``, or ``../shared/data`` beside the project."""
    return Path(os.environ.get(REFERENCE_DATA) or PROJECT.parent / "shared" / "data").resolve()


def reference_file(name: str) -> Path:
    """A file below the folder of real data.

    Raises:
        ReferenceDataError: it is not there.
    """
    path = reference_folder() / name
    if not path.exists():
        raise ReferenceDataError(
            f"{path} is missing: set {REFERENCE_DATA} to the folder with the real data. docs/experiments.md says where "
            "each set can be had and how it is laid out."
        )
    return path


def code_version(function: Cell) -> str:
    """A hash of what ``function`` does: of its own definition and of every definition of this project that it reaches,
    through names and imports. Comments, docstrings and layout do not count, nor does what it never reaches."""
    definitions: dict[tuple[str, str], str] = {}
    waiting = [(function.__module__, function.__name__)]
    while waiting:
        place = waiting.pop()
        if place in definitions or place[0].partition(".")[0] not in OURS:
            continue
        module, name = place
        source = _source(module)
        if source is None:  # a name of a module outside, or one that only exists when it runs
            continue
        nodes = source.everything if name == WHOLE else [*source.always, *source.definitions.get(name, ())]
        definitions[place] = "\n".join(map(ast.dump, nodes))
        for node in (part for whole in nodes for part in ast.walk(whole)):
            if isinstance(node, ast.Name) and node.id in source.definitions:
                waiting.append((module, node.id))
            elif isinstance(node, ast.Import):
                waiting += [(alias.name, WHOLE) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    waiting.append((submodule, WHOLE) if _source(submodule) else (node.module, alias.name))
    return _digest(sorted([*place, code] for place, code in definitions.items()))


@dataclass(frozen=True, slots=True)
class _Source:
    """A module's statements: by the names they define, those that define none, and all of them."""

    definitions: dict[str, list[ast.stmt]]
    always: list[ast.stmt]
    everything: list[ast.stmt]


@cache
def _source(module: str) -> _Source | None:
    if module.partition(".")[0] not in OURS:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its parent is no package: a function's name, not a module's
        return None
    if spec is None or spec.origin is None:
        return None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    definitions: dict[str, list[ast.stmt]] = {}
    always = []
    for statement in (single for whole in tree.body for single in _one_name_each(whole)):
        names = _defined(statement)
        for name in names:
            definitions.setdefault(name, []).append(statement)
        if not names:
            always.append(statement)
    return _Source(definitions, always, tree.body)


def _one_name_each(statement: ast.stmt) -> list[ast.stmt]:
    """An import of several names as imports of one."""
    if isinstance(statement, ast.ImportFrom):
        return [ast.ImportFrom(statement.module, [alias], statement.level) for alias in statement.names]
    if isinstance(statement, ast.Import):
        return [ast.Import([alias]) for alias in statement.names]
    return [statement]


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [
        part.id for target in targets if target is not None for part in ast.walk(target) if isinstance(part, ast.Name)
    ]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside compute on one thread: several cells side by side would wait for one another's."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
