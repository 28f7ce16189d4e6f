"""The graph as a whole: every stage, its plots and figures, and that it writes the same again."""

import base64
import re
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from dagster import DagsterRunStatus, RunsFilter

from crowd_assets.assets.catalogue import LINEAGE, SCHEMA, TABLES, URI
from crowd_assets.experiments.definitions import build_experiments
from crowd_assets.experiments.reproduction import EXPERIMENTS
from crowd_assets.report.display import ROW_COUNT
from resources.home.names import ROUND_JOB
from resources.warehouse.dictionary import table
from tests.assets.platform import Platform, key_of, shown_of
from tests.conftest import OF_A_ROUND, OUTSIDE, UNPARTITIONED


def test_every_stage_is_materialised(two_rounds: Platform) -> None:
    for name in OF_A_ROUND:
        assert two_rounds.instance.get_materialized_partitions(key_of(name)) == {"r000001", "r000002"}, name


def test_every_materialization_shows_its_plots_and_figures(two_rounds: Platform) -> None:
    shown = shown_of(two_rounds, "r000002")
    plots = {
        "validated_feedback": {"quality_so_far"},
        "labeler_weights": {"weights", "weights_over_rounds", "regret_so_far"},
        "selected_model": {"selection_distances"},
        "shapley_estimates": {"values"},
        "contributor_estimates": {"estimates"},
        "auction_clearing": {"supply_and_demand", "prices_by_lot"},
        "point_ledger": {"points_and_shapley"},
        "round_report": {"distances"},
    }
    for asset, names in plots.items():
        for name in names:
            uri = re.fullmatch(r"!\[plot\]\(data:image/png;base64,(.+)\)", shown[asset][name].value)
            assert uri, (asset, name)
            assert 1_000 < len(base64.b64decode(uri[1])) < 40_000, (asset, name)
    numbers = {
        "validated_feedback": {"rejected_share"},
        "labeler_weights": {"regret", "regret_bound"},
        "aligned_model": {"distance", "reduction"},
        "auction_clearing": {"cost_per_pair", "spent"},
        "point_ledger": {"correlation_with_shapley", "credits_paid"},
    }
    for asset, names in numbers.items():
        assert all(isinstance(shown[asset][name].value, float) for name in names), asset
    assert shown["selected_model"]["groups_and_ranks"].value.count("\n") == 1 + two_rounds.settings.groups
    spent = two_rounds.warehouse.read_round("awards", 2).filter("awarded")["payment"].sum()
    done = RunsFilter(tags={"dagster/partition": "r000002"}, statuses=[DagsterRunStatus.SUCCESS])
    (run,) = two_rounds.instance.get_runs(done, limit=1)
    assert Decimal(run.tags["crowd/credits_spent"]) == spent
    assert int(run.tags["crowd/seconds"]) > 0


def test_every_asset_says_what_it_is(two_rounds: Platform) -> None:
    rounds = two_rounds.definitions.get_repository_def().asset_graph
    experiments = build_experiments(two_rounds.settings).get_repository_def().asset_graph
    assert {key.to_user_string() for key in rounds.get_all_asset_keys()} == OF_A_ROUND | UNPARTITIONED | OUTSIDE
    assert {key.to_user_string() for key in experiments.get_all_asset_keys()} == {
        *(experiment.name for experiment in EXPERIMENTS),
        "reproduction",
    }
    for graph, key in [(each, key) for each in (rounds, experiments) for key in each.get_all_asset_keys()]:
        node = graph.get(key)
        assert node.description, key
        assert node.group_name != "default", key
        assert node.owners, key
        assert node.kinds, key


def test_the_catalogue_has_the_columns_rows_and_sources_of_every_table(two_rounds: Platform) -> None:
    graph = two_rounds.definitions.get_repository_def().asset_graph
    shown = shown_of(two_rounds, "r000002")
    columns = {asset: {column.name for column in graph.get(key_of(asset)).metadata[SCHEMA].columns} for asset in TABLES}
    written = {
        asset: {column.name for name in names for column in table(name).columns} for asset, names in TABLES.items()
    }
    for asset, names in TABLES.items():
        if asset != "raw_feedback":
            rows = two_rounds.warehouse.query(f"SELECT count(*) FROM {names[0]} WHERE round_no = 2").item()
            assert shown[asset][ROW_COUNT].value == rows, asset
        there = two_rounds.warehouse.query(f"SELECT * FROM {names[0]} LIMIT 0").columns
        assert columns[asset] == set(there), asset
        assert graph.get(key_of(asset)).metadata[URI] == str(two_rounds.warehouse.snapshot_path), asset
        sources = graph.get(key_of(asset)).metadata.get(LINEAGE)
        for column, upstream in (sources.deps_by_column if sources else {}).items():
            assert column in columns[asset]
            for each in upstream:
                assert each.column_name in written[each.asset_key.to_user_string()], (asset, column, each)
    for name in OUTSIDE:
        assert Path(graph.get(key_of(name)).metadata[URI]).exists(), name


def test_the_snapshot_says_what_its_columns_are(two_rounds: Platform) -> None:
    with duckdb.connect(str(two_rounds.warehouse.snapshot_path), read_only=True) as snapshot:
        silent = snapshot.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL AND NOT internal"
        )
        assert silent.fetchall() == []
        said = snapshot.execute(
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'awards' AND column_name = 'payment'"
        )
        assert said.fetchall() == [("Credits paid; 0 without an award.",)]


def test_a_settled_round_is_reproduced_and_nothing_is_written_twice(two_rounds: Platform) -> None:
    before = two_rounds.contents()
    assert two_rounds.run(ROUND_JOB, "r000002").success
    assert two_rounds.contents() == before


@pytest.mark.crash
def test_the_same_inputs_give_the_same_round_in_another_home(
    two_rounds: Platform, tmp_path: Path, seed_folder: Path
) -> None:
    (tmp_path / "seed").symlink_to(seed_folder)
    other = Platform(two_rounds.settings.changed(home=str(tmp_path)))
    assert other.round(1).success
    found, expected = other.contents(1), two_rounds.contents(1)
    for contents in (found, expected):  # how old the feedback is depends on the day
        contents["quality_findings"] = [row for row in contents["quality_findings"] if row[2] != "freshness"]
    assert found == expected
