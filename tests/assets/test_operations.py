"""What is done with two settled rounds: looked at, asked, exported, erased."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.exporters.model import export_round
from crowd_assets.monitoring.leaderboard import leaderboard
from crowd_assets.monitoring.status import status
from crowd_assets.operations.erasure import erase
from crowd_assets.report.figures import round_figures
from crowd_assets.round.tournament import points_so_far
from resources.build import build_resources
from resources.home.names import ROUND_JOB, ROUNDS_PARTITION
from resources.rounds.named import NoSuchRoundError
from tests.assets.platform import Platform


def test_a_round_is_exported_without_a_name_or_a_text_of_its_crowd(two_rounds: Platform, tmp_path: Path) -> None:
    resources = build_resources(two_rounds.settings)
    folder = export_round(two_rounds.settings, two_rounds.warehouse, resources.trainer, to=tmp_path / "out")
    chain = resources.model_store.lineage(two_rounds.book.get("r000002").next_model)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert (folder / "adapter").exists() == bool(chain)
    if chain:
        rank = json.loads((folder / "adapter" / "adapter_config.json").read_text())["r"]
        assert f"has the {len(chain)} adapters of the lineage as one LoRA of rank {rank}" in card
    assert "CROWD_EPOCH_ROUNDS | 2" in card
    events = two_rounds.settings.path("frames", "validated_feedback")
    valid = pl.concat([pl.read_parquet(events / f"{name}.parquet") for name in ("r000001", "r000002")])
    said = {text for name in ("contributor_id", "prompt", "response") for text in valid[name].drop_nulls() if text}
    assert said
    assert not [text for text in said if text in card]


def test_status_and_leaderboard_say_what_was_settled(two_rounds: Platform, tmp_path: Path) -> None:
    found = status(two_rounds.settings, tmp_path).last_round
    assert found is not None
    assert (found.round_id, found.status) == ("r000002", "completed")
    figures = round_figures(two_rounds.book.get("r000002"), two_rounds.warehouse)
    assert (found.distance_base, found.distance_next_base) == (figures["distance_before"], figures["distance_after"])
    assert found.spent == pytest.approx(float(figures["spent"]))
    assert found.answers_bought == figures["answers_bought"]
    for number in (1, 2):
        board = leaderboard(two_rounds.settings, str(number))
        points = {place.contributor_id: place.points_posted + place.points_provisional for place in board.places}
        expected = dict(points_so_far(two_rounds.warehouse, number).select("contributor_id", "points").iter_rows())
        assert {name: points[name] for name in expected} == pytest.approx(expected)
        assert [place.rank for place in board.places] == sorted(place.rank for place in board.places)
    credits = two_rounds.warehouse.query(
        "SELECT sum(amount)::DOUBLE AS c FROM ledger WHERE unit = 'credit' AND account <> 'treasury'"
    ).item()
    assert sum(place.credits for place in board.places) == pytest.approx(credits)
    assert {place.rounds for place in board.places} <= {1, 2}
    assert leaderboard(two_rounds.settings, top=3).places == board.places[:3]
    with pytest.raises(NoSuchRoundError, match="r000001, r000002"):
        leaderboard(two_rounds.settings, "r000009")


def test_base_and_winner_answer_side_by_side(two_rounds: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", two_rounds.settings.home)
    asked = CliRunner().invoke(app, ["chat", "--round", "1"], input="What a day\x1b[2J\n/quit\nnever asked\n")
    assert asked.exit_code == 0, asked.output
    assert "r000001 base" in asked.stdout
    assert "What a day" in asked.stdout
    assert "\x1b" not in asked.stdout
    assert "never asked" not in asked.stdout
    again = CliRunner().invoke(app, ["chat", "--round", "1", "--prompt", "What a day", "--samples", "2"])
    assert again.stdout.count("\n") > asked.stdout.count("\n")


def test_a_contributor_is_erased_from_all_that_two_rounds_left(two_rounds: Platform, tmp_path: Path) -> None:
    home = Path(shutil.copytree(two_rounds.settings.home, tmp_path / "home", symlinks=True))
    settings = two_rounds.settings.changed(home=str(home))
    resources = build_resources(settings)
    warehouse, inbox = resources.warehouse, resources.inbox
    (seller,) = warehouse.query(
        "SELECT contributor_id FROM awards WHERE awarded AND round_no = 1 ORDER BY ALL LIMIT 1"
    )["contributor_id"]
    demonstrator = warehouse.read_round("contributor_groups", 1)["contributor_id"][0]
    before = Platform(settings).contents()
    events = inbox.events(1, 10_000)
    written = events.filter(pl.col("kind").is_in(["demonstration", "bid"]))
    for who in (seller, demonstrator):
        mine = set(written.filter(pl.col("contributor_id") == who)["response"])
        mine -= set(written.filter(pl.col("contributor_id") != who)["response"])
        texts = [text.encode() for text in mine if len(text) > 20]
        assert _holding(home, texts) >= {"archive", "frames"}
        found = erase(who, "a request", settings, resources)
        assert _holding(home, texts) == set()
        assert found.withdrawn if who == seller else found.trained_on
    assert Platform(settings).contents() == before
    assert inbox.events(1, 10_000).height < events.height
    again = Platform(settings)
    again.instance.add_dynamic_partitions(ROUNDS_PARTITION, ["r000002"])
    rerun = again.run(ROUND_JOB, "r000002")
    (failure,) = [event for event in rerun.all_events if event.is_step_failure]
    assert failure.step_key == "validated_feedback"
    assert again.contents() == before


def _holding(home: Path, texts: list[bytes]) -> set[str]:
    """Folders and files of a home with one of the texts, Parquet unpacked."""
    found = set()
    for path in (each for each in home.rglob("*") if each.is_file() and "seed" not in each.parts):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            strings = pl.read_parquet(path).select(pl.selectors.string())
            data += "\n".join(value for column in strings for value in column if value).encode()
        if any(text in data for text in texts):
            found.add(path.relative_to(home).parts[0])
    return found
