"""Where the seconds of a round go, stage by stage, with 24, 240 and 2,400 contributors.

A real round through the Dagster job, in this process, on the embedded models: four demonstrations a contributor,
preferences, outcomes and bids as the simulated crowd sends them, six groups, default settings but one epoch. Every
stage is a step of the job; ``seconds`` has those of each asset, ``total`` the run's.

``growth`` is log(seconds at most contributors / at ten times fewer) over log 10, for stages of at least a second: 1 is linear. Goal: nothing above 1 but what trains.

Belongs here: timing. Does not belong here: whether a round is right (see the tests).
"""

import json
import math
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from upath import UPath

from benchmarks import finish, options, say
from benchmarks.train_candidates import seed_language_model
from crowd_assets.forum import comments as forum
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.home.names import ROUND_JOB
from resources.settings.resource import CrowdSettings

CONTRIBUTORS = (24, 240, 2_400)
DEMONSTRATIONS = 4
LONG_ENOUGH = 1.0  # seconds


def write_demonstrations(contributors: int, folder: Path, rng: np.random.Generator) -> None:
    """One file of demonstrations, four a contributor, half of them of the wanted mood."""
    count = contributors * DEMONSTRATIONS // 2
    wanted = forum.write_comments(count, rng, moods=("gratitude",))
    others = forum.write_comments(count, rng)
    lines = []
    for number, comment in enumerate([*wanted, *others]):
        event = {
            "kind": "demonstration",
            "contributor_id": f"contributor-{number % contributors:05d}",
            "prompt": comment.prompt,
            "response": comment.response,
            "submitted_at": "2026-01-01T00:00:00+00:00",
        }
        lines.append(json.dumps(event))
    (folder / f"demonstrations-{contributors}.jsonl").write_text("\n".join(lines))


def stage_seconds(contributors: int, seed_folder: Path) -> dict[str, float]:
    """Seconds of every asset of one round, and the run's in all."""
    from dagster import DagsterRunStatus, RunsFilter

    from crowd_assets.commands.campaign import campaign

    with tempfile.TemporaryDirectory() as folder:
        home, feedback = Path(folder) / "home", Path(folder) / "feedback"
        home.mkdir()
        feedback.mkdir()
        (home / "seed").symlink_to(seed_folder.resolve())
        settings = CrowdSettings(home=str(home), epochs=1)
        SimulatedCrowd("gratitude", 0).write_feedback(1, UPath(feedback), [])
        for path in feedback.glob("*demonstration*"):
            path.unlink()
        write_demonstrations(contributors, feedback, np.random.default_rng(contributors))
        with redirect_stdout(sys.stderr), campaign(settings) as here:
            here.take_in(str(feedback))
            (run,) = here.instance.get_run_records(
                RunsFilter(job_name=ROUND_JOB, statuses=[DagsterRunStatus.SUCCESS]), limit=1
            )
            steps = here.instance.get_run_step_stats(run.dagster_run.run_id)
            spent = {"total": (run.end_time or math.nan) - (run.start_time or math.nan)}
        for step in steps:
            stage = step.step_key.split(".")[0].split("[")[0]
            spent[stage] = spent.get(stage, 0.0) + (step.end_time or math.nan) - (step.start_time or math.nan)
    return {stage: round(of_stage, 2) for stage, of_stage in spent.items()}


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(__doc__, argv)
    seed_folder = Path(seed_language_model()).parent
    sizes = CONTRIBUTORS[:2] if chosen.quick else CONTRIBUTORS
    with tempfile.TemporaryDirectory() as dagster_home:
        os.environ["DAGSTER_HOME"] = dagster_home
        found = {}
        for contributors in sizes:
            found[contributors] = stage_seconds(contributors, seed_folder)
            say(f"{contributors} contributors: {found[contributors]}")
    fewer, most = sizes[-2:]
    growth = {
        stage: round(math.log(spent / max(found[fewer][stage], 0.01)) / math.log(most / fewer), 2)
        for stage, spent in found[most].items()
        if spent >= LONG_ENOUGH
    }
    finish({"seconds": {str(size): found[size] for size in sizes}, "growth": growth}, {"epochs": 1}, "torch", "dagster")


if __name__ == "__main__":
    main()
