"""Only lots that the platform published are sold in, and a round's awards are those of the auction that is set."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowd_assets.mechanisms.auctions.table import AUCTIONS
from crowd_assets.quality.conditions import facts
from crowd_assets.round.lots import lot_id, next_round_no, open_lots, publish_lots, worst_prompts
from crowd_assets.round.procurement import awards_of, tasks_of
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.feedback.events import EVENT_SCHEMA
from resources.rounds.book import Round
from resources.settings.fields import SettingError
from resources.settings.resource import CrowdSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def round_(number: int) -> Round:
    return Round(number, f"r{number:06d}", 1, 2, "claimed", 1, None, number, None, None, NOW)


def bids(lots: int, sellers: int, extra: list[tuple[str, str, str]] = []) -> tuple[pl.DataFrame, np.ndarray]:  # noqa: B006
    rows = [(f"lot-{lot}", f"s{seller}", "0.200000") for lot in range(lots) for seller in range(sellers)] + extra
    frame = pl.DataFrame(rows, schema=["lot_id", "contributor_id", "asked_price"], orient="row").with_row_index(
        "event_id"
    )
    frame = frame.with_columns(pl.col("event_id").cast(pl.String))
    return frame, np.random.default_rng(0).uniform(0.5, 0.9, frame.height)


def test_the_lots_of_a_round_are_published_once_with_their_prompts(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    resources = build_resources(settings)
    warehouse, outbox = resources.warehouse, resources.outbox
    assert next_round_no(warehouse) == 1
    assert publish_lots(1, settings, warehouse, outbox) == 12
    (published,) = outbox.files("lots")
    before = published.read_text()
    assert publish_lots(1, settings.changed(lots_published=3, seed=9), warehouse, outbox) == 12, "as it was"
    assert published.read_text() == before
    lots = open_lots(round_(1), settings, warehouse)
    assert lots is not None
    assert [row["lot_id"] for row in outbox.published("lots")] == [lot_id(1, number) for number in range(12)]
    crowd = {bid["lot_id"]: bid["prompt"] for bid, _ in SimulatedCrowd("gratitude", settings.seed)._bids(1)}
    assert crowd == lots, "the simulated crowd answers what is asked"
    assert open_lots(round_(2), settings, warehouse) == lots, (
        "round 1 was not settled, and its bids come with those of round 2"
    )


@pytest.mark.parametrize(
    ("lot", "prompt", "known"),
    [
        ("lot-1-0", "How was it?", True),
        ("lot-1-0", "Mine?", False),
        ("my-lot", "How was it?", False),
        ("any", "Mine?", True),
    ],
)
def test_a_bid_for_what_was_not_asked_is_refused(lot: str, prompt: str, known: bool) -> None:
    event = dict.fromkeys(EVENT_SCHEMA) | {
        "event_id": "e",
        "kind": "bid",
        "contributor_id": "a",
        "lot_id": lot,
        "prompt": prompt,
        "response": "Fine.",
        "asked_price": "0.100000",
        "claimed_quality": 0.5,
        "submitted_at": NOW,
        "payload": "{}",
    }
    events = pl.DataFrame([{"seq": 1, **event}], schema={"seq": pl.Int64(), **EVENT_SCHEMA})
    for lots, expected in (({"lot-1-0": "How was it?", "any": ""}, known), ({}, False), (None, True)):
        assert facts("bid", events, NOW, lots)["lot_known"].to_list() == [expected]


def test_lots_come_from_the_source_that_is_set(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("One?\nTwo?\n\nThree?\nOne?\n")
    settings = CrowdSettings(home=str(tmp_path), lot_prompts=str(prompts), lots_published=2)
    resources = build_resources(settings)
    warehouse, outbox = resources.warehouse, resources.outbox
    assert settings.lots_source == "file"
    assert [publish_lots(number, settings, warehouse, outbox) for number in (1, 2)] == [2, 2]
    assert [row["prompt"] for row in outbox.published("lots")] == ["One?", "Two?", "Three?", "One?"]
    own = settings.changed(lot_prompts="", base_model="some/model")
    assert own.lots_source == "worst"
    assert publish_lots(3, own, warehouse, outbox, lambda: ["Bad?", "Worse?", "Fine?"]) == 2
    assert publish_lots(4, own, warehouse, outbox) == 0, "nothing is known of the model yet"
    generations = pl.DataFrame({"prompt": ["a", "b", "a", "c"]})
    assert worst_prompts(round_(1), generations, [0.1, 0.5, 0.9, 0.2]) == ["a", "b", "c"]
    assert open_lots(round_(1), settings.changed(lots_from="any"), warehouse) is None
    with pytest.raises(SettingError, match="CROWD_LOT_PROMPTS"):
        publish_lots(5, settings.changed(lot_prompts="", lots_from="file"), warehouse, outbox)


@pytest.mark.parametrize("name", AUCTIONS)
def test_every_auction_can_be_the_one_of_a_round(name: str) -> None:
    offered, quality = bids(5, 4)
    settings = CrowdSettings(auction=name, budget="4", answers_per_lot=4)
    awards = awards_of(round_(1), settings, offered.with_columns(response=pl.lit("Thank you.")), quality)
    assert awards["awarded"].any()
    assert awards["payment"].sum() <= Decimal(4)
    tasks = tasks_of(round_(1), awards)
    bought = set(awards.filter("awarded")["event_id"])
    assert set(tasks["event_id_a"]) | set(tasks["event_id_b"]) == bought
    assert not tasks.filter(pl.col("event_id_a") == pl.col("event_id_b")).height


def test_an_auction_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(SettingError, match="'lottery' is none of posted_rate"):
        CrowdSettings.from_environment({"CROWD_AUCTION": "lottery"})


def test_bids_at_prices_that_cannot_be_paid_take_nothing_from_honest_sellers() -> None:
    """Two good texts at 1,000 credits in each lot: a sixth of the honest pay under scoring VCG, nothing under the posted rate."""
    blocked = [(f"lot-{lot}", name, "1000.000000") for lot in range(24) for name in ("x1", "x2")]
    paid: dict[str, list[float]] = {}
    for auction in ("posted_rate", "scoring_vcg"):
        for extra in ([], blocked):
            offered, quality = bids(24, 4, extra)
            quality[24 * 4 :] = 0.95
            earned = 0.0
            for number in range(1, 6):
                awards = awards_of(round_(number), CrowdSettings(auction=auction), offered, quality)
                earned += float(awards.filter(pl.col("contributor_id").str.starts_with("s"))["payment"].sum())
            paid.setdefault(auction, []).append(earned)
    assert paid["posted_rate"][0] == paid["posted_rate"][1]
    assert paid["scoring_vcg"][1] < 0.85 * paid["scoring_vcg"][0]
