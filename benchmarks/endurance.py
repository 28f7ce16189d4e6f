"""What sixty rounds leave behind: seconds a round and a step, files, Dagster's storage, ``status`` and the report, early and late.

A small crowd sends the same every round, and ``--newcomers`` others once each, so that everybody ever seen grows and those who take
part do not. Nothing is trained: the crash harness' ``StubTrainer`` draws adapters and texts; everything around the tensors is real,
and runs as ``make round`` runs it.

``growth`` compares the last ten rounds with ten after the first five: 1 is flat. Goal: no step of a second or more above 1.2, and
what is kept grows by what each round keeps.

Belongs here: what grows by rounds. Does not belong here: a large crowd (see ``load``), speed of training (see ``round``).
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from dagster import DagsterInstance, RunsFilter
from upath import UPath

from benchmarks import CPU, WALL, finish, options, say, seconds
from crowd_assets.forum import comments as forum
from resources.build import build_resources
from resources.files.storage import write_text_atomically
from resources.settings.resource import CrowdSettings
from sensors import ROUND_JOB, ROUND_TAG
from tests.e2e.crash.crowd import make_crowd_smaller
from tests.e2e.crash.harness import Home
from tests.e2e.crash.stub import StubTrainer

WARMING_UP, COMPARED = 5, 10  # rounds
LONG_ENOUGH = 0.2  # seconds, of a step whose growth is told


def newcomers(round_no: int, count: int, inbox: UPath) -> None:
    """One file of people who were never seen before, two demonstrations each."""
    rng = np.random.default_rng(round_no)
    lines = [
        json.dumps(
            {
                "kind": "demonstration",
                "contributor_id": f"newcomer-{round_no}-{number % count}",
                "prompt": comment.prompt,
                "response": comment.response,
                "submitted_at": datetime.now(UTC).isoformat(),
            }
        )
        for number, comment in enumerate(forum.write_comments(2 * count, rng))
    ]
    write_text_atomically(inbox / f"newcomers-{round_no}.jsonl", "\n".join(lines) + "\n")


def measured(settings: CrowdSettings, instance: DagsterInstance, round_id: str) -> dict[str, Any]:
    """Seconds of the steps of a round, of ``status``, and what lies there, after it."""
    from crowd_assets.monitoring.status import status

    (run,) = instance.get_runs(RunsFilter(job_name=ROUND_JOB, tags={ROUND_TAG: round_id}), limit=1)
    steps: dict[str, float] = {}
    for step in instance.get_run_step_stats(run.run_id):
        name = step.step_key.split(".")[0].split("[")[0]
        steps[name] = steps.get(name, 0.0) + (step.end_time or 0.0) - (step.start_time or 0.0)
    took, _ = seconds(WALL, lambda: status(settings))
    files: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for folder, _, names in os.walk(settings.home):
        parts = Path(folder).relative_to(settings.home).parts
        part = parts[0] if parts else "home"
        files[part] = files.get(part, 0) + len(names)
        sizes[part] = sizes.get(part, 0) + sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return {"steps": steps, "status": took, "files": files, "bytes": sizes}


def campaign_of(rounds: int, sent: int, seed_models: Path, folder: Path) -> list[dict[str, Any]]:
    """What each of ``rounds`` rounds cost and left."""
    from crowd_assets.commands.campaign import campaign
    from crowd_assets.definitions import build_definitions

    make_crowd_smaller()
    settings = Home(folder, seed_models).settings
    os.environ.pop("DAGSTER_HOME", None)
    found = []
    with redirect_stdout(sys.stderr), campaign(settings) as here:
        trainer = StubTrainer(**dict(build_resources(settings).trainer))
        here.definitions = build_definitions(settings, resource_overrides={"trainer": trainer})
        for number in range(1, rounds + 1):
            newcomers(number, sent, settings.inbox_path)
            cpu, wall = CPU(), WALL()
            here.simulate(1)
            spent = {"round": number, "cpu": CPU() - cpu, "wall": WALL() - wall}
            found.append(spent | measured(settings, here.instance, f"r{number:06d}"))
            say(f"round {number}: {spent['wall']:.1f} s, {spent['cpu']:.1f} s of CPU")
    return found


def growth(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of early and late rounds, their quotients, and what a round adds to what is kept."""
    early, late = found[WARMING_UP : WARMING_UP + COMPARED], found[-COMPARED:]

    def mean(rows: list[dict[str, Any]], name: str, of: str = "") -> float:
        return float(np.mean([row[of].get(name, 0.0) if of else row[name] for row in rows]))

    figures: dict[str, Any] = {
        name: {"early": mean(early, name), "late": mean(late, name), "growth": mean(late, name) / mean(early, name)}
        for name in ("wall", "cpu", "status")
    }
    figures["steps"] = {
        name: {"late": mean(late, name, "steps"), "growth": mean(late, name, "steps") / mean(early, name, "steps")}
        for name in late[-1]["steps"]
        if max(mean(late, name, "steps"), mean(early, name, "steps")) >= LONG_ENOUGH
    }
    apart = late[-1]["round"] - early[0]["round"]
    for kept in ("files", "bytes"):
        figures[f"{kept}_a_round"] = {
            name: (late[-1][kept][name] - early[0][kept].get(name, 0)) / apart for name in sorted(late[-1][kept])
        }
    return figures


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(
        __doc__,
        argv,
        rounds=(60, "rounds"),
        newcomers=(20, "contributors a round whom nobody has seen before"),
    )
    rounds = WARMING_UP + 3 if chosen.quick else chosen.rounds
    seed_models = Path(os.environ.get("CROWD_HOME", ".crowd"), "seed")
    with tempfile.TemporaryDirectory(prefix="endurance-") as folder:
        found = campaign_of(rounds, chosen.newcomers, seed_models, Path(folder, "campaign"))
    context: Mapping[str, object] = {"rounds": rounds, "newcomers": chosen.newcomers, "last": found[-1]}
    finish(_rounded(growth(found)), _rounded(context), "dagster", "duckdb", "polars")


def _rounded(figures: Any) -> Any:
    if isinstance(figures, dict):
        return {name: _rounded(value) for name, value in figures.items()}
    return round(figures, 3) if isinstance(figures, float) else figures


if __name__ == "__main__":
    main()
