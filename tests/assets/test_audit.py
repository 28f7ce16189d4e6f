"""The audit of two rounds: it names what was changed, and is clean of what was not."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest

from crowd_assets.operations.audit import audit
from crowd_assets.operations.audit_round import RoundAuditor
from crowd_assets.operations.backup import backup, restore
from crowd_assets.operations.erasure import erase
from crowd_assets.operations.retention import compact
from resources.build import build_resources
from resources.common.hashes import file_hash
from resources.home.names import ROUND_JOB, ROUNDS_PARTITION
from resources.rounds.records import append_record
from resources.rounds.secret import commitment, round_key
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from tests.assets.platform import Platform, Tampering, audited, by_sql, change_first, copied, key_of, rewrite_a_text
from tests.conftest import QUICK


def _swap_a_model(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    one, other = warehouse.read_round("candidates", 1)["model"][:2]
    shutil.copy(*(settings.path("models", model, "adapter_model.safetensors") for model in (one, other)))


def _change_a_report(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    path = settings.path("frames", "validated_feedback", "r000001.parquet")
    pl.read_parquet(path).with_columns(probability_a=1 - pl.col("probability_a")).write_parquet(path)


def _claim_it_was_erased(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    path = settings.path("frames", "validated_feedback", "r000001.parquet")
    before = file_hash(path.read_bytes())
    _change_a_report(settings, warehouse)
    after = file_hash(path.read_bytes())
    row = {"erasure_id": "e000001", "uri": str(path), "places": 1, "digest_before": before, "digest_after": after}
    with warehouse.transaction() as connection:
        warehouse.append(connection, "erased_files", pl.DataFrame([row]))


def _pay_more_and_write_the_chain_anew(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    """What somebody can do who may write everything: every hash is right again."""
    change_first("awards", "payment", "payment + 1", "awarded AND round_no = 1")(settings, warehouse)
    records = warehouse.query("SELECT round_no, record FROM round_records ORDER BY round_no")
    with warehouse.transaction() as connection:
        connection.execute("DELETE FROM round_records")
        for number, record in records.iter_rows():
            append_record(connection, number, json.loads(record))


TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "points": (
        change_first("contributor_estimates", "provisional_points", "provisional_points + 1"),
        r"r000001 .*contributor_estimates, \S+, provisional_points: stored \S+, recomputed",
    ),
    "award": (
        change_first("awards", "payment", "payment + 0.000001", "awarded AND round_no = 1"),
        r"r000001 .*awards, \S+, payment: stored \S+, recomputed",
    ),
    "quality": (change_first("awards", "quality", "quality + 0.01"), r"r000001 .*awards, \S+, (quality|payment)"),
    "amount": (
        change_first("ledger", "amount", "amount + 1"),
        r"r000001 .*ledger, \w+, amount: stored \S+, recomputed",
    ),
    "a millionth of a point": (
        change_first("ledger", "amount", "amount + 0.000001", "unit = 'point' AND round_no = 2"),
        r"r000002 .*ledger, r000002, amount: stored \w{32}, the record says \w{32}",
    ),
    "key": (
        change_first("round_keys", "key", "reverse(key)"),
        r"r000001 .*round_keys, r000001, key: stored \w{64}, the record says \w{64}",
    ),
    "commitment": (
        change_first("round_keys", "next_commitment", "reverse(next_commitment)"),
        r"r000001 .*round_keys, r000001, next_commitment: stored \w{64}, the record says \w{64}",
    ),
    "deleted entry": (
        by_sql("DELETE FROM ledger WHERE rowid = (SELECT min(rowid) FROM ledger)"),
        r"r00000\d .*ledger, \w+, entry_id: stored no row, recomputed a row",
    ),
    "deposit": (
        change_first("ledger", "amount", "amount - 0.1", "starts_with(account, 'deposit:')"),
        r"r000002 .*ledger, \w+, amount: stored \S+, recomputed",
    ),
    "entries of no round": (
        by_sql(
            "INSERT INTO ledger SELECT 'forged' || entry_id, 9, 'r000009', account, unit, amount, reason, reference "
            "FROM ledger WHERE round_no = 1"
        ),
        r"ledger .*ledger, forged\S+, entry_id: stored a row, recomputed no row",
    ),
    "weight": (
        change_first("labeler_weights", "weight", "weight * 1.1"),
        r"r000001 .*labeler_weights, \S+, weight: stored \S+, recomputed",
    ),
    "distance": (change_first("selections", "distance", "distance * 1.0001"), r"r000001 .*selections, \S+, distance"),
    "value of training": (
        change_first("contributor_values", "loss_reduction", "loss_reduction + 1"),
        r"r000001 .*contributor_values, r000001, loss_reduction: stored \w{32}, the record says",
    ),
    "asked next": (
        change_first("comparison_tasks", "event_id_a", "event_id_b"),
        r"r000001 .*comparison_tasks, \S+, event_id_a",
    ),
    "setting": (
        by_sql("UPDATE rounds SET settings = replace(settings, '\"groups\": 3', '\"groups\": 4') WHERE round_no = 1"),
        "r000001 .*rounds, r000001, settings: stored",
    ),
    "accuracy": (
        change_first("alignments", "accuracy_after", "coalesce(accuracy_after, 0) + 1", "round_no = 2"),
        r"r000002 .*alignments, \S+, \w+: stored",
    ),
    "round": (
        by_sql("DELETE FROM rounds WHERE round_no = 2"),
        "records .*rounds, round_no 2, status: stored not settled",
    ),
    "model": (_swap_a_model, "r000001 .*models, .*, files: stored .*restore the model from a backup"),
    "frame": (_change_a_report, "r000001 .*frame validated_feedback, r000001, probability_a: stored"),
    "figures under cover of an erasure": (_claim_it_was_erased, "frame validated_feedback, r000001, probability_a"),
    "text": (rewrite_a_text, "r000001 .*frame generations, r000001, base: stored"),
    "record": (
        by_sql("UPDATE round_records SET record = replace(record, '\"groups\":3', '\"groups\":4') WHERE round_no = 1"),
        "r000001 .*round_records, r000001, hash: stored",
    ),
    "record and its hash": (
        by_sql("UPDATE round_records SET hash = repeat('0', 64) WHERE round_no = 1"),
        "r000001 .*round_records, r000001, hash: stored 000000",
    ),
    "record that is none": (
        by_sql("UPDATE round_records SET record = record || 'x' WHERE round_no = 2"),
        "r000002 .*round_records, r000002, hash: stored",
    ),
    "record gone": (by_sql("DELETE FROM round_records WHERE round_no = 1"), "r000001 .*record: stored none"),
    "payment, with the chain written anew": (
        _pay_more_and_write_the_chain_anew,
        r"r000001 .*awards, \S+, payment: stored \S+, recomputed",
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_an_audit_names_what_was_changed(two_rounds: Platform, tmp_path: Path, tampering: str) -> None:
    change, expected = TAMPERINGS[tampering]
    settings = copied(two_rounds, tmp_path.parent)  # one place for all of them: Φ is loaded once
    change(settings, build_resources(settings).warehouse)
    code, said = audited(settings)
    assert code == 1
    assert re.search(expected, said), said


def test_an_audit_of_what_nobody_changed_is_clean_whatever_the_settings_are_now(two_rounds: Platform) -> None:
    before = two_rounds.contents()
    code, said = audited(two_rounds.settings.changed(groups=2, seed=9, points_scheme="rank"))
    assert (code, said.count("  ok")) == (0, 2), said
    head = said.split()[-1]
    assert two_rounds.contents() == before
    assert audit(two_rounds.settings, expected=head).clean
    anew = audit(two_rounds.settings, expected="0" * 64)
    assert "the record says 0000" in str(anew.chain)
    assert not anew.clean


def test_an_audit_tells_erased_texts_from_changed_ones(two_rounds: Platform, tmp_path: Path) -> None:
    settings = copied(two_rounds, tmp_path)
    resources = build_resources(settings)
    warehouse = resources.warehouse
    seller = warehouse.query("SELECT min(contributor_id) AS who FROM awards WHERE awarded AND round_no = 1").item()
    demonstrator = warehouse.read_round("contributor_groups", 1)["contributor_id"][0]
    for who in (seller, demonstrator):
        erase(who, "a request", settings, resources)
    code, said = audited(settings)
    assert code == 0, said
    assert "texts of frame validated_feedback (e00000" in said
    assert "qualities of" in said
    rewrite_a_text(settings, warehouse)
    assert "frame generations, r000001, base: stored" in audited(settings)[1]


def test_an_audit_is_clean_after_compaction_and_misses_no_model_that_was_chosen(
    two_rounds: Platform, tmp_path: Path
) -> None:
    settings = copied(two_rounds, tmp_path).changed(keep_losing_models=1, keep_data_docs=1)
    resources = build_resources(settings)
    warehouse, store = resources.warehouse, resources.model_store
    before = Platform(settings).contents()
    done = compact(settings, resources, two_rounds.instance)
    assert done.models >= QUICK["groups"] - 1
    assert done.pages
    code, said = audited(settings)
    assert (code, said.count("  ok")) == (0, 2), said
    candidates = warehouse.read_round("candidates", 1)["model"]
    gone = [model for model in candidates if not settings.path("models", model).exists()]
    assert len(gone) >= QUICK["groups"] - 1
    assert f"models that no round chose, removed: {len(gone)}" in said
    assert Platform(settings).contents() == before
    chosen = two_rounds.book.get("r000001").next_model
    assert chosen is not None
    store.remove(chosen)
    by_sql("INSERT INTO removed_models VALUES ($model, 1, NULL)", model=chosen)(settings, warehouse)
    code, said = audited(settings)
    assert code == 1
    assert f"models, {chosen}, files: stored" in said


def test_a_restored_home_is_clean_and_the_next_round_trains_from_it(two_rounds: Platform, tmp_path: Path) -> None:
    kept = backup(two_rounds.settings, two_rounds.warehouse, tmp_path / "kept").folder
    quick = {"epochs": 1, "value_seeds": 1, "value_order": 1}
    settings = two_rounds.settings.changed(home=str(tmp_path / "elsewhere"), **quick)
    resources = build_resources(settings)
    restore(settings, resources.warehouse, kept)
    restored = Platform(settings)
    assert restored.contents() == two_rounds.contents()
    assert audited(settings)[0] == 0
    restored.crowd_sends(3)
    restored.ingest()
    stages = ("validated_feedback", "labeler_weights", "contributor_groups", "candidate_models", "auction_clearing")
    assert restored.run(ROUND_JOB, restored.start(), asset_selection=[key_of(name) for name in stages]).success
    parents = {
        resources.model_store.card(model)["parent"] for model in restored.warehouse.read_round("candidates", 3)["model"]
    }
    assert parents == {two_rounds.book.get("r000002").next_model}
    assert set(restored.instance.get_dynamic_partitions(ROUNDS_PARTITION)) == {"r000001", "r000002", "r000003"}


def test_a_key_that_was_not_committed_to_is_found_even_where_the_record_was_written_for_it() -> None:
    told, drawn = (round_key(secret, 1) for secret in (b"the home's", b"one that draws better"))
    of_home = SimpleNamespace(committed=commitment(told))
    for key, found in ((told, []), (drawn, ["key"])):
        round_ = SimpleNamespace(round_id="r000002", key=key, next_commitment="next")
        of_home.committed = commitment(told)
        auditor = cast("RoundAuditor", SimpleNamespace(_round=round_, _of=of_home))
        record = {"key": key, "next_commitment": "next"}
        assert [each.column for each in RoundAuditor._key(auditor, record)] == found
