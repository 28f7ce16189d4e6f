"""Campaigns of killed lives: where each life dies, what is checked after it, and the figures of all.

    python -m tests.e2e.crash.harness --kills 300 --seed 0 --seed-models .crowd/seed

ends by printing one JSON line. Belongs here: drawing kills, counting, comparing. Does not belong here: lives, points and
invariants.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import typer
from dagster import DagsterInstance

from crowd_assets.commands.campaign import PROJECT
from crowd_assets.forum import comments as forum
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.facts import COMPLETED
from tests.e2e.crash import invariants
from tests.e2e.crash.points import LONGEST_CALL_S, SIDES, Kill

MEMORY = Path("/dev/shm")  # what SIGKILL leaves is the same there, and hundreds of commits a round wait for no disk
ORDINARY_COMMENTS = 200
SETTINGS = {
    "groups": 3,
    "epoch_rounds": 2,
    "deposit": "0.5",
    "fused_candidates": 2,
    "selection_samples": 16,
    "selection_batches": 2,
    "selection_confidence": 0.6,
    "report_samples": 16,
    "alignment_min_pairs": 4,
    "shapley_permutations": 40,
    "target_neighbours": 20,
    "quorum_events": 60,
    "quorum_contributors": 4,
    "max_attempts": 1000,  # else a round that is killed often is skipped, and the campaign is another one
    "lock_timeout_s": 20,
}
SECRET = "5a" * 32  # of all homes alike: by its draws one campaign is compared with another
SHARE_BY_TIME = 0.15
SHARE_BY_LABEL = 0.5  # of the others: rare points would hardly ever be drawn among all
REACH = 1.5  # rounds: a life that is to die further on finishes one


class InvariantError(AssertionError):
    """What must hold does not; the message has the seed, the kills before, and how to repeat them."""


@dataclass
class Figures:
    """What a harness counted."""

    kills: int = 0
    by_side: Counter[str] = field(default_factory=Counter)
    by_point: Counter[str] = field(default_factory=Counter)
    points: int = 0
    labels: int = 0
    lives: int = 0
    recoveries: int = 0
    campaigns: int = 0
    checks: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Home:
    """A folder in which lives run one after the other."""

    def __init__(self, folder: Path, seed_models: Path, warehouse: str = "") -> None:
        self.folder = folder
        home = folder / "home"
        home.mkdir(parents=True)
        (folder / "tmp").mkdir()
        (home / "seed").symlink_to(seed_models.resolve())
        shutil.copy(PROJECT / "dagster.yaml", folder)
        ordinary = folder / "ordinary.txt"
        comments = forum.write_comments(ORDINARY_COMMENTS, np.random.default_rng(1))
        ordinary.write_text("\n".join(comment.response for comment in comments), encoding="utf-8")
        self.settings = CrowdSettings(
            home=str(home),
            warehouse=warehouse,
            embedder=str(home / "seed" / "classifier"),  # by name, so that its vectors are kept
            reference_texts=str(ordinary),
            **SETTINGS,  # type: ignore[arg-type]
        )

    def life(self, rounds: int, kill: Kill | None = None, after_s: float | None = None) -> dict[str, Any]:
        """A life as ``lives`` takes it."""
        wanted = self.settings.model_dump(exclude_defaults=True)
        return {
            "folder": str(self.folder),
            "rounds": rounds,
            "kill": asdict(kill) if kill else None,
            "after_s": after_s,
            "log": str(self.folder / "log"),
            "note": str(self.folder / "note.json"),
            "environment": {f"CROWD_{name.upper()}": str(value) for name, value in wanted.items()}
            | {"TMPDIR": str(self.folder / "tmp"), "CROWD_SECRET": SECRET},
        }

    def noted(self) -> dict[str, Any]:
        """What the last life noted, {} where it was killed from outside."""
        note = self.folder / "note.json"
        if not note.exists():
            return {}
        found: dict[str, Any] = json.loads(note.read_text())
        note.unlink()
        return found

    def completed(self) -> int:
        """Rounds that are over."""
        return sum(round_.status == COMPLETED for round_ in RoundBook(self._warehouse).all())

    @property
    def _warehouse(self) -> Any:
        from resources.build import build_resources

        return build_resources(self.settings).warehouse

    def left_running(self) -> list[str]:
        """Runs that nobody ends any more."""
        before = os.getcwd()
        os.chdir(self.folder)  # the paths in dagster.yaml begin where Dagster is started
        try:
            with DagsterInstance.from_config(str(self.folder)) as instance:
                return invariants.left_running(instance, self.settings)
        finally:
            os.chdir(before)

    def tail(self) -> str:
        """The end of what the last lives printed."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-6000:]


