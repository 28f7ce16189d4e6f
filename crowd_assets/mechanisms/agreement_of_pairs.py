"""Agreement of two people, beyond chance, and of each two of many: Cohen's coefficient.

Belongs here: agreement that is asked of pairs of people. Does not belong here: agreement of any number of people (see ``agreement``), who
is suspected of what (see ``crowd_assets.quality.detectors``).
"""

from dataclasses import dataclass

import numpy as np

from crowd_assets.mechanisms.agreement import Floats, Ints, checked_judgements

MOST_PAIRS = 20_000_000


@dataclass(frozen=True, slots=True)
class PairsOfPeople:
    """Agreement of each two people who judged common items, a row a pair.

    ``one`` < ``other`` (p,), ``shared`` items (p,), ``agreement`` (p,) share with the same value, ``kappa`` (p,) Cohen's, NaN
    where both gave one and the same value throughout.
    """

    one: Ints
    other: Ints
    shared: Ints
    agreement: Floats
    kappa: Floats


def cohen_of_pairs(item: Ints, person: Ints, value: Floats, *, fewest_shared: int = 1) -> PairsOfPeople:
    """Cohen's kappa and plain agreement of each two people with common items.

    Args:
        item, value: as ``krippendorff_alpha``.
        person: shape (m,), numbers from 0, nobody twice on one item.
        fewest_shared: pairs with fewer common items are left out.

    Returns:
        rows sorted by the two people. Items are looked at in their order until their pairs of judgements exceed ``MOST_PAIRS``.

    Raises:
        ValueError: as ``krippendorff_alpha``, or one person twice on an item.

    Example:
        >>> import numpy as np
        >>> found = cohen_of_pairs(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([1.0, 1, 0, 0]))
        >>> found.kappa.tolist()
        [1.0]
    """
    item, value = checked_judgements(item, value)
    person = np.asarray(person, dtype=np.int64)
    if person.shape != item.shape or (person.size and person.min() < 0):
        raise ValueError(f"expected one person a judgement, numbered from 0, got {person.shape}")
    order = np.lexsort((person, item))
    item, person, value = item[order], person[order], value[order]
    if ((np.diff(item) == 0) & (np.diff(person) == 0)).any():
        raise ValueError("somebody judged an item twice: keep one judgement of each")
    size = np.bincount(item).astype(np.int64) if item.size else np.zeros(0, dtype=np.int64)
    kept = np.cumsum(size * (size - 1) // 2)[item] <= MOST_PAIRS
    item, person, value = item[kept], person[kept], value[kept]
    _, level = np.unique(value, return_inverse=True)
    q = int(level.max()) + 1 if level.size else 1
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []
    for apart in range(1, int(size.max()) if size.size else 0):
        both = np.flatnonzero(item[apart:] == item[:-apart])
        if not both.size:
            break
        parts.append((person[both], person[both + apart], level[both], level[both + apart]))
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return PairsOfPeople(none, none, none, np.zeros(0), np.zeros(0))
    one, other, first, second = (np.concatenate([part[at] for part in parts]) for at in range(4))
    people = int(person.max()) + 1
    names, pair, shared = np.unique(one * people + other, return_inverse=True, return_counts=True)
    agreed = np.bincount(pair, first == second)
    by_chance = np.zeros(names.size)
    # Marginals a pair: sum over levels of n_first n_second, from the rows alone, as few levels meet in a pair.
    keys, counts = np.unique(np.concatenate([pair * q + first, (names.size + pair) * q + second]), return_counts=True)
    of_first = keys < names.size * q
    ours, theirs = keys[of_first], keys[~of_first] - names.size * q
    _, at, there = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    np.add.at(by_chance, ours[at] // q, counts[of_first][at] * counts[~of_first][there].astype(np.float64))
    agreement, by_chance = agreed / shared, by_chance / np.square(shared.astype(np.float64))
    kappa = np.divide(agreement - by_chance, 1 - by_chance, out=np.full(names.size, np.nan), where=by_chance < 1)
    enough = shared >= fewest_shared
    return PairsOfPeople(
        (names // people)[enough],
        (names % people)[enough],
        shared.astype(np.int64)[enough],
        agreement[enough],
        kappa[enough],
    )
