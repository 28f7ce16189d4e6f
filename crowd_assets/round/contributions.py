"""What each contributor's demonstrations were worth in a round: mean vectors in Φ, and Shapley values.

Belongs here: frames from frames. Does not belong here: estimates over rounds (see ``points``), pay (see ``settlement``).
"""

from typing import Any

import numpy as np
import polars as pl

from crowd_assets.mechanisms.distance_shapley import distance_shapley
from crowd_assets.mechanisms.points_schemes.surrogate import LARGE_CROWD
from crowd_assets.mechanisms.shapley import estimate_shapley, mean_over_runs
from crowd_assets.mechanisms.target import centroid_game
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import Target
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource


def embedded(valid: pl.DataFrame, embedder: EmbedderResource) -> pl.DataFrame:
    """Who demonstrated what in a round: ``contributor_id``, how many ``demonstrations``, and the mean ``vector`` of them."""
    demonstrations = valid.filter(pl.col("kind") == "demonstration")
    contributors = demonstrations["contributor_id"].unique().sort()
    vectors = embedder.embed(list(demonstrations["response"]))
    owner = contributors.search_sorted(demonstrations["contributor_id"]).to_numpy()
    counts = np.bincount(owner, minlength=len(contributors))
    means = np.zeros((len(contributors), vectors.shape[1]))
    np.add.at(means, owner, vectors / counts[owner, None])
    return pl.DataFrame({"contributor_id": contributors, "demonstrations": counts, "vector": means.tolist()})


def values_of(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
    aim: Target,
    written: pl.DataFrame,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Rows of ``contributions``, and how much they rest on.

    Args:
        written: As :func:`embedded` gives it.
    """
    contributors = written["contributor_id"]
    about: dict[str, Any]
    if settings.shapley_method == "in_run":
        of_runs = warehouse.read_round("contributor_values", round_.round_no).pivot(
            "contributor_id", index="seed_index", values="loss_reduction"
        )
        benched = pl.lit(0.0)  # who trained no candidate changed none
        valued = [pl.col(name) if name in of_runs.columns else benched.alias(name) for name in contributors]
        values, errors = mean_over_runs(of_runs.select(valued).to_numpy())
        method = f"in-run, order {settings.values['order']}"
        about = {"seeds": of_runs.height}
    else:
        base_texts = list(frames.read("generations", round_.round_id)["base"])
        means = np.array(written["vector"].to_list())
        empty, rng = embedder.embed(base_texts).mean(axis=0), generator_for(round_, "shapley")
        if len(contributors) > LARGE_CROWD:
            estimates = distance_shapley(means, aim.vector, empty=empty, rng=rng)
        else:
            estimates = estimate_shapley(
                centroid_game(means, aim.vector, empty=empty),
                len(contributors),
                permutations=settings.shapley_permutations,
                rng=rng,
                exact_up_to=settings.exact_shapley_up_to,
            )
        values, errors = estimates.values, estimates.standard_errors
        method = f"centroid, {estimates.method}"
        about = {"evaluations": estimates.evaluations}
    columns = {"contributor_id": contributors, "shapley_value": values, "standard_error": errors}
    frame = pl.DataFrame(columns | {"method": [method] * len(contributors)})
    return frame.with_columns(pl.col("standard_error").fill_nan(None)), about
