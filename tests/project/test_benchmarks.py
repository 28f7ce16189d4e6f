"""Benchmarks: each runs in its quick form and prints one JSON line with the figures that are compared over time.

Belongs here: keys and sanity. Does not belong here: any time, which depends on the machine.
"""

import importlib
import json
from pathlib import Path

import pytest

import benchmarks.attacks as benchmark
from benchmarks import figures as stale
from benchmarks import quality
from benchmarks.weights import LABELERS
from crowd_assets.experiments.study import ReferenceDataError, reference_file
from crowd_assets.simulation.attacks import draws, judges, sellers, texts, writers


def figures(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What ``python -m benchmarks.<name> --quick`` prints on stdout."""
    importlib.import_module(f"benchmarks.{name}").main(["--quick"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1, "stdout is for the JSON line alone"
    found = json.loads(lines[0])
    assert {"machine", "versions"} <= found["context"].keys()
    return found


def test_auction_benchmark_times_every_mechanism(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures("auction", capsys)
    assert {"seconds_proportional_share_1m", "seconds_constant_factor_share", "seconds_lots"} <= found.keys()
    assert all(value > 0 for name, value in found.items() if name.startswith("seconds_"))
    awarded = found["context"]["awarded"]
    assert all(0 < count < found["context"]["bids"] for count in awarded.values())
    assert awarded["uniform_price"] == found["context"]["bids"] // 10


def test_weights_benchmark_learns_in_constant_memory(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures("weights", capsys)
    assert {"slots_per_second", "slots_per_second_with_absentees", "peak_mib"} <= found.keys()
    assert found["peak_mib"] > 0
    # The blocks after the first two would hold 80 MiB of reports if they were kept.
    assert found["growth_mib"] < 8
    for crowd in ("all_report", "with_absentees"):
        ran = found["context"][crowd]
        assert ran["weight_sum"] == pytest.approx(1.0)
        assert ran["weight_of_best"] > 3 / LABELERS
        assert ran["regret"] < ran["regret_bound"]


def test_shapley_benchmark_compares_with_shap_and_shapiq_on_one_game(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shap", reason="shap is in the extra 'test'")
    pytest.importorskip("shapiq", reason="shapiq is in the extra 'test'")
    found = figures("shapley", capsys)
    ratios = {f"{what}_ratio_vs_{peer}" for what in ("time", "error") for peer in ("shap", "shapiq")}
    assert ratios <= found.keys()
    assert all(found[ratio] > 0 for ratio in ratios)
    context = found["context"]
    assert context["data"] in {"MovieLens", "synthetic"}
    assert {"shap", "shapiq"} <= context["versions"].keys()
    medians = context["medians"]
    assert context["reference"]["standard_error"] < medians["ours"]["rmse"]
    # Every method estimates the same values of the same game: one that did not would fall out of line.
    assert all(median["rmse"] > 0 for median in medians.values())
    for method in ("ours", "shapiq.SVARM", "shapiq.UnbiasedKernelSHAP paired", "shapiq.StratifiedSamplingSV"):
        assert medians[method]["pearson"] > 0.95, method
    assert found["error_ratio_vs_shap"] > 5
    assert found["error_ratio_vs_shapiq"] > 1
    best = context["most_accurate_of_shapiq"]
    assert medians[best]["rmse"] == min(row["rmse"] for name, row in medians.items() if name.startswith("shapiq."))


def test_quality_benchmark_finds_the_same_rows_in_three_ways(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def here(way: str, number: int, seed: int) -> dict[str, object]:
        folder = tmp_path / f"{way}-{number}"
        quality.write_files(folder / "inbox", number, seed)
        return {"seconds": 1.0, "peak_gib": 1.0, **quality.WAYS[way](folder)}

    monkeypatch.setattr(quality, "measured", here)  # each in a process of its own takes seconds to start
    found = figures("quality", capsys)
    compared = {
        "seconds",
        "peak_gib",
        "growth_gib",
        "seconds_great_expectations_alone",
        "seconds_polars_alone",
        "events",
    }
    assert compared <= found.keys()
    counts = {way: [found["context"][way][name] for name in ("events", "valid", "rejected")] for way in quality.WAYS}
    assert counts["ours"] == counts["polars_alone"] == counts["great_expectations_alone"]
    assert 0.02 < counts["ours"][2] / counts["ours"][0] < 0.06


def test_planted_defects_are_found_and_clean_rows_kept(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        reference_file("convincing_arguments/labels.parquet"), reference_file("goemotions/train.tsv")
    except ReferenceDataError as missing:
        pytest.skip(str(missing))
    found = figures("planted_defects", capsys)
    assert found["clean_rejected_share"] <= 0.005
    assert len(found["defects"]) >= 25
    for kind, row in found["defects"].items():
        assert row["found"] == row["planted"] > 0, kind
    for name, row in found["detectors"].items():
        assert row["recall"] == 1.0, name
        assert row["precision"] > 0.7, name


def test_judges_benchmark_saves_judgements_and_accuses_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures("judges", capsys)
    assert 0 < found["judgements_ratio_at_equal_accuracy"] < 0.7
    assert found["decision_ms"] > 0
    assert found["alpha_seconds_1m"] > 0
    assert 4 <= found["spammers_paused_after"] <= 12
    assert found["honest_paused_share"] <= 0.03
    assert found["collusion_false_flags"] <= 0.02


def test_the_benchmark_prints_three_gains_with_intervals_for_each_attack(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "WRITERS_ATTACKS", {})
    monkeypatch.setattr(judges, "JUDGES_ATTACKS", {"labeler_fresh_names": judges.JUDGES_ATTACKS["labeler_fresh_names"]})
    monkeypatch.setattr(benchmark, "SWEEPS", ())  # games of minutes
    benchmark.main(["--quick"])
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found.keys() == {"plain", "as_shipped", "hardened", "by_surplus", "context"}
    for at_surplus in found["by_surplus"].values():
        assert at_surplus["gain"][0] <= at_surplus["bound"]
    for column in ("plain", "as_shipped", "hardened"):
        assert found[column].keys() == {
            "labeler_fresh_names",
            *sellers.MARKET_ATTACKS,
            *draws.DRAW_ATTACKS,
            *texts.TEXT_ATTACKS,
        }
        for figure in found[column].values():
            assert figure.keys() == {"gain", "low", "high"}
            assert figure["low"] <= figure["gain"] <= figure["high"]


def test_a_figure_belongs_to_the_command_of_its_row_or_of_its_section() -> None:
    page = """# One
| `python -m benchmarks.weights` | `slots` | 112,000 |
|---|---|---|
Nothing names a command: 5 s.
| seconds | 5 |

## Two
`python -m benchmarks.auction` took 9 s.

| seconds | 0.17 |
| words | none |
```
# make round in a fence
```
| minutes | 3 |
"""
    assert list(stale.with_commands(page)) == [
        (2, "benchmarks.weights"),
        (10, "benchmarks.auction"),
        (15, "make round"),
    ]
    assert "crowd_assets/mechanisms/labelers/score_update.py" in stale.measured("benchmarks.weights")
    assert stale.measured("benchmarks.gone") == ()
