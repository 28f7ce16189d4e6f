"""The crowd of the load benchmark, and plots of crowds that large. Running it takes minutes: ``python -m benchmarks.load``."""

import json

import numpy as np

from benchmarks.load import SHARES, LoadCrowd
from crowd_assets.report import display
from resources.feedback.events import Limits, parse_event


def test_everybody_sends_something_and_a_few_send_much() -> None:
    crowd = LoadCrowd(400, 4_000, 4, seed=3)
    rounds = [crowd.feedback(number, []) for number in (1, 2, 3, 4)]
    events = [event for of_round in rounds for event in of_round]
    assert {kind: sum(event["kind"] == kind for event in events) for kind in SHARES} == {
        kind: round(4_000 * share) for kind, share in SHARES.items()
    }
    sent = np.unique([event["contributor_id"] for event in events if "contributor_id" in event], return_counts=True)[1]
    assert sent.size == 400
    assert sent.min() == 1
    assert np.sort(sent)[-40:].sum() > 0.3 * sent.sum()
    assert crowd.feedback(2, []) == rounds[1] == LoadCrowd(400, 4_000, 4, seed=3).feedback(2, [])
    assert all(parse_event(json.loads(json.dumps(event)), Limits(10_000, 1_000)) for event in events)


def test_a_plot_of_a_large_crowd_shows_both_ends_of_it() -> None:
    labels = [f"c{number}" for number in range(5_000)]
    few, many = (display.bars(labels[:count], list(range(count)), axis="points") for count in (40, 5_000))
    heights = [int.from_bytes(png[20:24], "big") for png in (few, many)]
    assert heights[0] == heights[1]
    shown: list[str] = []
    display.bars(labels, list(range(5_000)), axis="points", highlighted=lambda name: not shown.append(name))
    assert shown == labels[:20] + labels[-20:]
    assert display.intervals(labels, [0.0] * 5_000, [1.0] * 5_000, axis="estimate")
