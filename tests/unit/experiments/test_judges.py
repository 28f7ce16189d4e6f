"""The experiment on judges' pay, on a crowd whose skills are known."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowd_assets.experiments.judges import LEAST, judgement_pay
from crowd_assets.experiments.study import REFERENCE_DATA, Study
from crowd_assets.simulation.labelers import LABELS


def test_pay_follows_skill_and_a_coin_earns_next_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pairs, workers = 900, 12
    gold = rng.random(pairs) < 0.5
    pair, worker = np.nonzero(rng.random((pairs, workers)) < 0.7)
    right = rng.random(pair.size) < np.linspace(0.55, 0.97, workers)[worker]
    said = np.where(right, gold[pair], ~gold[pair])
    frame = pl.DataFrame(
        {
            "pair_id": [f"p{at:03d}" for at in pair],
            "worker_id": [f"w{at:02d}" for at in worker],
            "choice": np.where(said, "a", "b").tolist(),
            "gold": np.where(gold[pair], "a", "b").tolist(),
            "submitted_at": pl.Series(pair.tolist()).cast(pl.Datetime("us", "UTC")),
        }
    )
    path = tmp_path / "data" / LABELS
    path.parent.mkdir(parents=True)
    frame.write_parquet(path)
    monkeypatch.setenv(REFERENCE_DATA, str(tmp_path / "data"))
    found = judgement_pay(Study(quick=True, seed=3, folder=tmp_path, workers=1, log=lambda line: None))
    figures = {each.name: each for each in found.figures}
    assert figures["labelers.pay.correlation"].value > 0.9
    assert figures["labelers.pay.correlation"].value <= figures["labelers.pay.correlation_ceiling"].value + 0.05
    assert figures["labelers.pay.coin_flipper_share"].value < 0.05
    assert figures["truthfulness.max_gain.judgement_pay"].value <= 1e-6
    assert {f"labelers.pay.correlation.from_{least}" for least in LEAST[1:]} <= set(figures)
