"""Tests mirror the source: each file here names a module or a package, and each module has a file of its name, of its package's, or
is listed with the file that tests it."""

from pathlib import Path

from tests import PROJECT
from tests.conftest import FIRST, ON_THEIR_OWN, SHARING

UNIT = PROJECT / "tests" / "unit"
# Where the tests of a folder's modules stand, folders within folders first.
MIRRORS = {
    "crowd_assets/assets": "tests/assets",
    "crowd_assets": "tests/unit",
    "resources": "tests/unit/resources",
    "sensors": "tests/sensors",
}
TABLE = "test_table.py"  # of a family: every member runs through it

# What other files test. The list may shrink: a module that gets a file of its name leaves it.
ELSEWHERE: dict[str, str] = {
    "crowd_assets/assets/catalogue.py": "tests/assets/test_definitions.py",
    "crowd_assets/assets/seed.py": "tests/assets/test_tutorial.py",
    "crowd_assets/commands/campaign.py": "tests/assets/test_tutorial.py",
    "crowd_assets/commands/chat.py": "tests/assets/test_operations.py",
    "crowd_assets/commands/data_dictionary.py": "tests/unit/resources/warehouse/test_dictionary.py",
    "crowd_assets/commands/desk.py": "tests/e2e/test_desk.py",
    "crowd_assets/commands/families.py": "tests/unit/monitoring/test_status.py",
    "crowd_assets/commands/home.py": "tests/unit/operations/test_backup.py",
    "crowd_assets/commands/look.py": "tests/unit/monitoring/test_status.py",
    "crowd_assets/commands/people.py": "tests/unit/operations/test_erasure.py",
    "crowd_assets/commands/rounds.py": "tests/assets/test_tutorial.py",
    "crowd_assets/commands/tools.py": "tests/unit/test_exporters.py",
    "crowd_assets/commands/ui.py": "tests/e2e/test_browser.py",
    "crowd_assets/definitions.py": "tests/assets/test_definitions.py",
    "crowd_assets/desk/app.py": "tests/unit/desk/test_letting_in.py",
    "crowd_assets/desk/desk.py": "tests/unit/desk/test_letting_in.py",
    "crowd_assets/desk/forms.py": "tests/unit/desk/test_crowd_pages.py",
    "crowd_assets/desk/migrations/env.py": "tests/unit/desk/test_store.py",
    "crowd_assets/desk/migrations/versions/v0001_first.py": "tests/unit/desk/test_store.py",
    "crowd_assets/desk/migrations/versions/v0002_share.py": "tests/unit/desk/test_store.py",
    "crowd_assets/desk/mine.py": "tests/e2e/test_desk.py",
    "crowd_assets/desk/people.py": "tests/e2e/test_desk.py",
    "crowd_assets/desk/privacy.py": "tests/unit/desk/test_store.py",
    "crowd_assets/desk/serving.py": "tests/e2e/test_desk.py",
    "crowd_assets/desk/tables.py": "tests/unit/desk/test_store.py",
    "crowd_assets/forum/recipe.py": "tests/unit/forum/test_comments.py",
    "crowd_assets/forum/words.py": "tests/unit/forum/test_comments.py",
    "crowd_assets/jobs.py": "tests/assets/test_definitions.py",
    "crowd_assets/leases.py": "tests/sensors/test_sensors.py",
    "crowd_assets/monitoring/leaderboard.py": "tests/assets/test_operations.py",
    "crowd_assets/monitoring/tracing.py": "tests/unit/terminal/test_log.py",
    "crowd_assets/operations/audit.py": "tests/assets/test_audit.py",
    "crowd_assets/operations/audit_round.py": "tests/assets/test_audit.py",
    "crowd_assets/operations/erased_files.py": "tests/unit/operations/test_erasure.py",
    "crowd_assets/operations/migrate_tables.py": "tests/cluster/test_postgres_campaign.py",
    "crowd_assets/operations/recomputation.py": "tests/assets/test_audit.py",
    "crowd_assets/quality/conditions.py": "tests/unit/quality/test_gate.py",
    "crowd_assets/quality/drift.py": "tests/unit/quality/test_gate.py",
    "crowd_assets/experiments/definitions.py": "tests/assets/test_definitions.py",
    "crowd_assets/quality/history.py": "tests/unit/quality/test_gate.py",
    "crowd_assets/quality/objections.py": "tests/unit/quality/test_detectors.py",
    "crowd_assets/quality/suites.py": "tests/unit/quality/test_gate.py",
    "crowd_assets/quality/verdict.py": "tests/unit/quality/test_gate.py",
    "crowd_assets/round/asked.py": "tests/unit/round/test_assignment.py",
    "crowd_assets/round/contributions.py": "tests/assets/test_contributions.py",
    "crowd_assets/round/groups.py": "tests/assets/test_candidates.py",
    "crowd_assets/round/judging.py": "tests/assets/test_definitions.py",
    "crowd_assets/round/points.py": "tests/assets/test_contributions.py",
    "crowd_assets/round/procurement.py": "tests/unit/round/test_lots.py",
    "crowd_assets/round/standing.py": "tests/unit/round/test_assignment.py",
    "crowd_assets/simulation/comment_crowd.py": "tests/unit/experiments/test_selection.py",
    "crowd_assets/simulation/comment_models.py": "tests/unit/experiments/test_selection.py",
    "crowd_assets/simulation/defects.py": "tests/unit/quality/test_detectors.py",
    "crowd_assets/simulation/labelers.py": "tests/unit/experiments/test_labelers.py",
    "crowd_assets/simulation/misreports.py": "tests/unit/experiments/test_truthfulness.py",
    "crowd_assets/simulation/misreports_of_sellers.py": "tests/unit/experiments/test_truthfulness.py",
    "resources/common/locks.py": "tests/project/test_concurrency.py",
    "resources/feedback/assigned.py": "tests/unit/round/test_assignment.py",
    "resources/feedback/event_files.py": "tests/unit/resources/feedback/test_events.py",
    "resources/feedback/intake.py": "tests/unit/operations/test_audit_intake.py",
    "resources/feedback/parquet_rows.py": "tests/project/test_hostile.py",
    "resources/files/backups.py": "tests/unit/operations/test_backup.py",
    "resources/files/object_store.py": "tests/cluster/test_s3.py",
    "resources/files/step_outputs.py": "tests/unit/resources/test_build.py",
    "resources/home/instance.py": "tests/unit/resources/home/test_identity.py",
    "resources/models/local.py": "tests/unit/resources/models/test_trainer.py",
    "resources/rounds/attempts.py": "tests/sensors/test_sensors.py",
    "resources/rounds/claims.py": "tests/sensors/test_decisions.py",
    "resources/rounds/decisions.py": "tests/unit/round/test_assignment.py",
    "resources/tools/data_quality.py": "tests/unit/quality/test_gate.py",
    "resources/tools/run_history.py": "tests/unit/monitoring/test_status.py",
    "resources/warehouse/base.py": "tests/unit/resources/rounds/test_book.py",
    "resources/warehouse/connection.py": "tests/unit/resources/warehouse/test_postgres_connection.py",
    "resources/warehouse/damage.py": "tests/unit/operations/test_doctor.py",
    "resources/warehouse/duckdb.py": "tests/unit/resources/rounds/test_book.py",
    "resources/warehouse/look.py": "tests/unit/monitoring/test_status.py",
    "resources/warehouse/schema.py": "tests/unit/resources/warehouse/test_postgres.py",
}