class Harness:
    """Kills lives of campaigns of ``rounds`` rounds and compares each campaign with an undisturbed one.

    Args:
        folder: Where homes are made.
        seed: Of every kill; a campaign that broke is repeated by the same seed.
        reach: Rounds after which a life has died at the latest, where its point comes by then: the fewer, the more kills
            a round takes.
    """

    def __init__(self, folder: Path, seed_models: Path, *, rounds: int, seed: int, reach: float = REACH) -> None:
        self.figures = Figures()
        self.seed = seed
        self._reach = reach
        self._folder, self._seed_models, self._rounds = folder, seed_models, rounds
        self._draws = random.Random(seed)
        self._lives = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.crash.lives"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            text=True,
            cwd=PROJECT,
            env={name: value for name, value in os.environ.items() if not name.startswith(("CROWD_", "DAGSTER_"))}
            | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        self._history: list[str] = []
        self._labels: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._lives.stdin is not None
        self._lives.stdin.close()
        try:
            self._lives.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._lives.kill()
            self._lives.wait()

    def run(self, kills: int, say: Any = lambda line: None) -> Figures:
        """Make ``kills`` kills in as many campaigns as it takes.

        Raises:
            InvariantError: something that must hold does not.
        """
        started = time.monotonic()
        calm = Home(self._folder / "campaign", self._seed_models)
        ended = self.live(calm, None)
        if ended["ended"] != "done":
            raise InvariantError(f"the undisturbed campaign {ended['ended']}\n{calm.tail()}")
        counts: Counter[str] = Counter(calm.noted()["counts"])
        self._seconds_a_round = ended["seconds"] / self._rounds
        self.figures.points, self.figures.labels = counts.total(), len(counts)
        self._counts = counts
        expected = invariants.contents(calm.settings)
        self._sent = invariants.event_ids(calm.settings)
        self._check(calm, whole=True)
        say(
            f"undisturbed: {self._rounds} rounds, {counts.total()} points of {len(counts)} labels, {ended['seconds']:.1f} s"
        )
        shutil.rmtree(calm.folder)  # all campaigns have one place, as paths are part of settings and cards
        while self.figures.kills < kills:
            home = Home(self._folder / "campaign", self._seed_models)
            self._history = []
            self._campaign(home, kills, say)
            self._check(home, whole=True)
            if different := invariants.differences(expected, invariants.contents(home.settings)):
                self._fail(home, [f"not as undisturbed: {each}" for each in different])
            self.figures.campaigns += 1
            shutil.rmtree(home.folder)
        self.figures.seconds = round(time.monotonic() - started, 1)
        return self.figures

    def _campaign(self, home: Home, kills: int, say: Any) -> None:
        recovering = 0
        while True:
            kill, after_s = self._draw() if self.figures.kills < kills else (None, None)
            before = home.completed() if recovering else 0
            ended = self.live(home, kill, after_s)
            noted = home.noted()
            if ended["ended"] == "killed":
                self.figures.kills += 1
                side = noted.get("side", "by time")
                label = noted.get("label", f"after {after_s:.2f} s" if after_s else "?")
                self.figures.by_side[side] += 1
                if "label" in noted:
                    self.figures.by_point[label] += 1
                self._history.append(f"{side} {label} {noted.get('number', '')}")
                self._check(home, whole=False)
                completed = home.completed()
                say(
                    f"kill {self.figures.kills}: {self._history[-1]} ({completed} rounds done, {ended['seconds']:.1f} s)"
                )
            elif ended["ended"] != "done":
                self._fail(home, [f"a life ended otherwise: {ended['ended']}"])
            completed = home.completed()
            if completed > before and recovering:
                self.figures.recoveries += recovering
                recovering = 0
                self._check(home, whole=False)
            if ended["ended"] == "done":
                return
            recovering += 1

    def _draw(self) -> tuple[Kill | None, float | None]:
        draws = self._draws
        if draws.random() < SHARE_BY_TIME:
            return None, draws.uniform(0.2, self._reach * self._seconds_a_round)
        side = draws.choice(SIDES)
        delay = draws.uniform(0, LONGEST_CALL_S)
        if draws.random() < SHARE_BY_LABEL:
            if not self._labels:  # every label on every side once, before any comes again
                self._labels = [(label, side) for label in sorted(self._counts) for side in SIDES]
                draws.shuffle(self._labels)
            label, side = self._labels.pop()  # type: ignore[assignment]
            often = min(self._reach, 1.0) * self._counts[label] / self._rounds
            return Kill(draws.randint(1, max(1, int(often))), side, label, delay), None
        return Kill(draws.randint(1, int(self._reach * self._counts.total() / self._rounds)), side, "", delay), None

    def live(self, home: Home, kill: Kill | None = None, after_s: float | None = None) -> dict[str, Any]:
        """One life in a home, and how it ended."""
        assert self._lives.stdin is not None
        assert self._lives.stdout is not None
        self._lives.stdin.write(json.dumps(home.life(self._rounds, kill, after_s)) + "\n")
        self._lives.stdin.flush()
        answer = self._lives.stdout.readline()
        if not answer:
            raise RuntimeError("the process that forks lives has ended: its reason stands above")
        ended: dict[str, Any] = json.loads(answer)
        self.figures.lives += 1
        self.figures.cpu_seconds = round(self.figures.cpu_seconds + ended["cpu"], 1)
        return ended

    def _check(self, home: Home, *, whole: bool) -> None:
        self.figures.checks += 1
        found = invariants.broken(home.settings, self._sent)
        if whole:
            found += home.left_running()
        if found:
            self._fail(home, found)

    def _fail(self, home: Home, found: list[str]) -> None:
        raise InvariantError(
            "\n".join(
                [
                    *found,
                    "",
                    f"seed {self.seed}, campaign {self.figures.campaigns}, kills:",
                    *self._history,
                    home.tail(),
                ]
            )
        )


app = typer.Typer()


@app.command()
def main(
    seed_models: Annotated[Path, typer.Option(help="Folder of seed models: classifier and language_model.")],
    kills: Annotated[int, typer.Option(min=1)] = 300,
    seed: Annotated[int, typer.Option(help="Of every kill: the same again repeats a failure.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of a campaign.")] = 3,
) -> None:
    """Kill lives and check what is left; progress on stderr, figures as one JSON line on stdout."""
    with (
        tempfile.TemporaryDirectory(prefix="crash-", dir=MEMORY if MEMORY.is_dir() else None) as folder,
        Harness(Path(folder), seed_models, rounds=rounds, seed=seed) as harness,
    ):
        try:
            figures = harness.run(kills, lambda line: print(line, file=sys.stderr, flush=True))
        except InvariantError as problem:
            print(json.dumps({"broken": str(problem).splitlines()[:3], "seed": seed} | vars(harness.figures)))
            raise SystemExit(str(problem)) from None
    print(json.dumps({"seed": seed} | vars(figures)))


if __name__ == "__main__":
    app()
