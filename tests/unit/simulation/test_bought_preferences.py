"""Preferences that are bought: the better side of a pair has the wanted mood."""

import numpy as np

from crowd_assets.simulation.bought_preferences import pairs


def test_pairs_have_the_wanted_mood_on_their_better_side() -> None:
    for title, better, worse in pairs(20, np.random.default_rng(4)):
        assert title
        assert better != worse
