"""Families in a round: every member of each table, and one more row, computed on the second round of a settled home.

Nothing is trained: what a round computes is asked as the audit asks it. Belongs here: that members of the tables run in a round. Does not
belong here: what members guarantee (see ``tests/unit/mechanisms``).
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest

from crowd_assets.mechanisms.auctions.table import AUCTIONS
from crowd_assets.mechanisms.families import Family
from crowd_assets.mechanisms.groupings.table import GROUPINGS
from crowd_assets.mechanisms.labelers.plain import Mean
from crowd_assets.mechanisms.labelers.table import AGGREGATES
from crowd_assets.round import groups, labelers, points, procurement
from crowd_assets.round.members import FAMILIES
from crowd_assets.round.target import Target, read_target
from resources.build import Resources, build_resources
from resources.common.members import choices
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from tests.homes import stand_ins
from tests.homes.test_settled_homes import ARCHIVES
from tests.toys import Nothing, Together
from tests.unit.mechanisms.points_schemes.test_table import Alike


@dataclass(frozen=True)
class Plainest(Mean):
    """A toy aggregate."""

    name = "plainest"  # type: ignore[misc]
    summary = "Baseline: the plain mean report, once more."  # type: ignore[misc]


TOYS: dict[str, Any] = {"points_scheme": Alike(), "auction": Nothing(), "aggregate": Plainest(), "grouping": Together()}


@dataclass(frozen=True)
class Played:
    """The second round of a settled home, and how it was settled."""

    settings: CrowdSettings
    resources: Resources
    round_: Round
    aim: Target
    computed: dict[str, pl.DataFrame] = field(default_factory=dict)

    def with_member(self, family: Family[Any], name: str) -> pl.DataFrame:
        """What the round computes by the member: rows that it would write."""
        settings = self.settings.changed(**{family.setting: name})
        about = (self.round_, settings, self.resources.warehouse, self.resources.frames)
        if family is AUCTIONS:
            stored = self.resources.warehouse.read_round("awards", self.round_.round_no)
            bids = procurement.bids_of(*about).join(stored.select("event_id", "quality"), on="event_id")
            return procurement.awards_of(self.round_, settings, bids.drop("quality"), bids["quality"].to_numpy())
        if family is AGGREGATES:
            return labelers.weights_after(*about)[0]
        if family is GROUPINGS:
            formed = groups.groups_of(*about, self.aim)
            return groups.members_of_candidates(*about, formed)
        return points.estimates_of(*about, self.aim).estimates


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with pytest.MonkeyPatch.context() as patch:
        stand_ins.install(patch.setattr)
        patch.setenv("CROWD_SECRET", stand_ins.SECRET)
        home = tmp_path_factory.mktemp("home")
        with tarfile.open(next(each for each in ARCHIVES if "9e12491" in each.name)) as tar:
            tar.extractall(home, filter="data")
        settings = CrowdSettings(home=str(home))
        resources = build_resources(settings)
        (text,) = resources.warehouse.query("SELECT record FROM round_records WHERE round_no = 2")["record"]
        record = json.loads(text)
        settings = settings.of_record(record["settings"])
        resources = build_resources(settings)
        round_ = RoundBook(resources.warehouse).get("r000002")
        yield Played(settings, resources, round_, read_target(resources.frames, record["target"]))


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family in FAMILIES for name in family],
    ids=lambda each: each.title if isinstance(each, Family) else each,
)
def test_every_member_runs_in_a_round(family: Family[Any], name: str, played: Played) -> None:
    found = played.with_member(family, name)
    assert found.height > 0
    for column in found.select(pl.col(pl.Float64)).drop("cumulative_regret", strict=False):
        assert column.drop_nulls().is_finite().all(), column.name


@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: each.title)
def test_a_row_in_the_table_makes_a_toy_a_member_of_rounds(
    family: Family[Any], played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the row is there: the setting takes the toy, and the round computes by the toy."""
    toy = TOYS[family.setting]
    fields = type(played.settings).model_fields
    with pytest.raises(ValueError, match=f"'{toy.name}' is none of"):
        played.settings.changed(**{family.setting: toy.name})
    monkeypatch.setitem(family._members, toy.name, toy)
    assert choices(fields[family.setting])[-1] == toy.name
    found = played.with_member(family, toy.name)
    assert {
        "points_scheme": lambda: found["scheme"].unique().to_list() == ["alike"],
        "auction": lambda: not found["awarded"].any(),
        "aggregate": lambda: found["weight"].n_unique() == 1,
        "grouping": lambda: found["group_index"].unique().to_list() == [0],
    }[family.setting]()
