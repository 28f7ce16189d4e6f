"""The intake and the gate of a round: bad lines, released rows, rounds that are skipped or blocked, and checks."""

import json
from datetime import UTC, datetime

import duckdb
import polars as pl
from dagster import (
    AssetCheckSeverity,
    ExecuteInProcessResult,
)

from crowd_assets.assets.feedback import suite_check
from crowd_assets.quality.gate import all_expectations
from crowd_assets.report.display import escaped
from resources.build import build_resources
from resources.feedback.inbox import InboxResource
from resources.home.names import ROUND_JOB, ROUNDS_PARTITION
from resources.rounds.book import SkippedRoundError
from resources.rounds.releases import ReleaseBook
from resources.settings.resource import CrowdSettings
from tests.assets.platform import Platform, key_of, shown_of


def test_the_event_log_holds_no_text_of_a_contributor(two_rounds: Platform) -> None:
    """It cannot be erased. What models wrote is theirs, and reference texts are the operator's: both are left out here."""
    for name in ("r000001", "r000002"):
        texts = pl.read_parquet(two_rounds.settings.path("frames", "validated_feedback", f"{name}.parquet"))
        sent = two_rounds.warehouse.query("SELECT excerpt FROM rejected_feedback WHERE length(excerpt) > 12")
        said = {text for column in ("prompt", "response") for text in texts[column].drop_nulls() if len(text) > 12}
        said |= set(sent["excerpt"])
        shown = shown_of(two_rounds, name)
        shown["selected_model"].pop("samples")
        shown["target"].pop("texts")
        logged = repr(shown)
        assert not [text for text in said if text in logged or escaped(text) in logged]


def test_every_expectation_has_its_check_and_its_row_in_the_warehouse(two_rounds: Platform) -> None:
    expected = {(suite, name) for suite, name, _, _ in all_expectations()}
    found = two_rounds.warehouse.read_round("quality_findings", 2)
    assert set(found.select("suite", "expectation").iter_rows()) == expected
    node = two_rounds.definitions.get_repository_def().asset_graph
    checks = {key.name for key in node.asset_check_keys if key.asset_key == key_of("validated_feedback")}
    assert checks == {suite_check(suite) for suite, _ in expected} | {"feedback_gate"}
    rows = dict(found.filter(pl.col("suite") == "demonstration").select("expectation", "failing").iter_rows())
    assert rows["few_copies"] > 0, "the simulated crowd has spammers"
    drift = found.filter(pl.col("suite") == "round")
    assert drift.filter(pl.col("expectation") == "phi_drift")["figure"].is_between(0, 1).all()


def test_bad_lines_are_rejected_with_their_reason_and_the_round_is_green(settings: CrowdSettings) -> None:
    platform = Platform(settings)
    platform.crowd_sends(1)
    (platform.inbox / "bad.jsonl").write_bytes(b"{broken\n" + b"x" * 10_000_000 + b'\n{"kind": "opinion"}\n')
    (platform.inbox / "empty.jsonl").write_bytes(b"")
    (platform.inbox / "unfinished.jsonl.tmp").write_bytes(b'{"kind": "demonstr')
    twice = (platform.inbox / "round-1-judgements.jsonl").read_text().splitlines()[0]
    changed = json.dumps(json.loads(twice) | {"probability_a": 0.123})
    (platform.inbox / "second-answer.jsonl").write_text(changed)
    platform.ingest()
    assert platform.run(ROUND_JOB, platform.start(), asset_selection=[key_of("validated_feedback")]).success
    rejected = platform.warehouse.query("SELECT source, line, stage, reason FROM rejected_feedback ORDER BY ALL")
    reasons = {(source, line): reason for source, line, _, reason in rejected.iter_rows()}
    assert "broken JSON" in reasons["bad.jsonl", 1]
    assert "10000001 bytes" in reasons["bad.jsonl", 2]
    assert "unknown kind" in reasons["bad.jsonl", 3]
    assert reasons["empty.jsonl", 0] == "the file is empty"
    assert "judges a comparison once" in reasons["second-answer.jsonl", 1]
    assert (platform.inbox / "unfinished.jsonl.tmp").exists()


