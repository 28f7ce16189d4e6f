"""What a round published, held against its tables; whole rounds are audited in ``tests/assets/test_audit.py``."""

from pathlib import Path

import polars as pl

from crowd_assets.operations.audit_outbox import PublishedRound
from tests.unit.operations.test_erasure import REASON, Home, erase, event

SAID = [
    {"role": "user", "content": "Is it cold?"},
    {"role": "assistant", "content": "It is."},
    {"role": "user", "content": "How cold?"},
]


def test_an_erased_bid_with_a_conversation_of_its_own_is_not_missed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    Path(home.inbox.root).mkdir()
    for number, who in enumerate(("ann", "bo", "cy")):
        bid = {
            "lot_id": "l1",
            "messages": SAID,
            "response": f"Said by {who}.",
            "asked_price": "0.1",
            "claimed_quality": 1,
        }
        home.send(f"{number}.jsonl", event("bid", who, **bid))
    home.settle(1, {"candidates": ["m1", "m2"]})
    events = dict(home.inbox.events(1, 9).select("contributor_id", "event_id").iter_rows())
    pairs = {"r000001-1": ("ann", "bo"), "r000001-2": ("bo", "cy")}
    rows = [
        {"round_no": 1, "comparison_id": name, "lot_id": "l1", "event_id_a": events[one], "event_id_b": events[other]}
        for name, (one, other) in pairs.items()
    ]
    with home.warehouse.transaction() as connection:
        home.warehouse.append(connection, "comparison_tasks", pl.DataFrame(rows))
    tasks = [
        {
            "comparison_id": name,
            "prompt": "How cold?",
            "messages": SAID,
            "response_a": f"Said by {one}.",
            "response_b": f"Said by {other}.",
        }
        for name, (one, other) in pairs.items()
    ]
    home.resources.outbox.publish("comparison_tasks", "r000001", tasks)

    def differences() -> list[str]:
        (round_,) = home.book.settled()
        settings = home.settings
        one = PublishedRound(round_, settings, home.warehouse, home.resources.frames, settings.outbox_path)
        return [str(each) for each in one.tasks(with_audits=False)]

    assert differences() == []
    erase("ann", REASON, home.settings, home.resources)
    assert differences() == []
    path = home.resources.outbox.files("comparison_tasks")[0]
    assert "Said by ann." not in path.read_text()
    path.write_text(path.read_text().replace("Said by cy.", "Said by nobody."))
    (found,) = differences()
    assert "another text" in found
