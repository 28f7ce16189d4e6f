"""What labelers gain by misreporting, and what a crowd of them does to the aggregate.

Belongs here: best replies of strategic labelers, found numerically or in closed form, the equilibrium of a plain
average, and a simulator of crowds with mixed motives.
Does not belong here: the updates themselves (see ``aggregation``) and crowds with known truth for demonstrations (see
``crowd_assets.simulation``).

Motives: a *truthful* labeler reports its belief; a *myopic* one wants its next weight as large as possible; a
*forward-looking* one wants the sum of its weights over the next slots as large as possible; a *steering* one wants the
aggregate near its own belief and does not care for weight. All take their belief for the chance that A is preferred.

Source: Hao & Duan, "Online learning from strategic human feedback in LLM fine-tuning" (arXiv 2412.16834); Freeman et
al., "No-regret and incentive-compatible online learning" (ICML 2020).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.dense import run_slots, update_slot
from crowd_assets.mechanisms.labelers.lottery import lottery_chances
from crowd_assets.mechanisms.labelers.score_update import RULES, SlotResults, anytime_step, initial_state

MOTIVES = ("truthful", "myopic", "forward_looking", "steering")


@dataclass(frozen=True, slots=True)
class StrategicRun:
    """A crowd with motives over T slots.

    ``reports`` (T, N) that were given; ``results`` of aggregating them; ``misreports`` (N,) mean of |report - belief|.
    """

    reports: NDArray[np.float64]
    results: SlotResults
    misreports: NDArray[np.float64]


def myopic_report(
    weights: NDArray[np.float64],
    labeler: int,
    belief: float,
    reports: NDArray[np.float64],
    *,
    step: float,
    grid: int = 101,
) -> float:
    """Report on a grid that maximises a labeler's expected next weight under the weighted score update.

    Args:
        weights: shape (N,), sum 1.
        labeler: who reports.
        belief: in [0, 1], its chance that the outcome is 1.
        reports: shape (N,), in [0, 1], of the others; the labeler's own entry is not looked at.
        step: eta in [0, 1/2].
        grid: number of reports tried, evenly spaced from 0 to 1.

    Returns:
        the best report; the belief up to the grid, which is what truthfulness of the update means.

    Example:
        >>> import numpy as np
        >>> round(myopic_report(np.array([0.5, 0.5]), 0, 0.7, np.array([0.0, 0.2]), step=0.5), 2)
        0.7
    """
    tried = np.linspace(0.0, 1.0, grid)
    expected = np.zeros(grid)
    for outcome, chance in ((1.0, belief), (0.0, 1.0 - belief)):
        expected += chance * _next_weight(weights, labeler, tried, reports, outcome, step)
    return float(tried[np.argmax(expected)])


def forward_looking_report(
    weights: NDArray[np.float64],
    labeler: int,
    beliefs: NDArray[np.float64],
    reports: NDArray[np.float64],
    *,
    step: float,
    grid: int = 101,
) -> float:
    """First report that maximises the expected sum of a labeler's weights over the next H slots, truthful afterwards.

    Under the weighted score update a gain now is multiplied by later ones, so a labeler that looks ahead may shade its
    report; how much is what this function measures.

    Args:
        weights: shape (N,), sum 1.
        labeler: who reports.
        beliefs: shape (H,), in [0, 1], its chances that the outcomes of the next slots are 1; H <= 12, as all 2^H
            courses of outcomes are weighed.
        reports: shape (H, N), in [0, 1], of the others in each slot.
        step: eta in [0, 1/2].
        grid: number of reports tried, evenly spaced from 0 to 1.

    Raises:
        ValueError: H outside 1..12 or shapes that do not match.

    Example:
        >>> import numpy as np
        >>> weights, beliefs, others = np.array([0.5, 0.5]), np.full(4, 0.7), np.zeros((4, 2))
        >>> round(forward_looking_report(weights, 0, beliefs, others, step=0.5), 2)
        0.67
    """
    beliefs, reports = np.asarray(beliefs, dtype=np.float64), np.asarray(reports, dtype=np.float64)
    horizon = beliefs.size
    if not 1 <= horizon <= 12 or reports.shape != (horizon, np.size(weights)):
        raise ValueError(f"expected 1 to 12 slots of {np.size(weights)} reports, got shape {reports.shape}")
    tried = np.linspace(0.0, 1.0, grid)

    def gained(held: NDArray[np.float64], slot: int) -> NDArray[np.float64]:
        """Expected sum of weights from ``slot`` on; ``held`` (grid, N) are the weights each first report led to."""
        total = np.zeros(len(held))
        if slot == horizon:
            return total
        given = np.tile(reports[slot], (len(held), 1))
        given[:, labeler] = tried if slot == 0 else beliefs[slot]
        for outcome, chance in ((1.0, beliefs[slot]), (0.0, 1.0 - beliefs[slot])):
            losses = np.square(given - outcome)
            after = held * (1.0 - step * (losses - (held * losses).sum(axis=1, keepdims=True)))
            total += chance * (after[:, labeler] + gained(after, slot + 1))
        return total

    everywhere = np.tile(np.asarray(weights, dtype=np.float64), (grid, 1))
    return float(tried[np.argmax(gained(everywhere, 0))])


def lottery_report(
    labeler: int, beliefs: NDArray[np.float64], reports: NDArray[np.float64], *, grid: int = 101
) -> float:
    """First report that maximises how often ELF-X is expected to follow a labeler over H slots, truthful afterwards.

    The labeler is followed in slot t if it leads after the lotteries of the slots before, ties shared. All courses of
    outcomes and winners are weighed, so H and N must be small.

    Args:
        labeler: who reports.
        beliefs: shape (H,), in [0, 1], its chances that the outcomes of the next slots are 1.
        reports: shape (H, N), in [0, 1], of the others in each slot.
        grid: number of reports tried, evenly spaced from 0 to 1.

    Returns:
        the best report; the belief up to the grid, which is what truthfulness of ELF-X means.

    Raises:
        ValueError: shapes that do not match, or (2 N)^H above 100,000 courses.

    Example:
        >>> import numpy as np
        >>> round(lottery_report(0, np.array([0.7, 0.7]), np.full((2, 2), 0.2)), 2)
        0.7
    """
    beliefs, reports = np.asarray(beliefs, dtype=np.float64), np.asarray(reports, dtype=np.float64)
    horizon = beliefs.size
    if reports.ndim != 2 or reports.shape[0] != horizon or not horizon:
        raise ValueError(f"expected reports of shape ({horizon}, N), got {reports.shape}")
    labelers = reports.shape[1]
    if (2 * labelers) ** horizon > 100_000:
        raise ValueError(f"{labelers} labelers over {horizon} slots are too many courses to weigh: shorten the horizon")
    tried = np.linspace(0.0, 1.0, grid)

    def followed(wins: NDArray[np.int64], slot: int, chance_so_far: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(grid)
        if slot == horizon:
            return total
        given = reports[slot].copy()
        given[labeler] = beliefs[slot]
        for outcome, chance in ((1.0, beliefs[slot]), (0.0, 1.0 - beliefs[slot])):
            losses = np.tile(np.square(given - outcome), (grid if slot == 0 else 1, 1))
            if slot == 0:
                losses[:, labeler] = np.square(tried - outcome)
            chances = np.array([lottery_chances(row) for row in losses])
            for winner in range(labelers):
                after = wins.copy()
                after[winner] += 1
                reached = chance_so_far * chance * chances[:, winner]
                lead = after == after.max()
                total += reached * lead[labeler] / lead.sum() + followed(after, slot + 1, reached)
        return total

    return float(tried[np.argmax(followed(np.zeros(labelers, dtype=np.int64), 0, np.ones(grid)))])


def steering_report(
    weights: NDArray[np.float64], labeler: int, belief: float, reports: NDArray[np.float64], *, rule: str = "pooled"
) -> float:
    """Report that brings the aggregate as near a labeler's belief as it can, in squared distance.

    ``pooled``: clip((p - sum over others of w_j r_j) / w_i, 0, 1): far from the belief p whenever the others are.
    ``sampled``: the belief itself, as the report counts only where it is drawn, and then alone.

    Args:
        weights: shape (N,), sum 1.
        labeler: who reports.
        belief: p in [0, 1].
        reports: shape (N,), of the others.
        rule: one of ``aggregation.RULES``.

    Raises:
        ValueError: unknown rule.

    Example:
        >>> import numpy as np
        >>> weights, reports = np.array([0.5, 0.5]), np.array([0.0, 0.25])
        >>> steering_report(weights, 0, 0.5, reports), steering_report(weights, 0, 0.5, reports, rule="sampled")
        (0.75, 0.5)
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
    own = float(weights[labeler])
    if rule == "sampled" or own <= 0.0:
        return float(belief)
    others = float(weights @ reports) - own * float(reports[labeler])
    return float(np.clip((belief - others) / own, 0.0, 1.0))


