"""Slots a second of the weighted score update, streamed in constant memory.

Goal: a million slots of 100 labelers in at most 60 s, in memory that does not grow with the slots. Blocks of 5,000 slots are
drawn, aggregated and learned from one after the other; only the labelers' state is carried on. ``slots_per_second`` is by
the wall clock, of the update alone; drawing the reports is timed apart. Once with all labelers in every slot, once with 30 %
of the reports missing. ``peak_mib`` is the largest resident memory of the process, Python and its libraries included;
``growth_mib`` is what it grew by after the first two blocks of a crowd.

Outcomes are coin flips with a chance that labeler 0 knows best, so that the regret has a meaning: it stands beside its
bound 3 sqrt(T ln N).

Belongs here: throughput and memory. Does not belong here: who earns which weight (see ``crowd_assets.experiments``).
"""

import resource
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import CPU, WALL, finish, options, say
from crowd_assets.mechanisms.labelers.dense import run_slots
from crowd_assets.mechanisms.labelers.score_update import initial_state
from resources.common.progress import throttled

LABELERS = 100
SLOTS = 1_000_000
QUICK_SLOTS = 20_000
BLOCK = 5_000
ABSENT = 0.3


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB.

    From /proc where there is one: what getrusage says may be what the parent had when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kib) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def block(rng: np.random.Generator, slots: int, absent: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reports (slots, labelers), NaN where absent, and outcomes (slots,)."""
    chance = rng.beta(0.5, 0.5, (slots, 1))
    error = np.linspace(0.05, 0.5, LABELERS)
    reports = np.clip(chance + error * rng.standard_normal((slots, LABELERS)), 0.0, 1.0)
    if absent:
        reports[rng.random(reports.shape) < absent] = np.nan
    return reports, (rng.random(slots) < chance[:, 0]).astype(np.float64)


def stream(seed: int, slots: int, absent: float) -> dict[str, float]:
    """Run ``slots`` slots in blocks: seconds of the update, memory and regret."""
    rng = np.random.default_rng(seed)
    state = initial_state(LABELERS)
    wall = cpu = loss = settled = 0.0
    started, progress = WALL(), throttled(f"weights, {absent:.0%} absent", say)
    for done in range(0, slots, BLOCK):
        reports, outcomes = block(rng, min(BLOCK, slots - done), absent)
        before_wall, before_cpu = WALL(), CPU()
        results = run_slots(state, reports, outcomes)
        wall, cpu = wall + WALL() - before_wall, cpu + CPU() - before_cpu
        state = results.state
        loss += float(np.nansum(results.losses))
        settled = peak_mib() if done <= BLOCK else settled
        progress(done + len(outcomes), slots)
    # Labelers who skip slots have a loss of their own number of slots: their regret is against their mean.
    regret = slots * (loss / slots - float((state.cumulative_loss / state.slots_seen).min()))
    return {
        "slots_per_second": slots / wall,
        "cpu_seconds": cpu,
        "seconds_with_drawing": WALL() - started,
        "growth_mib": peak_mib() - settled,
        "regret": regret,
        "regret_bound": float(3.0 * np.sqrt(slots * np.log(LABELERS))),
        "weight_sum": float(state.weights.sum()),
        "weight_of_best": float(state.weights[0]),
    }


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    given = options(__doc__, argv)
    slots = QUICK_SLOTS if given.quick else SLOTS
    whole = stream(given.seed, slots, 0.0)
    partial = stream(given.seed, slots, ABSENT)
    finish(
        {
            "slots_per_second": whole.pop("slots_per_second"),
            "slots_per_second_with_absentees": partial.pop("slots_per_second"),
            "peak_mib": peak_mib(),
            "growth_mib": max(whole["growth_mib"], partial["growth_mib"]),
        },
        {
            "slots": slots,
            "labelers": LABELERS,
            "block": BLOCK,
            "absent": ABSENT,
            "all_report": whole,
            "with_absentees": partial,
            "seed": given.seed,
        },
    )


if __name__ == "__main__":
    main()
