"""Speed and scale of the mechanisms, against peers and against goals.

Each module runs as ``python -m benchmarks.<name> [--quick]``, says on stderr how far it is and ends by printing one JSON
line on stdout. ``docs/benchmarks.md`` keeps the figures.

Belongs here: what the benchmarks share. Does not belong here: the papers' experiments (see ``crowd_assets.experiments``).
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

CPU, WALL = time.process_time, time.perf_counter


def options(doc: str | None, argv: list[str] | None, **sizes: tuple[int, str]) -> argparse.Namespace:
    """The command line that all benchmarks share, ``--quick`` and ``--seed``, and ``sizes`` of this one by name: what it is
    unless the command line says otherwise, and what it means."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small case under the same names, in seconds")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn (default: %(default)s)")
    for name, (usual, meaning) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=usual, help=f"{meaning} (default: %(default)s)")
    return parser.parse_args(argv)


def say(line: str) -> None:
    """One line of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def seconds(clock: Callable[[], float], work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds on ``clock`` that ``work()`` takes, and what it returns."""
    started = clock()
    result = work()
    return clock() - started, result


def finish(figures: Mapping[str, object], context: Mapping[str, object], *packages: str) -> None:
    """Print the JSON line: figures, then their context with the machine and the versions of ``packages``."""
    about = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "versions": {package: version(package) for package in ("numpy", *packages)},
    }
    print(json.dumps({**figures, "context": {**context, **about}}), flush=True)
