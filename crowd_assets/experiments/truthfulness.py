"""What the best misreport gains under each mechanism: labelers by motive, sellers by price and claim.

Belongs here: which mechanism claims what, figures, plots. Does not belong here: instances and the search for misreports
(see ``simulation.misreports``), the mechanisms (see ``mechanisms``).
"""

from typing import Any

import numpy as np
import polars as pl

from crowd_assets.experiments.study import Figure, Findings, Study
from crowd_assets.report import display
from crowd_assets.simulation.misreports import MOTIVES, SLOW, labeler_gains
from crowd_assets.simulation.misreports_of_sellers import SELLERS, seller_gains

RESAMPLES = 2000
ROUNDING, NOTICEABLE = 1e-6, 1e-3

CLAIMED = frozenset(
    {
        "as_shipped",
        "uniform_price",
        "scoring_vcg",
        "clear_lots",
        "proportional_share",
        "constant_factor_share",
        "fixed_price",
        "weighted_score_update_pooled.myopic",
        "weighted_score_update_sampled.myopic",
        "weighted_score_update_sampled.steering",
        "elf_x.myopic",
        "elf_x.forward_looking",
        "elf_x.steering",
        "limited_feedback.myopic",
        "limited_feedback.steering",
        "limited_feedback_known_horizon.myopic",
        "limited_feedback_known_horizon.steering",
        "log_odds.myopic",
    }
)
"""Where the mechanism's documentation claims that truth is a best reply."""

NEARLY = frozenset(
    {
        "weighted_score_update_pooled.forward_looking",
        "weighted_score_update_sampled.forward_looking",
        "limited_feedback.forward_looking",
        "limited_feedback_known_horizon.forward_looking",
        "log_odds.forward_looking",
    }
)
"""Where nothing is claimed over several slots: what looking ahead gains is measured."""

SOURCES = {
    "labeler": "Hao & Duan (arXiv 2412.16834); Freeman et al. (ICML 2020)",
    "seller": "VickreyFeedback (arXiv 2409.18417); Myerson (1981)",
}


