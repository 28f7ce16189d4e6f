"""Figures of what is past one machine: their quick forms, their names and sanity; no time."""

import json

import pytest

from benchmarks import scale

pytestmark = pytest.mark.cluster


def figures(part: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, float]]:
    scale.main([part, "--quick"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"machine", "versions"} <= found.pop("context").keys()
    return dict(found)


def test_claims_and_settlements_are_timed_in_both_warehouses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "CLAIMS", 5)
    found = figures("claims", capsys)
    assert found.keys() == {"duckdb", "postgres"}
    assert all(0 < each["median_ms"] <= each["p95_ms"] for each in found.values())


def test_ingestion_is_timed_at_every_place(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "COLLECTORS", (2,))
    found = figures("ingestion", capsys)
    assert found.keys() == {"duckdb_2", "postgres_2", "postgres_s3_2"}
    assert all(each["events_per_cpu_second"] > 0 for each in found.values())
