"""The random numbers of a round: one generator a purpose, so that no draw depends on how many came before.

They come from the round's key, which nobody outside knows before the round after it is settled (``resources.rounds.secret``);
in rounds that are repeatable, and in those from before there were keys, from the seed and the round's number.

Belongs here: seeds and generators. Does not belong here: what is drawn.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from resources.rounds.book import Round
from resources.rounds.secret import derived

KEYS = "keys"
"""The topic of the outbox."""


def seed_for(round_: Round, purpose: str) -> int:
    """The seed of one purpose in one round, in [0, 2³²)."""
    if round_.key is not None:
        return derived(round_.key, purpose, 4)
    return int(np.random.SeedSequence([round_.seed, zlib.crc32(purpose.encode())]).generate_state(1)[0])


def generator_for(round_: Round, purpose: str) -> np.random.Generator:
    """A generator of its own for one purpose in one round: no stage's draws shift another's."""
    if round_.key is not None:
        return np.random.default_rng(derived(round_.key, purpose, 16))
    return np.random.default_rng(seed_for(round_, purpose))


def shown_keys(round_: Round, rounds: Sequence[Round]) -> list[dict[str, str]]:
    """What everybody may know once a round is settled: the commitment to the next key, and the key of the settled round before,
    as this one's says which of the comparisons that are now to be judged will be audited."""
    shown = [{"round_id": round_.round_id, "next_commitment": round_.next_commitment}] if round_.next_commitment else []
    before = [each for each in rounds if each.settled and each.round_no < round_.round_no]
    if before and before[-1].key is not None:
        shown.append({"round_id": before[-1].round_id, "key": before[-1].key})
    return shown
