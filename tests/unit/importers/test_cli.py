"""The importers' command line: what it says and how it ends, and imports of the real data sets."""

import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner
from upath import UPath

from crowd_assets.importers.cli import app
from resources.feedback.events import Limits
from tests import REFERENCE_DATA
from tests.reading import read_file
from tests.unit.importers.samples import FORMATS

LIMITS = Limits(line_bytes=1_000_000, text_characters=20_000)


def reference(*parts: str) -> str:
    path = REFERENCE_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is missing: set CROWD_REFERENCE_DATA to the folder with the data (see docs/importers.md)")
    return str(path)


def imported(out: Path, *arguments: str) -> tuple[list[dict], str]:
    """Events as the inbox reads them, in the order of the files, and what the command printed."""
    result = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    files = [read_file(UPath(path), LIMITS) for path in sorted(out.glob("*.jsonl"))]
    assert [rejection for file in files for rejection in file.rejections] == []
    return [event for file in files for event in file.events], result.output


def test_goemotions_train(tmp_path: Path) -> None:
    events, output = imported(tmp_path, "goemotions", reference("goemotions", "train.tsv"))
    assert len(events) == len({event["event_id"] for event in events}) == 24 * 60
    assert set(Counter(event["contributor_id"] for event in events).values()) == {60}
    assert sum('"drawn_emotion": "gratitude"' in event["payload"] for event in events) == 12 * 60
    assert "drew 1,440 of 43,227 comments" in output
    assert "skipped 183 × same text as an earlier comment" in output


def test_convincing_arguments(tmp_path: Path) -> None:
    rows = pl.read_parquet(reference("convincing_arguments", "labels.parquet"))
    pairs = rows["pair_id"].unique(maintain_order=True)[:2_000]
    rows = rows.filter(pl.col("pair_id").is_in(pairs.implode()))
    source, out = tmp_path / "labels.parquet", tmp_path / "out"
    rows.write_parquet(source)
    shutil.copy(reference("convincing_arguments", "arguments.parquet"), tmp_path)
    events, output = imported(out, "convincing-arguments", str(source))
    gold = rows.filter(pl.col("gold").is_not_null())["pair_id"].n_unique()
    assert Counter(event["kind"] for event in events) == {"preference": rows.height, "outcome": gold}
    assert len({event["event_id"] for event in events}) == len(events)
    assert len({event["contributor_id"] for event in events} - {""}) == rows["worker_id"].n_unique()
    assert len({event["comparison_id"] for event in events}) == 2_000
    said = Counter(event["probability_a"] for event in events if event["kind"] == "preference")
    assert said == {
        {"a": 1.0, "equal": 0.5, "b": 0.0}[choice]: count for choice, count in Counter(rows["choice"]).items()
    }
    assert f"{2_000 - gold:,} of 2,000 pairs have no gold" in output
    assert "0 rows skipped" in output
    times: list[datetime] = [event["submitted_at"] for event in events]
    assert times == sorted(times)
    settled: set[str] = set()
    for event in events:
        assert event["comparison_id"] not in settled
        if event["kind"] == "outcome":
            settled.add(event["comparison_id"])


def test_convincing_arguments_limited(tmp_path: Path) -> None:
    source = reference("convincing_arguments", "labels.parquet")
    options = ["--limit-pairs", "50", "--topics", "firefox", "--topics", "tv is better"]
    events, _ = imported(tmp_path, "convincing-arguments", source, *options)
    assert len({event["comparison_id"] for event in events}) == 50
    prompts = {event["prompt"] for event in events if event["kind"] == "preference"}
    assert all("Firefox" in prompt or "TV is better" in prompt for prompt in prompts)


# The command line


def test_every_format_has_a_command() -> None:
    assert list(typer.main.get_command(app).commands) == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_every_option_of_every_format_has_help(name: str) -> None:
    command = typer.main.get_command(app).commands[name]
    assert command.help
    assert [parameter.name for parameter in command.params if not parameter.help] == []


def test_a_source_that_gives_nothing_exits_with_one_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    out = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["trl-preference", str(tmp_path / "rows.jsonl"), "--out", out])
    assert result.exit_code == 1
    assert "skipped 1 × no chosen" in result.output
    assert "wrote no events" in result.output


def test_a_broken_source_exits_with_two_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[")
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["argilla", str(tmp_path / "rows.json"), "--out", str(out)])
    assert result.exit_code == 2
    assert "error:" in result.output
    assert list(out.iterdir()) == []


def test_a_start_without_zone_is_refused_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    arguments = ["ultrafeedback", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path), "--start", "2026-01-01"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "no time zone" in " ".join(result.output.split())


def test_one_of_two_answer_fields_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[]")
    arguments = ["label-studio", str(tmp_path / "rows.json"), "--out", str(tmp_path), "--field-a", "x"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
