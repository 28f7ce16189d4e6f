"""Who is asked what: how often a pair is judged, by whom, and who is not asked for a while.

Belongs here: when a pair is known, which pair teaches most, assignments, hidden checks, and the sequential test that pauses people.
Does not belong here: files and tables that assignments are published in, weights of reports (see ``labelers``).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

COIN = 0.5
"""Accuracy of who does not look."""
CAREFUL = 0.92
"""Accuracy of careful people on checks, which are pairs that the crowd was sure of."""
ERROR = 0.01
"""Share of careful people who are ever paused, at most."""
CHECK, REPEAT, ASK = "check", "repeat", "ask"
FEWEST_CHECKS = 4


@dataclass(frozen=True, slots=True)
class Assignments:
    """Rows (person, pair), the people in order of the call and each one's pairs as they were chosen."""

    person: Ints
    pair: Ints


@dataclass(frozen=True, slots=True)
class Standing:
    """What checks say of people: ``log_ratio`` (N,) of carelessness against care, ``paused``, ``qualified`` (N,), and ``checks`` (N,)
    that each answered."""

    log_ratio: Floats
    paused: Mask
    qualified: Mask
    checks: Ints


def vote_evidence(report: Floats, accuracy: Floats) -> Floats:
    """What each report adds to the log-odds of A: (2 r - 1) logit of the labeler's accuracy.

    Args:
        report: shape (m,), in [0, 1]; ``accuracy``: shape (m,), in (0, 1).

    Source: Nitzan & Paroush (1982).

    Example:
        >>> import numpy as np
        >>> vote_evidence(np.array([1.0, 0.0, 0.5]), np.full(3, 0.75)).round(3).tolist()
        [1.099, -1.099, 0.0]
    """
    evidence: Floats = (2.0 * report - 1.0) * (np.log(accuracy) - np.log1p(-accuracy))
    return evidence


def is_open(evidence: Floats, judgements: Ints, *, confidence: float, least: int, most: int) -> Mask:
    """Which pairs are still asked: those not judged ``least`` times, and those judged less than ``most`` times whose answer is less
    sure than ``confidence``.

    Args:
        evidence: shape (P,), log-odds of A, that of a model or of a prior included.
        judgements: shape (P,), judgements in hand or on their way.
        confidence: in [1/2, 1), posterior at which a pair is known.
        least, most: judgements of a pair, 1 <= least <= most.

    Guarantees: a pair that people disagree on stays open until ``most``; more evidence for the leading side never opens a pair.

    Raises:
        ValueError: a number outside its range, or shapes that do not match.

    Example:
        >>> import numpy as np
        >>> is_open(np.array([0.0, 5.0]), np.array([2, 2]), confidence=0.95, least=2, most=5).tolist()
        [True, False]
    """
    if not 0.5 <= confidence < 1 or not 1 <= least <= most:
        raise ValueError(f"expected 1/2 <= confidence < 1 and 1 <= least <= most, got {confidence}, {least}, {most}")
    evidence, judgements = np.asarray(evidence, dtype=np.float64), np.asarray(judgements, dtype=np.int64)
    if evidence.shape != judgements.shape:
        raise ValueError(f"expected judgements of each pair, got {evidence.shape} and {judgements.shape}")
    known = np.abs(evidence) >= math.log(confidence / (1 - confidence))
    still: Mask = (judgements < least) | (~known & (judgements < most))
    return still


def asking_value(evidence: Floats, judgements: Ints, taught: Floats | None = None) -> Floats:
    """What one more judgement of each pair is worth: the uncertainty left of its answer, times what the pair teaches.

    The entropy of the answer in bits, divided by 1 + judgements so that untouched pairs go first, times ``taught`` (shape (P,), not
    negative, such as a model's uncertainty of the pair; 1 for all by default).

    Returns:
        shape (P,), not negative.

    Example:
        >>> import numpy as np
        >>> asking_value(np.array([0.0, 0.0, 5.0]), np.array([0, 1, 0])).round(3).tolist()
        [1.0, 0.5, 0.058]
    """
    chance = (1.0 + np.tanh(np.asarray(evidence, dtype=np.float64) / 2.0)) / 2.0
    chance = np.clip(chance, 1e-12, 1 - 1e-12)
    entropy = -(chance * np.log2(chance) + (1 - chance) * np.log2(1 - chance))
    value: Floats = entropy / (1.0 + np.asarray(judgements))
    return value if taught is None else value * taught