def steering_equilibrium(weights: NDArray[np.float64], beliefs: NDArray[np.float64]) -> float:
    """Aggregate on which a crowd of steering labelers settles under the pooled rule.

    With beliefs sorted p_(1) >= ... >= p_(N) and W_k the weight of the first k: P = max over k of min(p_(k), W_k). Who
    believes more than P reports 1, who believes less reports 0, and nobody can pull it nearer. For equal weights this
    is median(p_1, ..., p_N, 1/N, ..., (N-1)/N): the average has become a median, whatever the reports' precision was.

    Args:
        weights: shape (N,), not negative, sum 1.
        beliefs: shape (N,), in [0, 1].

    Returns:
        P in [0, 1].

    Raises:
        ValueError: shapes that differ, no labeler, weights that are no distribution, or beliefs outside [0, 1].

    Source: Renault & Trannoy, "Protecting minorities through the average voting rule" (2005); Moulin, "On
    strategy-proofness and single peakedness" (1980) for the median with phantoms.

    Example:
        >>> import numpy as np
        >>> steering_equilibrium(np.array([0.5, 0.25, 0.25]), np.array([0.75, 0.25, 0.0]))
        0.5
    """
    weights, beliefs = np.asarray(weights, dtype=np.float64), np.asarray(beliefs, dtype=np.float64)
    if weights.ndim != 1 or weights.shape != beliefs.shape or not weights.size:
        raise ValueError(f"expected one weight and belief for each labeler, got {weights.shape} and {beliefs.shape}")
    if (weights < 0).any() or not np.isclose(weights.sum(), 1.0):
        raise ValueError("weights must not be negative and must sum to one")
    if not ((beliefs >= 0) & (beliefs <= 1)).all():
        raise ValueError("beliefs must lie in [0, 1]")
    return float(_settled(weights, beliefs, np.zeros(1))[0])


