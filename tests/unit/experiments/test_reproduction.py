"""The reproduction: it writes every figure, and nothing that runs."""

import json
from pathlib import Path

import polars as pl
import pytest
from dagster import materialize

from crowd_assets.experiments import reproduction
from crowd_assets.experiments.study import Figure, Findings, Study
from crowd_assets.report import display
from resources.build import build_resources
from resources.settings.resource import CrowdSettings


def test_the_reproduction_writes_every_figure_and_nothing_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hostile(study: Study) -> Findings:
        """An experiment whose texts are hostile."""
        return Findings(
            [Figure("a.figure", 0.25, 0.2, None, 0.3, "<script>alert(1)</script>", study.seed, "at least 0.2")],
            "A summary with <b>markup</b>.",
            tables={"T": pl.DataFrame({"text": ["<img src=x onerror=alert(1)>"], "number": [0.123456789]})},
            plots={"P": display.bars(["one"], [1.0], axis="x")},
        )

    experiment = reproduction.Experiment("A title", hostile)
    monkeypatch.setattr(reproduction, "EXPERIMENTS", (experiment,))
    monkeypatch.setattr(reproduction, "DOCUMENT", tmp_path / "reproduction.md")
    monkeypatch.chdir(tmp_path)
    settings = CrowdSettings(home=str(tmp_path / "home"))
    for quick in (True, False):
        assert materialize(
            [reproduction._asset(experiment), reproduction.gathered(("hostile",))],
            resources=build_resources(settings).as_dict(),
            run_config={"ops": {name: {"config": {"quick": quick}} for name in ("hostile", "reproduction")}},
        ).success
        (figure,) = json.loads((tmp_path / "reports" / "reproduction.json").read_text())
        assert set(figure) == {"name", "value", "low", "high", "published", "source", "seed", "command"}
        assert figure["command"] == ("make reproduce QUICK=1" if quick else "make reproduce")
        assert (tmp_path / "reproduction.md").exists() is not quick
    page = (tmp_path / "reports" / "reproduction.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert "| `a.figure` | 0.25 | 0.2 |  | 0.3 | at least 0.2 |" in (tmp_path / "reproduction.md").read_text()