def mirror_of(module: str) -> list[str]:
    """The files that may hold a module's tests: of its own name, of its packages', and of its family's table."""
    root = next(each for each in MIRRORS if module.startswith(f"{each}/"))
    below = Path(module).relative_to(root)
    place = Path(MIRRORS[root])
    of_packages = [place / folder.parent / f"test_{folder.name}.py" for folder in below.parents if folder != Path(".")]
    top = [place / f"test_{root}.py"] if root == "sensors" else []
    files = [place / below.parent / f"test_{below.name}", *of_packages, *top, place / below.parent / TABLE]
    return [str(file) for file in files]


def modules() -> list[str]:
    paths = (path for root in ("crowd_assets", "resources", "sensors") for path in (PROJECT / root).rglob("*.py"))
    return sorted(str(path.relative_to(PROJECT)) for path in paths if not path.name.startswith("__"))


def named_by(test: Path) -> list[Path]:
    """The module, or the package, that a file of tests names."""
    below = test.relative_to(UNIT)
    place = PROJECT / ("." if below.parts[0] == "resources" else "crowd_assets") / below.parent
    name = test.stem.removeprefix("test_")
    return [place / f"{name}.py", place / name / "__init__.py"]


def test_every_file_of_tests_names_a_module_or_a_package() -> None:
    tests = [path for path in UNIT.rglob("test_*.py") if path != Path(__file__)]
    lost = {
        str(test.relative_to(UNIT)): named_by(test)[0] for test in tests if not any(map(Path.exists, named_by(test)))
    }
    assert not lost, "of no module; put them where their modules stand, or into tests/project"


def test_every_module_has_a_file_of_tests_or_is_listed_with_the_one_that_tests_it() -> None:
    without = {name for name in modules() if not any((PROJECT / file).exists() for file in mirror_of(name))}
    new = sorted(without - ELSEWHERE.keys())
    assert not new, f"without tests: {', '.join(f'{name} (write {mirror_of(name)[0]})' for name in new)}"
    listed = sorted(ELSEWHERE.keys() - without)
    assert not listed, f"no longer without tests, or gone; take it off the list: {', '.join(listed)}"


def test_the_files_that_are_named_for_modules_are_there() -> None:
    assert not [file for file in ELSEWHERE.values() if not (PROJECT / file).exists()]


def test_what_is_said_of_the_order_of_tests_names_files_that_are_there() -> None:
    assert not [place for place in (*FIRST, *ON_THEIR_OWN, *SHARING) if not (PROJECT / place).exists()]