def steering_reports(
    weights: NDArray[np.float64], beliefs: NDArray[np.float64], steering: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Reports of a crowd in which some steer the pooled aggregate and the others tell the truth, at equilibrium.

    The truthful share F = sum of w p stays where it is; those who steer settle on P = max(F, max over k of
    min(p_(k), F + W_k)), as in ``steering_equilibrium``: who believes more than P reports 1, who believes less reports
    0, who believes P fills up what is missing.

    Args:
        weights: shape (N,), or (..., N) for many crowds at once; not negative, sum 1.
        beliefs: the same shape, in [0, 1].
        steering: the same shape, who steers.

    Returns:
        the same shape, in [0, 1]; nobody who steers could bring the aggregate nearer to its belief alone.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> import numpy as np
        >>> beliefs, steering = np.array([0.75, 0.25, 0.0]), np.array([True, True, False])
        >>> steering_reports(np.array([0.5, 0.25, 0.25]), beliefs, steering).tolist()
        [1.0, 0.0, 0.0]
    """
    weights, beliefs = np.asarray(weights, dtype=np.float64), np.asarray(beliefs, dtype=np.float64)
    steering = np.asarray(steering, dtype=bool)
    if weights.shape != beliefs.shape or steering.shape != beliefs.shape:
        raise ValueError(f"expected one entry a labeler, got {weights.shape}, {beliefs.shape} and {steering.shape}")
    fixed = np.where(steering, 0.0, weights * beliefs).sum(axis=-1, keepdims=True)
    held = np.where(steering, weights, 0.0)
    settled = _settled(held, np.where(steering, beliefs, -np.inf), fixed)
    above, at = steering & (beliefs > settled), steering & (beliefs == settled)
    reports = np.where(steering, above.astype(np.float64), beliefs)
    filling = np.where(at, held, 0.0).sum(axis=-1, keepdims=True)
    missing = settled - fixed - np.where(above, held, 0.0).sum(axis=-1, keepdims=True)
    fill = np.clip(np.divide(missing, filling, out=np.zeros_like(filling), where=filling > 0), 0.0, 1.0)
    return np.where(at & (filling > 0), fill, reports)


def _settled(
    weights: NDArray[np.float64], beliefs: NDArray[np.float64], fixed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Aggregate (..., 1) on which those who steer settle, with ``fixed`` (..., 1) added by those who do not; beliefs of
    -inf stand for nobody."""
    order = np.argsort(-beliefs, axis=-1, kind="stable")
    ladder = np.minimum(fixed + np.cumsum(np.take_along_axis(weights, order, -1), axis=-1), 1.0)
    reached: NDArray[np.float64] = np.minimum(np.take_along_axis(beliefs, order, -1), ladder)
    highest: NDArray[np.float64] = np.maximum(reached.max(axis=-1, keepdims=True), fixed)
    return highest


def median_equilibrium(beliefs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Aggregate on which a crowd of steering labelers settles under the median.

    For an odd number nobody gains by lying: the median of the beliefs. For an even number the midpoint of the middle
    two is pulled from both sides, until it rests at median(p_(N/2), 1/2, p_(N/2 + 1)): what all above P reporting 1 and
    all below it reporting 0 gives.

    Args:
        beliefs: shape (..., N), in [0, 1].

    Returns:
        shape (...), in [0, 1].

    Raises:
        ValueError: no labeler.

    Source: Yamamura & Kawasaki, "Generalized average rules as stable Nash mechanisms to implement generalized median
    rules" (2013).

    Example:
        >>> import numpy as np
        >>> median_equilibrium(np.array([[0.1, 0.2, 0.9, 1.0], [0.1, 0.2, 0.3, 1.0]])).tolist()
        [0.5, 0.3]
    """
    ordered = np.sort(np.asarray(beliefs, dtype=np.float64), axis=-1)
    labelers = ordered.shape[-1]
    if not labelers:
        raise ValueError("a crowd needs at least one labeler")
    settled: NDArray[np.float64] = np.clip(0.5, ordered[..., (labelers - 1) // 2], ordered[..., labelers // 2])
    return settled


def log_odds_steering_reports(
    weights: NDArray[np.float64], prior: float, beliefs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reports of a crowd that steers a log-odds pool, logit P = prior + sum of (2 r_i - 1) weight_i, at equilibrium.

    Dawid-Skene and naive Bayes pool like that, at given accuracies. As in ``steering_equilibrium``, with the ladder
    F_k = P when the k highest believers pull up and the others down: P = max(F_0, max over k of min(p_(k), F_k)). Who
    has a negative weight pulls by reporting the opposite.

    Args:
        weights: shape (N,), log-odds of the accuracies, finite.
        prior: log-odds of A.
        beliefs: shape (T, N), in [0, 1].

    Returns:
        reports (T, N) and P (T,); nobody could bring P nearer to its belief alone.

    Example:
        >>> import numpy as np
        >>> reports, settled = log_odds_steering_reports(np.array([1.0, 1.0]), 0.0, np.array([[0.9, 0.2]]))
        >>> reports.tolist(), settled.round(3).tolist()
        ([[1.0, 0.0]], [0.5])
    """
    pull = np.abs(np.asarray(weights, dtype=np.float64))
    order = np.argsort(-beliefs, axis=1, kind="stable")
    ordered, pulls = np.take_along_axis(beliefs, order, 1), pull[order]
    lowest = prior - pull.sum()
    rungs = lowest + 2.0 * np.cumsum(pulls, axis=1)
    floor, ladder = (1.0 + np.tanh(lowest / 2.0)) / 2.0, (1.0 + np.tanh(rungs / 2.0)) / 2.0
    settled = np.maximum(np.minimum(ordered, ladder).max(axis=1, keepdims=True), floor)
    above, at = ordered > settled, ordered == settled
    inner = np.clip(settled, 1e-15, 1.0 - 1e-15)
    missing = np.log(inner / (1.0 - inner)) - lowest - 2.0 * np.where(above, pulls, 0.0).sum(axis=1, keepdims=True)
    filling = 2.0 * np.where(at, pulls, 0.0).sum(axis=1, keepdims=True)
    fill = np.clip(np.divide(missing, filling, out=np.full_like(filling, 0.5), where=filling > 0), 0.0, 1.0)
    upward = np.empty_like(ordered)
    np.put_along_axis(upward, order, np.where(at, fill, above.astype(np.float64)), 1)
    reports: NDArray[np.float64] = np.where(np.asarray(weights) < 0.0, 1.0 - upward, upward)
    return reports, settled[:, 0]


def simulate_crowd(
    beliefs: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    motives: tuple[str, ...],
    *,
    rule: str = "pooled",
    lookahead: int = 3,
    grid: int = 101,
    rng: np.random.Generator,
) -> StrategicRun:
    """A crowd of labelers with motives, slot after slot, under the weighted score update with the anytime step.

    Each strategic labeler replies best to the others' beliefs, at the weights of the slot; a forward-looking one
    expects the next slots to be like this one. Steering labelers reply to one another as well (``steering_reports``).

    Args:
        beliefs: shape (T, N), in [0, 1].
        outcomes: shape (T,), in [0, 1].
        motives: N of ``MOTIVES``.
        rule: one of ``aggregation.RULES``; under ``sampled`` steering labelers have no reason to misreport.
        lookahead: slots a forward-looking labeler looks ahead, 1..12.
        grid: number of reports tried by those who search.
        rng: for the sampled rule.

    Returns:
        reports, results and mean misreports; regret against truthful labelers is ``aggregation.regret`` of the results'
        aggregates against ``beliefs``.

    Raises:
        ValueError: unknown motive or rule, or shapes that do not match.

    Example:
        >>> import numpy as np
        >>> beliefs, motives = np.array([[0.75, 0.25], [0.75, 0.25]]), ("truthful", "steering")
        >>> found = simulate_crowd(beliefs, np.ones(2), motives, rng=np.random.default_rng(0))
        >>> found.reports.round(3).tolist(), found.misreports.round(3).tolist()
        ([[0.75, 0.0], [0.75, 0.0]], [0.0, 0.25])
    """
    beliefs, outcomes = np.asarray(beliefs, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    unknown = sorted(set(motives) - set(MOTIVES))
    if unknown:
        raise ValueError(f"unknown motives {unknown}: choose from {', '.join(MOTIVES)}")
    if beliefs.ndim != 2 or beliefs.shape != (outcomes.size, len(motives)):
        raise ValueError(f"expected beliefs of shape ({outcomes.size}, {len(motives)}), got {beliefs.shape}")
    steering = np.array([motive == "steering" for motive in motives])
    state = initial_state(len(motives))
    reports = beliefs.copy()
    for t, believed in enumerate(beliefs):
        step, next_step = (anytime_step(len(motives), state.slots + ahead) for ahead in (1, 2))
        if rule == "pooled" and steering.any():
            reports[t] = steering_reports(state.weights, believed, steering)
        for labeler, motive in enumerate(motives):
            if motive == "myopic":
                reports[t, labeler] = myopic_report(
                    state.weights, labeler, float(believed[labeler]), believed, step=step, grid=grid
                )
            elif motive == "forward_looking":
                reports[t, labeler] = forward_looking_report(
                    state.weights,
                    labeler,
                    np.full(lookahead, believed[labeler]),
                    np.tile(believed, (lookahead, 1)),
                    step=step,
                    grid=grid,
                )
        keep = next_step / step if step else 1.0
        state, _ = update_slot(state, reports[t], float(outcomes[t]), step=step, keep=keep)
    results = run_slots(initial_state(len(motives)), reports, outcomes, rule=rule, rng=rng)
    return StrategicRun(reports=reports, results=results, misreports=np.abs(reports - beliefs).mean(axis=0))


def _next_weight(
    weights: NDArray[np.float64],
    labeler: int,
    tried: NDArray[np.float64],
    reports: NDArray[np.float64],
    outcome: float,
    step: float,
) -> NDArray[np.float64]:
    """Weight of ``labeler`` after one slot, for each of its ``tried`` reports."""
    losses = np.square(np.asarray(reports, dtype=np.float64) - outcome)
    own_loss = np.square(tried - outcome)
    own = weights[labeler]
    mean_loss = weights @ losses + own * (own_loss - losses[labeler])
    after: NDArray[np.float64] = own * (1.0 - step * (own_loss - mean_loss))
    return after
