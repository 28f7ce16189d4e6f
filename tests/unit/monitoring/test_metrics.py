"""Metrics: figures are those of the tables, and names of people are in none of them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crowd_assets.monitoring.metrics import STATUSES, measure
from resources.build import build_resources
from resources.rounds.book import Quorum, RoundBook
from resources.settings.resource import CrowdSettings

LINE = {
    "kind": "demonstration",
    "contributor_id": "ada",
    "prompt": "p",
    "response": "a text",
    "submitted_at": "2026-01-01T00:00:00Z",
}


def figures(settings: CrowdSettings) -> dict[str, dict[str, float]]:
    return {each.name: dict(each.values) for each in measure(settings, datetime.now(UTC))}


def test_metrics_are_what_the_inbox_and_the_tables_say(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    assert figures(settings)["up"] == {"inbox": 1, "warehouse": 0}
    inbox = build_resources(settings).inbox
    Path(inbox.root).mkdir()
    lines = [json.dumps(LINE | {"response": f"a text {number}"}) for number in range(3)]
    Path(inbox.root, "a.jsonl").write_text("\n".join([*lines, lines[0], "broken"]))
    inbox.ingest()
    Path(inbox.root, "b.jsonl").write_text(lines[0])
    found = figures(settings)
    assert found["up"] == {"inbox": 1, "warehouse": 1}
    assert found["inbox_files"] == {"": 1}
    assert found["inbox_bytes"] == {"": len(lines[0])}
    assert found["pending_events"] == {"demonstration": 3}
    assert found["pending_contributors"] == {"": 1}
    assert found["ingested_lines_total"] == {"accepted": 3, "duplicate": 1, "rejected": 1}
    assert found["rounds"] == dict.fromkeys(STATUSES, 0)
    assert found["ledger_entries_total"] == {}
    book = RoundBook(build_resources(settings).warehouse)
    book.claim(Quorum(1, 1, timedelta(0)), settings, datetime.now(UTC))
    found = figures(settings)
    assert found["rounds"]["claimed"] == 1
    assert found["pending_events"] == {}


def test_nothing_that_is_measured_names_anybody(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    inbox = build_resources(settings).inbox
    Path(inbox.root).mkdir()
    Path(inbox.root, "ada.jsonl").write_text(json.dumps(LINE))
    inbox.ingest()
    said = repr(measure(settings, datetime.now(UTC)))
    assert "ada" not in said
    assert "a text" not in said
