"""The plan of a candidate: every row once an epoch, within the tokens of a pass."""

import numpy as np

from resources.training.candidate_runs import length_bucketed, portions


def test_length_buckets_take_every_row_once_an_epoch_and_pad_little() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, size=203).tolist()
    steps = length_bucketed(lengths, 8, 3, seed=1)
    assert len(steps) == 3 * 26
    for epoch in range(3):
        of_epoch = steps[epoch * 26 : (epoch + 1) * 26]
        assert sorted(row for step in of_epoch for row in step) == list(range(203))
    padded = sum(max(lengths[row] for row in step) * len(step) for step in steps)
    assert padded < 1.2 * 3 * sum(lengths)
    assert steps != length_bucketed(lengths, 8, 3, seed=2)


def test_portions_hold_every_row_once_within_the_tokens_allowed() -> None:
    rng = np.random.default_rng(0)
    lengths = [rng.integers(1, 40, size=rows).tolist() for rows in (5, 1, 8, 8, 3)]
    seen = []
    for adapters, rows in portions(lengths, 100):
        part = [lengths[adapter][rows] for adapter in adapters]
        seen += [(adapter, row) for adapter in adapters for row in range(len(lengths[adapter]))[rows]]
        most, widest = max(map(len, part)), max(max(of_adapter, default=1) for of_adapter in part)
        assert len(part) * most * widest <= 100
    assert sorted(seen) == [
        (adapter, row) for adapter, of_adapter in enumerate(lengths) for row in range(len(of_adapter))
    ]
