"""Who imports whom: the contracts of pyproject.toml hold, and one that must break does.

Belongs here: imports, and that private modules of Dagster are asked for in one place. Does not belong here: what modules do.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import PROJECT

CONFIG = PROJECT / "pyproject.toml"
BROKEN = "Assets call no mechanism"
ON_PURPOSE = f'''
[tool.importlinter]
root_packages = ["crowd_assets"]

[[tool.importlinter.contracts]]
name = "{BROKEN}"
type = "forbidden"
source_modules = ["crowd_assets.assets"]
forbidden_modules = ["crowd_assets.mechanisms"]
'''


def lint_imports(*options: str) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "200"}
    return subprocess.run(
        [tool, "--no-cache", "--no-logo", *options],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_is_kept() -> None:
    done = lint_imports()
    assert done.returncode == 0, done.stdout
    kept = len(tomllib.loads(CONFIG.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"])
    assert f"Contracts: {kept} kept, 0 broken." in done.stdout


def test_a_contract_that_forbids_what_is_there_breaks_by_its_name(tmp_path: Path) -> None:
    config = tmp_path / "pyproject.toml"
    config.write_text(ON_PURPOSE, encoding="utf-8")
    done = lint_imports(str(config))
    assert done.returncode == 1
    assert f"{BROKEN} BROKEN" in done.stdout
    assert "crowd_assets.assets.contributions -> crowd_assets.mechanisms." in done.stdout


def test_a_package_that_nobody_gave_a_place_breaks_the_layers(tmp_path: Path) -> None:
    config = tmp_path / "pyproject.toml"
    placed = CONFIG.read_text(encoding="utf-8")
    assert '"forum | mechanisms"' in placed
    config.write_text(placed.replace('"forum | mechanisms"', '"mechanisms"'), encoding="utf-8")
    done = lint_imports(str(config), "--contract", "crowd-assets")
    assert done.returncode == 1
    assert "forum\n" in done.stdout
    assert "must be declared as a layer" in done.stdout


@pytest.mark.parametrize("package", ["crowd_assets", "resources"])
def test_the_top_of_a_package_has_at_most_five_modules(package: str) -> None:
    assert len(list((PROJECT / package).glob("*.py"))) <= 5


def test_private_modules_of_dagster_are_imported_in_one_module() -> None:
    """Ruff bans them elsewhere: the ban catches an import of one."""
    module = PROJECT / "crowd_assets" / "imports_on_purpose.py"
    for line in ("from dagster._core.storage.tags import PARTITION_NAME_TAG", "import dagster._cli.dev"):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename", module, "-"],
            cwd=PROJECT, input=f"{line}\n", capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "dagster_private" in done.stdout
