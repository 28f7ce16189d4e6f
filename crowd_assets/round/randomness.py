"""The random numbers of a round: one generator a purpose, so that no draw depends on how many came before.

Belongs here: seeds and generators. Does not belong here: what is drawn.
"""

import zlib

import numpy as np

from resources.rounds.book import Round


def seed_for(round_: Round, purpose: str) -> int:
    """The seed of one purpose in one round, in [0, 2³²)."""
    return int(np.random.SeedSequence([round_.seed, zlib.crc32(purpose.encode())]).generate_state(1)[0])


def generator_for(round_: Round, purpose: str) -> np.random.Generator:
    """A generator of its own for one purpose in one round: no stage's draws shift another's."""
    return np.random.default_rng(seed_for(round_, purpose))
