"""Homes that earlier commits settled are read and audited by today's code: clean as they are, and not after a change.

Belongs here: every archive beside this module. Does not belong here: how they were made (see ``make_home``).
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from crowd_assets.monitoring.leaderboard import leaderboard
from crowd_assets.monitoring.status import status
from crowd_assets.operations.audit import Audit, audit
from crowd_assets.report.statement import statement_of
from resources.home.identity import FILE, SCHEMA_VERSION, known_home
from resources.settings.resource import CrowdSettings
from resources.warehouse.snapshot import SnapshotWarehouse
from tests import PROJECT
from tests.homes import stand_ins

ARCHIVES = sorted(Path(__file__).parent.glob("settled_*.tar.xz"))


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.split(".")[0])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A settled home, with the models that it was made with."""
    with pytest.MonkeyPatch.context() as patch:
        stand_ins.install(patch.setattr)
        patch.setenv("CROWD_SECRET", stand_ins.SECRET)
        folder = tmp_path_factory.mktemp("home")
        with tarfile.open(request.param) as tar:
            tar.extractall(folder, filter="data")
        yield folder


def audited(home: Path) -> Audit:
    return audit(CrowdSettings(home=str(home)))


def test_a_home_that_an_earlier_commit_settled_audits_clean(home: Path) -> None:
    found = audited(home)
    assert [str(each.difference) for each in found.rounds if each.difference] == []
    assert found.clean, found
    assert [each.round_id for each in found.rounds] == ["r000001", "r000002"]
    assert all(each.recomputed for each in found.rounds)
    assert found.entries > 0


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.split(".")[0])
def test_tables_of_an_earlier_version_are_read_by_who_only_looks(archive: Path, tmp_path: Path) -> None:
    """They are opened read-only, as that version left them: nothing can be added to them."""
    with tarfile.open(archive) as tar:
        tar.extract("warehouse.duckdb", tmp_path, filter="data")
    written = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(written), read_only=True) as connection, pytest.raises(duckdb.CatalogException):
        connection.execute("FROM judgement_values")
    settings = CrowdSettings(home=str(tmp_path))
    snapshot = SnapshotWarehouse(path=str(written))
    shutil.copy(written, snapshot.snapshot_path)
    before = written.read_bytes()
    board = leaderboard(settings)
    assert board.round_id == "r000002"
    assert board.places
    last = status(settings).last_round
    assert last is not None
    assert last.round_id == "r000002"
    posted = {each.contributor_id: each.points_posted + each.points_provisional for each in board.places}
    name = max(posted, key=lambda each: abs(posted[each]))
    assert statement_of(name, settings, snapshot).points == pytest.approx(posted[name])
    assert written.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE ledger SET amount = amount + 1 WHERE round_no = 2 AND account <> 'treasury'", "ledger"),
        ("UPDATE selections SET distance = distance + 0.001 WHERE round_no = 1 AND role = 'base'", "selections"),
    ],
)
def test_one_figure_that_was_changed_is_found(home: Path, tmp_path: Path, statement: str, where: str) -> None:
    there = tmp_path / "home"
    shutil.copytree(home, there)
    with duckdb.connect(str(there / "warehouse.duckdb")) as connection:
        connection.execute(statement)
    found = audited(there)
    first = next(each.difference for each in found.rounds if each.difference)
    assert first.where == where


def test_a_byte_of_any_model_that_was_changed_is_found(home: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(home, tmp_path / "home"))
    cards = {path.parent: json.loads(path.read_bytes()) for path in sorted(there.glob("models/*/card.json"))}
    weights = [model / "adapter_model.safetensors" for model, card in cards.items() if card["role"] != "trial"]
    assert len(weights) >= 6
    for path in weights:  # also of a model that no round chose; a trial of a learning rate is no part of a round
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert not audit(CrowdSettings(home=str(there)), recompute=False).clean, path
        path.write_bytes(data)


@pytest.mark.crash
def test_a_home_that_an_earlier_commit_settled_goes_on_today(home: Path, tmp_path: Path) -> None:
    """Today's code adopts it, settles a third round on top, and all three audit clean."""
    there = Path(shutil.copytree(home, tmp_path / "home"))
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    (there / FILE).unlink(missing_ok=True)  # of the audits that this module has made
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "CROWD_SECRET": stand_ins.SECRET}
    played = [sys.executable, Path(__file__).with_name("play.py"), tmp_path, "3"]
    subprocess.run(played, cwd=PROJECT, env=environment, check=True)
    found = audited(there)
    assert [str(each.difference) for each in found.rounds if each.difference] == []
    assert found.clean, found
    assert [each.round_id for each in found.rounds] == ["r000001", "r000002", "r000003"]
    known = known_home(CrowdSettings(home=str(there)))
    assert known is not None
    assert (known.schema, known.last_record) == (SCHEMA_VERSION, found.head)


def test_there_are_homes() -> None:
    assert len(ARCHIVES) >= 2
