"""Comparisons of what the round's base wrote with what its successor wrote.

Belongs here: which answers are compared. Does not belong here: the answers (see ``resources.feedback.generated``), comparisons of bought
answers (see ``procurement``).
"""

import hashlib

import polars as pl

from crowd_assets.round.procurement import TASKS_SCHEMA
from crowd_assets.round.randomness import generator_for
from resources.feedback.generated import name_of, written_in
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings

NO_LOT = ""


def generated_tasks(round_: Round, settings: CrowdSettings, frames: FramesResource) -> pl.DataFrame:
    """Rows of ``comparison_tasks``: ``CROWD_GENERATED_PAIRS`` prompts of the round's report, drawn by the round's key, with what the base and
    what the next base wrote to each, in an order drawn for each; fewer where both wrote the same. None where the base stayed."""
    written = written_in(round_.round_id, frames) if settings.generated_pairs else None
    if written is None:
        return pl.DataFrame(schema=TASKS_SCHEMA)
    successor = "aligned" if "aligned" in written.columns else "winner"
    rng = generator_for(round_, "generated pairs")
    rows: list[tuple[str, str, str, str]] = []
    for at in rng.permutation(written.height).tolist():
        models = ["base", successor] if rng.integers(2) else [successor, "base"]
        if written["base"][at] == written[successor][at] or len(rows) == settings.generated_pairs:
            continue
        first, second = (name_of(round_.round_id, model, at) for model in models)
        identity = "\0".join([round_.round_id, first, second])
        comparison_id = f"{round_.round_id}-{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}"
        rows.append((comparison_id, NO_LOT, first, second))
    return pl.DataFrame(rows, schema=TASKS_SCHEMA, orient="row")
