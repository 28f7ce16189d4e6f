"""What judgements earn: whether pay follows skill, what who does not look gets, and what strategies gain over the truth.

Belongs here: protocol, figures. Does not belong here: cells (see ``simulation.judges``), the contract (see ``mechanisms.judging``).
"""

import numpy as np
import polars as pl

from crowd_assets.experiments.study import Figure, Findings, Study
from crowd_assets.simulation.judges import KINDS, coin_flipper_share, fresh_name_gains, judgement_gains, real_pay
from crowd_assets.simulation.labelers import LABELS
from resources.settings.settings import Settings

LEAST = (20, 100, 400)
"""Judgements of a worker, at least; the goal speaks of the first."""
INSTANCES, CHECKED = 1_000_000, 0.1
SOURCE = "UKPConvArg1 (Habernal & Gurevych, 2016), gold by MACE from the same labels"
CONTRACT = "a linear contract on a proper score (arXiv 2502.06387, 2505.19134)"


def judgement_pay(study: Study) -> Findings:
    """Pay of judgements: on real workers against what they get right elsewhere, a coin-flipper's share, gains of strategies.

    Each of a real worker's judgements on pairs with gold is paid or held out by a coin, many times over. A worker's held-out accuracy is
    itself noisy: ``ceiling`` is the correlation that pay by the true accuracy, which nobody knows, would have with it. Strategies are
    searched over random instances, expectations exact; names that are left when luck turns are computed exactly, by optimal stopping;
    both with outcomes on a tenth of the pairs.

    Source: UKPConvArg1, Habernal & Gurevych (ACL 2016); arXiv 2502.06387, 2505.19134.
    """
    splits = 5 if study.quick else 40
    dues = float(Settings.model_fields["judging_dues"].default)
    cells = study.map(
        real_pay, [{"least": least, "splits": splits, "seed": study.seed} for least in LEAST], reads=[LABELS]
    )
    figures, rows = [], []
    for least, found in zip(LEAST, cells, strict=True):
        of = {name: np.array([each[name] for each in found]) for name in found[0]}
        ceiling = np.sqrt(of["reliability"])
        suffix = "" if least == LEAST[0] else f".from_{least}"
        for name, values, goal in (
            ("correlation", of["correlation"], "at least 0.9, and at most the ceiling"),
            ("correlation_ceiling", ceiling, ""),
            ("correlation_of_totals", of["of_totals"], ""),
        ):
            low, high = np.quantile(values, [0.025, 0.975])
            figures.append(
                Figure(
                    f"labelers.pay.{name}{suffix}",
                    float(values.mean()),
                    float(low),
                    float(high),
                    None,
                    SOURCE,
                    study.seed,
                    goal,
                )
            )
        rows.append(
            {
                "judgements, at least": least,
                "workers": int(of["workers"].mean()),
                "pay a judgement": float(of["correlation"].mean()),
                "accuracy on what is paid": float(of["of_accuracy"].mean()),
                "ceiling": float(ceiling.mean()),
                "whole pay with held-out right": float(of["of_totals"].mean()),
            }
        )
    repeats = 5 if study.quick else 40
    (shares,) = study.map(coin_flipper_share, [{"dues": dues, "repeats": repeats, "seed": study.seed}], reads=[LABELS])
    low, high = np.quantile(shares, [0.025, 0.975])
    coin = Figure(
        "labelers.pay.coin_flipper_share",
        float(np.mean(shares)),
        float(low),
        float(high),
        None,
        SOURCE,
        study.seed,
        "at most 0.05",
    )
    batches = 1 if study.quick else 4
    asked = [
        {"instances": INSTANCES // 4, "checked": CHECKED, "seed": study.seed, "batch": batch}
        for batch in range(batches)
    ]
    found = study.map(judgement_gains, asked)
    gains = {kind: max(each[kind] for each in found) for kind in KINDS}
    (fresh,) = study.map(fresh_name_gains, [{"dues": round(dues), "checked": CHECKED}])
    figures += [
        coin,
        Figure(
            "truthfulness.max_gain.judgement_pay",
            max(gains.values()),
            None,
            None,
            None,
            CONTRACT,
            study.seed,
            "at most 1e-06",
        ),
        Figure(
            "truthfulness.max_gain.judgement_pay.fresh_names",
            fresh["gain"],
            None,
            None,
            None,
            CONTRACT,
            study.seed,
            "at most 1e-06",
        ),
    ]
    first = rows[0]
    return Findings(
        figures=figures,
        summary="\n\n".join(
            [
                f"{first['workers']} workers have {LEAST[0]} judgements or more. What half of a worker's judgements earn a judgement "
                f"correlates {first['pay a judgement']:.2f} with the accuracy of the other half. The accuracy of so few held-out judgements is "
                f"mostly chance: pay by the true accuracy would correlate {first['ceiling']:.2f} with it, so the goal of 0.9 is out of reach of any "
                f"pay there. From {LEAST[-1]} judgements on pay correlates {rows[-1]['pay a judgement']:.2f} of {rows[-1]['ceiling']:.2f}.",
                f"Somebody who flips a coin on a careful worker's pairs earns {coin.value:.1%} of that worker's pay.",
                f"Over {INSTANCES if not study.quick else INSTANCES // 4:,} instances the best lie, shirking, copying and splitting gain "
                f"{max(gains.values()):.1g}. Sure answers under names that are left when luck turns gain {fresh['gain']:.2g} points "
                f"a judgement at a belief of {fresh['belief']:.2f}, as a name's losses end with it; dues of {dues:g} points keep that small.",
            ]
        ),
        tables={
            "Pay and held-out accuracy of real workers": pl.DataFrame(rows),
            "Gain of strategies, points a judgement": pl.DataFrame(
                {"strategy": list(gains), "largest gain": list(gains.values())}
            ),
        },
        plots={},
    )
