"""Metrics and logs for programs: figures are those of the tables, names of people are in neither."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, job, op

from crowd_assets.monitoring.metrics import STATUSES, measure
from crowd_assets.monitoring.tracing import stages
from crowd_assets.terminal.log import console_logger
from resources.build import build_resources
from resources.common.errors import MissingExtraError, OperatorError, require
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


class KeyIsWrongError(OperatorError):
    """Of this test."""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_says_why_a_step_failed(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    @op
    def works() -> None:
        pass

    @op
    def fails(context) -> None:  # type: ignore[no-untyped-def]
        context.log.info("half\nway")
        try:
            {}["nothing"]
        except KeyError as problem:
            raise KeyIsWrongError("CROWD_X: set it") from problem

    @job(logger_defs={"console": console_logger(log_format)})
    def both() -> None:
        works()
        fails()

    with DagsterInstance.ephemeral() as instance:
        config = {"loggers": {"console": {}}}
        done = both.execute_in_process(config, instance=instance, raise_on_error=False, tags={"crowd/round": "r000007"})
        found = {stage.step: stage for stage in stages(instance, done.run_id)}
    assert set(found) == {"works", "fails"}
    assert (found["works"].failed, found["fails"].failed) == (False, True)
    assert found["fails"].begun <= found["fails"].ended
    lines = capsys.readouterr().err.splitlines()
    if log_format == "text":
        assert any("KeyIsWrongError: CROWD_X: set it" in line for line in lines)
        return
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    (said,) = [line for line in logged if line["message"] == "half\nway"]
    assert (said["level"], said["job"], said["step"], said["round_id"]) == ("info", "both", "fails", "r000007")
    (why,) = [line for line in logged if "error" in line]
    assert "KeyIsWrongError: CROWD_X: set it" in why["error"]
    assert {line["run_id"] for line in logged} == {done.run_id}


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    require("polars", "frames")
    with pytest.raises(MissingExtraError, match=r'pip install -e "\.\[cluster\]"'):
        require("no_such_package.part", "CROWD_TRACES")
    assert logging.getLogger("crowd_assets").propagate