def assigned(
    value: Floats,
    wanted: Ints,
    skill: Floats,
    load: Ints,
    *,
    excluded: tuple[Ints, Ints] | None = None,
    rng: np.random.Generator,
) -> Assignments:
    """Pairs for each person: the most valuable ones first, to the ablest people first, nobody twice the same.

    People choose in order of skill, those alike in an order drawn at random, and take the ``load`` most valuable pairs that still want
    somebody and are not excluded for them; pairs of equal value in an order drawn at random.

    Args:
        value: shape (P,), not negative; pairs of value 0 are not asked.
        wanted: shape (P,), judgements that each pair still wants.
        skill: shape (N,), estimated accuracy; ``load``: shape (N,), pairs a person is asked at most, 0 for who is paused.
        excluded: persons and pairs, both shape (k,): what somebody wrote or has judged already, or its ring has.
        rng: source of ties.

    Returns:
        the assignments. Time O(P log P + N load) and what is excluded, so that one person's pairs among 10^5 open ones are found in
        milliseconds.

    Guarantees: nobody gets more than its load, an excluded pair or one pair twice; no pair gets more people than it wants.

    Raises:
        ValueError: shapes that do not match, a negative value, want or load, or an index out of range.

    Example:
        >>> import numpy as np
        >>> found = assigned(np.array([1.0, 0.5]), np.array([1, 1]), np.array([0.9, 0.6]), np.array([1, 1]), rng=np.random.default_rng(0))
        >>> found.person.tolist(), found.pair.tolist()
        ([0, 1], [0, 1])
    """
    value, wanted = np.asarray(value, dtype=np.float64), np.array(wanted, dtype=np.int64)
    skill, load = np.asarray(skill, dtype=np.float64), np.asarray(load, dtype=np.int64)
    if value.ndim != 1 or value.shape != wanted.shape or skill.ndim != 1 or skill.shape != load.shape:
        raise ValueError(
            f"expected wants of each pair and a load of each person, got {value.shape}, {wanted.shape}, {skill.shape}, {load.shape}"
        )
    if not (value >= 0).all() or (wanted < 0).any() or (load < 0).any():
        raise ValueError("values, wants and loads are not negative")
    barred: dict[int, Ints] = {}
    if excluded is not None:
        who, what = (np.asarray(each, dtype=np.int64) for each in excluded)
        if who.shape != what.shape or who.ndim != 1:
            raise ValueError(f"expected a pair for each person who is barred, got {who.shape} and {what.shape}")
        if who.size and (min(who.min(), what.min()) < 0 or who.max() >= skill.size or what.max() >= value.size):
            raise ValueError("a person or a pair that is excluded does not exist")
        order = np.argsort(who, kind="stable")
        names, starts = np.unique(who[order], return_index=True)
        if who.size:
            barred = dict(zip(names.tolist(), np.split(what[order], starts[1:]), strict=True))
    queue = rng.permutation(np.flatnonzero((value > 0) & (wanted > 0)))
    # No more than these can be looked at: what people take, and what may be barred for one of them.
    most_looked_at = int(load.sum()) + max((own.size for own in barred.values()), default=0)
    if queue.size > most_looked_at:
        queue = queue[np.argpartition(-value[queue], most_looked_at)[:most_looked_at]] if most_looked_at else queue[:0]
    queue = queue[np.argsort(-value[queue], kind="stable")]
    people, pairs = [], []
    for person in np.lexsort((rng.random(skill.size), -skill)).tolist():
        most = int(load[person])
        if not most or not queue.size:
            continue
        own = barred.get(person)
        # Those that are barred may all stand in front.
        front = queue[: most + (0 if own is None else own.size)]
        if own is not None:
            front = front[~np.isin(front, own)]
        taken = front[:most]
        people.append(np.full(taken.size, person, dtype=np.int64))
        pairs.append(taken)
        wanted[taken] -= 1
        if (wanted[taken] <= 0).any():
            queue = queue[wanted[queue] > 0]
    nothing = np.zeros(0, dtype=np.int64)
    return Assignments(np.concatenate([nothing, *people]), np.concatenate([nothing, *pairs]))


def hidden_places(tasks: int, *, checks: float, repeats: float, rng: np.random.Generator) -> NDArray[np.str_]:
    """Which of a person's next tasks are checks with a known answer and which repeat a pair that the person judged: ``check``, ``repeat``
    or ``ask``, each place drawn by itself so that no place tells.

    Args:
        tasks: how many; ``checks``, ``repeats``: their chances, together at most 1.

    Raises:
        ValueError: a negative number, or chances that are more than 1 together.

    Example:
        >>> import numpy as np
        >>> hidden_places(4, checks=0.25, repeats=0.25, rng=np.random.default_rng(0)).tolist()
        ['ask', 'repeat', 'check', 'check']
    """
    if tasks < 0 or checks < 0 or repeats < 0 or checks + repeats > 1:
        raise ValueError(f"expected chances that are at most 1 together, got {tasks} tasks, {checks} and {repeats}")
    at = rng.random(tasks)
    return np.where(at < checks, CHECK, np.where(at < checks + repeats, REPEAT, ASK)).astype(np.str_)