def truthfulness(study: Study) -> Findings:
    """Gain of the best misreport found, under every mechanism, for labelers by motive and for sellers.

    In each random instance one participant searches for a lie against others who tell the truth (sellers) or report
    anything (labelers): a grid, random and extreme reports, for sellers also a quantum to either side of every number
    in the market, then ever smaller steps from the best. *as_shipped* is the auction of a round by the default settings; there a
    seller also bids under further names at prices that nobody pays, in its own lot, in others' and in lots that it invents. Expectations over outcomes and draws are exact, money counts
    in whole quanta. Labelers: *myopic* wants the highest expected reputation after the slot, *forward_looking* the
    highest sum of them over the next slots (gains as shares of what truth is worth), *steering* the aggregate near its
    own belief (gain in squared probability). Sellers: gain as a share of the true cost. Zero is truth; mechanisms that
    claim truthfulness must stay within rounding (1e-6), controls must not.

    Source: Hao & Duan (arXiv 2412.16834); Freeman et al. (ICML 2020); Myerson (1981); VickreyFeedback (arXiv 2409.18417).
    """
    batches = 1 if study.quick else 4
    labelers: list[dict[str, Any]] = [
        {"rule": rule, "motive": motive, "instances": _instances(rule, study.quick), "seed": study.seed, "batch": batch}
        for rule, motives in MOTIVES.items()
        for motive in motives
        for batch in range(batches)
    ]
    sellers: list[dict[str, Any]] = [
        {"mechanism": mechanism, "instances": _markets(mechanism, study.quick), "seed": study.seed, "batch": batch}
        for mechanism in SELLERS
        for batch in range(batches)
    ]
    gains: dict[str, list[float]] = {}
    for given, found in zip(labelers, study.map(labeler_gains, labelers), strict=True):
        gains.setdefault(f"{given['rule']}.{given['motive']}", []).extend(found)
    for given, found in zip(sellers, study.map(seller_gains, sellers), strict=True):
        gains.setdefault(str(given["mechanism"]), []).extend(found)
    rng = np.random.default_rng(study.seed)
    figures, rows = [], []
    for name, each in gains.items():
        values = np.array(each)
        resampled = values[rng.integers(values.size, size=(RESAMPLES, values.size))].mean(axis=1)
        low, high = np.quantile(resampled, [0.025, 0.975])
        source = SOURCES["seller" if name in SELLERS else "labeler"]
        goal = f"at most {ROUNDING}" if name in CLAIMED else "" if name in NEARLY else f"above {ROUNDING}: a control"
        largest, mean = float(values.max()), float(values.mean())
        figures += [
            Figure(f"truthfulness.max_gain.{name}", largest, None, None, None, source, study.seed, goal),
            Figure(f"truthfulness.mean_gain.{name}", mean, float(low), float(high), None, source, study.seed),
        ]
        rows.append(
            {
                "mechanism": name,
                "claims truth": name in CLAIMED,
                "largest gain": largest,
                "mean gain": mean,
                "lies that pay": float((values > ROUNDING).mean()),
                "instances": values.size,
            }
        )
    table = pl.DataFrame(rows)
    return Findings(
        figures=figures,
        summary=_summary({name: max(each) for name, each in gains.items()}),
        tables={"Gain of the best misreport": table},
        plots={
            f"Largest gain of a misreport, {who}": display.intervals(
                names,
                [max(gains[name]) for name in names],
                [0.0] * len(names),
                axis=f"{unit} (blue: claims truth)",
                highlighted=lambda name: name in CLAIMED,
            )
            for who, unit, names in (
                (
                    "labelers who steer",
                    "squared probability",
                    [name for name in gains if name.endswith(".steering")],
                ),
                (
                    "labelers with a reputation",
                    "share of worth",
                    [name for name in gains if name.endswith((".myopic", ".forward_looking"))],
                ),
                ("sellers", "share of cost", [name for name in gains if name in SELLERS]),
            )
        },
    )


def _markets(mechanism: str, quick: bool) -> int:
    """Markets of a seller; a look at a whole round costs more than one at a lot."""
    if mechanism == "as_shipped":
        return 3 if quick else 25
    return 60 if quick else 250


def _instances(rule: str, quick: bool) -> int:
    """Instances of a cell."""
    return (3 if quick else 15) if rule in SLOW else (15 if quick else 60)


def _summary(largest: dict[str, float]) -> str:
    broken = [f"{name} ({largest[name]:.2g})" for name in largest if name in CLAIMED and largest[name] > ROUNDING]
    controls = [name for name in largest if name not in CLAIMED | NEARLY]
    unexposed = [name for name in controls if largest[name] <= ROUNDING]
    claimed = sum(name in CLAIMED for name in largest)
    ahead = ", ".join(
        f"{name.removesuffix('.forward_looking')} {largest[name]:.1g}" for name in largest if name in NEARLY
    )
    lines = [
        f"{claimed - len(broken)} of {claimed} claims of truthfulness hold: the best misreport found gains at most "
        f"{ROUNDING:g}." + (f" Broken: {', '.join(broken)}." if broken else ""),
        f"{len(controls) - len(unexposed)} of {len(controls)} mechanisms that claim nothing are caught by the same search."
        + (f" Not caught: {', '.join(unexposed)}." if unexposed else ""),
        f"Looking ahead, nothing is claimed but by ELF-X; shares gained over a few slots, at most: {ahead}.",
    ]
    if largest["limited_feedback.forward_looking"] > NOTICEABLE:
        lines.append(
            "limited_feedback sets its step from observed losses, so a report moves how far a later slot pulls every weight "
            "towards the mean: at most N / (2 (4 N² ln N + V)) of weight with V the squares observed so far, which is much "
            "only for a labeler that has hardly any, early on. limited_feedback_known_horizon has no such pull."
        )
    return "\n\n".join(lines)