def test_what_was_rejected_and_released_is_valid_in_the_next_round_once(settings: CrowdSettings) -> None:
    platform = Platform(settings)
    inbox: InboxResource = build_resources(settings).inbox
    valid: list[set[str]] = []

    def gate_of(round_no: int, **extra: dict[str, object]) -> ExecuteInProcessResult:
        platform.crowd_sends(round_no)
        for name, record in extra.items():
            (platform.inbox / f"z-{name}.jsonl").write_text(json.dumps(record | {"event_id": name}))  # arrives last
        platform.ingest()
        round_id = platform.start()
        result = platform.run(ROUND_JOB, round_id, asset_selection=[key_of("validated_feedback")])
        assert result.success
        frame = settings.path("frames", "validated_feedback", f"{round_id}.parquet")
        valid.append(set(pl.read_parquet(frame)["event_id"]))
        with platform.warehouse.transaction() as connection:
            connection.execute("UPDATE rounds SET status = 'completed' WHERE round_id = $id", {"id": round_id})
        return result

    platform.crowd_sends(1)
    judged = json.loads((platform.inbox / "round-1-judgements.jsonl").read_text().splitlines()[0])
    sent = json.loads((platform.inbox / "round-1-demonstrations.jsonl").read_text().splitlines()[0])
    copied = sent | {"contributor_id": "copyist", "prompt": "x", "submitted_at": "2026-01-02T00:00:00Z"}
    result = gate_of(1, twice=judged | {"probability_a": 0.123}, copied=copied)
    assert not valid[0] & {"twice", "copied"}
    reasons = dict(platform.warehouse.query("SELECT event_id, reason FROM rejected_feedback").iter_rows())
    assert reasons["twice"] == "not met: a labeler judges a comparison once"
    assert reasons["copied"].startswith("copies: word for word ")
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    demonstrations = checks["demonstrations_as_expected"]
    assert demonstrations.severity == AssetCheckSeverity.WARN, "the gate let the round pass"
    assert demonstrations.metadata["rejected"].value >= 1
    assert demonstrations.metadata["rejected_share"].value < platform.settings.max_rejected_share
    assert "answer word for word" in str(demonstrations.metadata["missed"].value)
    assert checks["outcomes_as_expected"].passed, "few are rejected, and nobody is flagged"
    flagged = platform.warehouse.read_round("quality_contributors", 1).filter("flagged")
    accused = flagged.filter(pl.col("detector") == "collusion")["contributor_id"]
    assert not [name for name in accused if name.startswith("labeler")], "no ring is planted among the labelers"
    for event_id in ("twice", "copied"):
        ReleaseBook(inbox).release(event_id, by="Ada", why="a quotation", now=datetime.now(UTC))
    gate_of(2)
    gate_of(3)
    assert valid[1] >= {"twice", "copied"}
    assert not valid[2] & {"twice", "copied"}


def test_too_few_contributions_skip_the_round_and_wait_for_the_next(settings: CrowdSettings) -> None:
    platform = Platform(settings.changed(quorum_contributors=1))
    lines = [
        {
            "kind": "demonstration",
            "contributor_id": "somebody",
            "prompt": "p",
            "response": f"response {number}",
            "submitted_at": "2026-01-01T00:00:00Z",
        }
        for number in range(5)
    ]
    (platform.inbox / "few.jsonl").write_text("\n".join(map(json.dumps, [*lines, {"prompt": "p", "completion": "r"}])))
    platform.ingest()
    with duckdb.connect(str(platform.warehouse.snapshot_path), read_only=True) as snapshot:
        ((line, reason),) = snapshot.execute("SELECT line, reason FROM rejected_feedback").fetchall()
    assert line == 6
    assert "It looks like a row of prompt and completion, as TRL trains on" in reason
    round_id = platform.start(nightly=True)
    result = platform.run(ROUND_JOB, round_id)
    assert result.success, result.failure_data_for_node("validated_feedback")
    assert platform.instance.get_materialized_partitions(key_of("candidate_models")) == set()
    assert platform.book.get(round_id).status == "skipped"
    assert "5 valid demonstrations" in str(platform.book.get(round_id).reason)
    assert all(not rows for table, rows in platform.contents().items() if not table.startswith("quality_"))
    platform.crowd_sends(1)
    platform.ingest()
    second = platform.book.get(platform.start())
    assert (second.round_id, second.from_seq) == ("r000002", 1)
    failed = platform.run(ROUND_JOB, round_id)
    assert not failed.success
    failure = failed.failure_data_for_node("validated_feedback")
    assert failure is not None
    assert failure.error is not None
    assert SkippedRoundError.__name__ in failure.error.to_string()


def test_a_blocked_round_stays_blocked_in_a_run_without_the_gate(settings: CrowdSettings) -> None:
    platform = Platform(settings.changed(max_rejected_share=0.0))
    platform.crowd_sends(1)
    first = (platform.inbox / "round-1-judgements.jsonl").read_text().splitlines()[0]
    (platform.inbox / "second-answer.jsonl").write_text(json.dumps(json.loads(first) | {"probability_a": 0.123}))
    platform.ingest()
    round_id = platform.start()
    result = platform.run(ROUND_JOB, round_id)
    assert not result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["feedback_gate"].passed
    assert not checks["preferences_as_expected"].passed
    assert checks["preferences_as_expected"].severity == AssetCheckSeverity.ERROR
    assert "a labeler judges a comparison once" in str(checks["preferences_as_expected"].metadata["missed"].value)
    assert platform.instance.get_materialized_partitions(key_of("contributor_groups")) == set()
    later = platform.run(ROUND_JOB, round_id, asset_selection=[key_of("contributor_groups")])
    assert not later.success
    failure = later.failure_data_for_node("contributor_groups")
    assert failure is not None
    assert failure.error is not None
    assert "did not pass the gate" in failure.error.to_string()


def test_a_partition_without_a_claim_says_so(settings: CrowdSettings) -> None:
    platform = Platform(settings)
    platform.instance.add_dynamic_partitions(ROUNDS_PARTITION, ["r000099"])
    failure = platform.run(ROUND_JOB, "r000099").failure_data_for_node("validated_feedback")
    assert failure is not None
    assert failure.error is not None
    assert "never claimed" in failure.error.to_string()