def checked_people(
    person: Ints,
    right: Floats,
    *,
    people: int,
    qualification: int = 0,
    careful: float = CAREFUL,
    error: float = ERROR,
    before: tuple[Floats, Ints] | None = None,
) -> Standing:
    """Who is paused and who is qualified, by a sequential probability ratio test on checks in their order.

    Each check adds log P(answer | coin) - log P(answer | careful) to a person's sum; whoever's sum reaches log(1 / error) with
    ``FEWEST_CHECKS`` or more answered is paused, until the pause is lifted (see ``pauses_lifted``).

    Args:
        person: shape (m,), values 0..N-1, of checks in the order in which they were answered.
        right: shape (m,), in [0, 1]: how right the answer was, 1/2 for a tie.
        people: N.
        qualification: checks that a newcomer answers before its judgements count, without being paused by them; 0: none.
        careful: accuracy of careful people on checks, in (1/2, 1).
        error: share of careful people who may ever be paused, in (0, 1).
        before: sums and numbers of checks, both (N,), that earlier checks left; nothing by default.

    Guarantees: a person of accuracy ``careful`` or better is ever paused with probability at most ``error`` (Ville's inequality), in
    however many checks; a coin-flipper is after about log(1 / error) / E[step] of them.

    Raises:
        ValueError: shapes that do not match, or a number outside its range.

    Source: Wald, "Sequential tests of statistical hypotheses" (1945).

    Example:
        >>> import numpy as np
        >>> checked_people(np.zeros(12, dtype=int), np.zeros(12), people=1).paused.tolist()
        [True]
    """
    person, right = np.asarray(person, dtype=np.int64), np.asarray(right, dtype=np.float64)
    if person.ndim != 1 or person.shape != right.shape:
        raise ValueError(f"expected a person a check, got {person.shape} and {right.shape}")
    if not ((right >= 0) & (right <= 1)).all() or (person.size and (person.min() < 0 or person.max() >= people)):
        raise ValueError(f"checks are answered between wrong (0) and right (1) by people 0..{people - 1}")
    if not COIN < careful < 1 or not 0 < error < 1 or qualification < 0:
        raise ValueError(f"expected careful in (1/2, 1) and error in (0, 1), got {careful}, {error}, {qualification}")
    sums, numbers = (np.zeros(people), np.zeros(people, dtype=np.int64)) if before is None else before
    if np.shape(sums) != (people,) or np.shape(numbers) != (people,):
        raise ValueError(f"expected what {people} people left before, got {np.shape(sums)} and {np.shape(numbers)}")
    step = right * math.log(COIN / careful) + (1 - right) * math.log((1 - COIN) / (1 - careful))
    order = np.argsort(person, kind="stable")
    who = person[order]
    checks = np.bincount(person, minlength=people)
    starts = np.cumsum(checks) - checks
    summed = np.cumsum(step[order])
    course = summed - np.concatenate([[0.0], summed])[starts][who] + sums[who]
    number = np.arange(who.size) - starts[who] + 1 + numbers[who]
    crossed = (course >= math.log(1 / error)) & (number >= max(FEWEST_CHECKS, qualification))
    paused = np.zeros(people, dtype=bool)
    paused[who[crossed]] = True
    log_ratio: Floats = sums + np.bincount(person, step, minlength=people)
    checks = checks + numbers
    qualified: Mask = (checks >= qualification) & ~paused
    return Standing(log_ratio, paused, qualified, checks)


def pauses_lifted(
    paused: Mask, appealed: Mask, later_right: Ints, later_checks: Ints, *, careful: float = CAREFUL
) -> Mask:
    """Who is asked again: those paused who appealed and then answered ``FEWEST_CHECKS`` or more further checks, at least as many of them
    right as ``careful`` people do with probability 0.05.

    Args:
        paused, appealed: shape (N,); ``later_right``, ``later_checks``: shape (N,), checks answered since the appeal.

    Raises:
        ValueError: shapes that do not match, or more right answers than checks.

    Example:
        >>> import numpy as np
        >>> pauses_lifted(np.array([True, True]), np.array([True, False]), np.array([12, 12]), np.array([12, 12])).tolist()
        [True, False]
    """
    from scipy.special import bdtr

    later_right, later_checks = np.asarray(later_right, dtype=np.int64), np.asarray(later_checks, dtype=np.int64)
    shapes = {np.shape(each) for each in (paused, appealed, later_right, later_checks)}
    if len(shapes) > 1 or (later_right > later_checks).any() or (later_right < 0).any():
        raise ValueError("expected as many right answers as checks, or fewer, of each person")
    lifted: Mask = (
        np.asarray(paused, dtype=bool)
        & np.asarray(appealed, dtype=bool)
        & (later_checks >= FEWEST_CHECKS)
        & (bdtr(later_right, later_checks, careful) >= 0.05)
    )
    return lifted
