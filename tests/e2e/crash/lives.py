"""Lives of a campaign: processes that do what ``crowd-rounds round`` does, one after the other.

    python -m tests.e2e.crash.lives     # one JSON object a line on stdin: a life; one on stdout: how it ended

Each life is a fork of this process, which has imported what others wrote and done nothing: a life begins at once, in a process
group of its own. Belongs here: forking, living, waiting. Does not belong here: which life dies where (see ``harness``).
"""

import faulthandler
import json
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import great_expectations.core.run_identifier  # noqa: F401  # what a life would take long to import
import scipy.stats  # noqa: F401
import torch  # noqa: F401
import transformers.models.auto.modeling_auto
import transformers.models.modernbert.modeling_modernbert  # noqa: F401

from tests.e2e.crash.points import Kill, Points

LONGEST_LIFE_S = 240.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # a busy machine is no hang


def _live(folder: Path, rounds: int, kill: Kill | None, note: Path, killer: int) -> None:
    os.chdir(folder)
    os.environ["DAGSTER_HOME"] = str(folder)
    # Polars starts threads as it is imported, and a fork has none of them: so a life imports it, and with it what is ours.
    from crowd_assets.commands.campaign import campaign
    from crowd_assets.definitions import build_definitions
    from resources.build import build_resources
    from resources.rounds.attempts import AttemptBook
    from resources.settings.resource import CrowdSettings
    from resources.warehouse.facts import COMPLETED
    from sensors.rounds import report_dead_runs
    from tests.e2e.crash.crowd import make_crowd_smaller
    from tests.e2e.crash.stub import StubTrainer

    make_crowd_smaller()
    settings = CrowdSettings.from_environment()
    points = Points(Path(settings.home), kill, note, killer)
    points.install()
    with campaign(settings) as here:
        trainer = StubTrainer(**dict(build_resources(settings).trainer))
        here.definitions = build_definitions(settings, resource_overrides={"trainer": trainer})
        completed = sum(round_.status == COMPLETED for round_ in here.book.all())
        if completed < rounds:
            here.simulate(rounds - completed)
        else:  # killed after its last round was over: what is left to do is the round sensor's
            report_dead_runs(here.instance, AttemptBook(here.warehouse, settings.lease_s), settings)
    points.close()


def _fork(life: dict[str, Any], killer: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    with open(life["log"], "ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    faulthandler.dump_traceback_later(LONGEST_LIFE_S - 5)  # into the log: where a life hangs
    code = 1
    try:
        os.environ.update(life["environment"])
        kill = Kill(**life["kill"]) if life["kill"] else None
        _live(Path(life["folder"]), life["rounds"], kill, Path(life["note"]), killer)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(life: dict[str, Any]) -> dict[str, Any]:
    """Run one life to its end: ``ended`` is done, failed, killed or late, ``seconds`` how long it took."""
    asked, killer = os.pipe()
    started = time.monotonic()
    pid = _fork(life, killer)
    os.close(killer)
    after = life.get("after_s")
    ended = ""
    try:
        # the pipe is readable when the life asks to be killed, and at its end
        ready, _, _ = select.select([asked], [], [], after or LONGEST_LIFE_S)
        delay = os.read(asked, 100).decode() if ready else ""
        if delay:
            time.sleep(float(delay))
        if delay or not ready:
            ended = "" if delay or after else "late"
            os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(asked)
    _, status, used = os.wait4(pid, 0)
    if not ended:
        ended = "killed" if os.WIFSIGNALED(status) else "failed" if os.waitstatus_to_exitcode(status) else "done"
    return {"ended": ended, "seconds": time.monotonic() - started, "cpu": used.ru_utime + used.ru_stime}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
