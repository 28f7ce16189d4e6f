"""Rounds in a home, two in all or as many as are said, by the code of whichever commit stands first on the path:
``python play.py FOLDER [ROUNDS]``; see ``make_home``.

Belongs here: what differs between commits. Does not belong here: which commit, and what of the home is kept.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import stand_ins
from stand_ins import one_of

ROUNDS = 2
HIDDEN = 4


def main(folder: Path, rounds: int = ROUNDS) -> None:
    """Play the rounds in ``folder/home`` that are not over."""
    os.chdir(folder)
    Path(stand_ins.ROOT).mkdir(parents=True, exist_ok=True)
    Path(stand_ins.ROOT, "config.json").write_text(json.dumps({"hidden_size": HIDDEN}))
    forum = one_of("crowd_assets.forum.comments", "crowd_assets.simulation.forum")
    comments = forum.write_comments(200, np.random.default_rng(1))
    Path("ordinary.txt").write_text("\n".join(each.response for each in comments), encoding="utf-8")
    harness = importlib.import_module("tests.e2e.crash.harness")
    settings = harness.SETTINGS | {
        "home": "home",
        "base_model": stand_ins.ROOT,
        "embedder": stand_ins.PHI,
        "reference_texts": "ordinary.txt",
    }
    os.environ |= {f"CROWD_{name.upper()}": str(value) for name, value in settings.items()}
    os.environ["DAGSTER_HOME"] = str(folder)
    stand_ins.install()
    importlib.import_module("tests.e2e.crash.crowd").make_crowd_smaller()
    build = one_of("resources.build", "crowd_assets.definitions").build_resources
    of_home = one_of("resources.settings.resource", "resources.settings").CrowdSettings
    if "lots_from" in of_home.model_fields:
        os.environ["CROWD_LOTS_FROM"] = "forum"  # the lots that the simulated crowd bids for
    settings = of_home.from_environment()
    resources: Any = build(settings)
    trainer = resources["trainer"] if isinstance(resources, dict) else resources.trainer
    stub = importlib.import_module("tests.e2e.crash.stub").StubTrainer(**dict(trainer))
    campaign = one_of("crowd_assets.commands.campaign", "crowd_assets.campaign").campaign
    with campaign(settings) as here:
        definitions = importlib.import_module("crowd_assets.definitions")
        here.definitions = definitions.build_definitions(settings, resource_overrides={"trainer": stub})
        here.simulate(rounds - sum(each.status == "completed" for each in here.book.all()))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:]))
