"""The warehouse's tables: their columns, what is unique in them, and which of them hold a round's rows.

The SQL is what DuckDB reads; PostgreSQL's is made from it (see ``postgres``). Belongs here: what both databases have in common
before any connection is open. Does not belong here: reading and writing (see ``base``).
"""

import re

# Instants are TIMESTAMP in UTC: DuckDB's TIMESTAMPTZ arithmetic needs an extension that it downloads.
SCHEMA = """
CREATE TABLE IF NOT EXISTS home (
    uuid VARCHAR PRIMARY KEY, schema_version INTEGER, program VARCHAR, begun_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS attempts (
    run_id VARCHAR PRIMARY KEY, subject VARCHAR, attempt BIGINT, holder VARCHAR, state VARCHAR, begun_at TIMESTAMP,
    renewed_at TIMESTAMP, expires_at TIMESTAMP, ended_at TIMESTAMP, outcome VARCHAR, transient BOOLEAN, reason VARCHAR);
CREATE TABLE IF NOT EXISTS ingested_files (
    digest VARCHAR PRIMARY KEY, uri VARCHAR, bytes BIGINT, accepted BIGINT, duplicates BIGINT, rejected BIGINT,
    ingested_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS ingestions (
    number BIGINT PRIMARY KEY, record VARCHAR, previous_hash VARCHAR, hash VARCHAR);
CREATE TABLE IF NOT EXISTS feedback_segments (
    first_seq BIGINT PRIMARY KEY, last_seq BIGINT UNIQUE, uri VARCHAR, digest VARCHAR);
CREATE TABLE IF NOT EXISTS event_index (
    event_id VARCHAR PRIMARY KEY, seq BIGINT, kind VARCHAR, contributor_id VARCHAR, ingested_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS pseudonym_key (fingerprint VARCHAR PRIMARY KEY, since TIMESTAMP);
CREATE TABLE IF NOT EXISTS aliases (
    name VARCHAR PRIMARY KEY, person VARCHAR, said_by VARCHAR, since TIMESTAMP);
CREATE TABLE IF NOT EXISTS pseudonyms (slot VARCHAR PRIMARY KEY, pseudonym VARCHAR);
CREATE TABLE IF NOT EXISTS erased_identifiers (contributor_id VARCHAR PRIMARY KEY, reason VARCHAR, erased_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS erasures (
    erasure_id VARCHAR PRIMARY KEY, contributor_id VARCHAR, reason VARCHAR, status VARCHAR, begun_at TIMESTAMP,
    done_at TIMESTAMP, events BIGINT, rejections BIGINT, trained_on VARCHAR[], descended VARCHAR[]);
CREATE TABLE IF NOT EXISTS erased_files (
    erasure_id VARCHAR, uri VARCHAR, places BIGINT, digest_before VARCHAR, digest_after VARCHAR,
    PRIMARY KEY (erasure_id, uri));
CREATE TABLE IF NOT EXISTS withdrawn_comparisons (comparison_id VARCHAR PRIMARY KEY, erasure_id VARCHAR);
CREATE TABLE IF NOT EXISTS rejected_feedback (
    rejection_id VARCHAR PRIMARY KEY, round_no INTEGER, stage VARCHAR, source VARCHAR, line BIGINT, kind VARCHAR,
    contributor_id VARCHAR, event_id VARCHAR, reason VARCHAR, excerpt VARCHAR);
CREATE TABLE IF NOT EXISTS releases (
    rejection_id VARCHAR PRIMARY KEY, event_id VARCHAR, round_no INTEGER, seq BIGINT, rejected_for VARCHAR,
    released_by VARCHAR, released_why VARCHAR, released_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS rounds (
    round_no INTEGER PRIMARY KEY, round_id VARCHAR UNIQUE, from_seq BIGINT, to_seq BIGINT UNIQUE, status VARCHAR,
    attempt INTEGER, reason VARCHAR, seed BIGINT, settings VARCHAR, claimed_at TIMESTAMP, settled_at TIMESTAMP,
    base_model VARCHAR, next_model VARCHAR);
CREATE TABLE IF NOT EXISTS quality_verdicts (
    round_no INTEGER PRIMARY KEY, passed BOOLEAN, reason VARCHAR, accepted BIGINT, rejected BIGINT);
CREATE TABLE IF NOT EXISTS quality_findings (
    round_no INTEGER, suite VARCHAR, expectation VARCHAR, severity VARCHAR, rows BIGINT, failing BIGINT,
    figure DOUBLE, low DOUBLE, high DOUBLE, PRIMARY KEY (round_no, suite, expectation));
CREATE TABLE IF NOT EXISTS quality_contributors (
    round_no INTEGER, contributor_id VARCHAR, detector VARCHAR, value DOUBLE, n BIGINT, p_value DOUBLE, flagged BOOLEAN,
    detail VARCHAR);
CREATE TABLE IF NOT EXISTS flagged_texts (
    round_no INTEGER, contributor_id VARCHAR, detector VARCHAR, event_id VARCHAR, why VARCHAR,
    PRIMARY KEY (round_no, detector, event_id));
CREATE TABLE IF NOT EXISTS rings (
    round_no INTEGER, contributor_id VARCHAR, ring BIGINT, PRIMARY KEY (round_no, contributor_id));
CREATE TABLE IF NOT EXISTS labeler_weights (
    round_no INTEGER, labeler_id VARCHAR, weight DOUBLE, slots_seen BIGINT, cumulative_loss DOUBLE, slots BIGINT,
    reports BIGINT);
CREATE TABLE IF NOT EXISTS labeler_states (
    round_no INTEGER, labeler_id VARCHAR, figure VARCHAR, value DOUBLE);
CREATE TABLE IF NOT EXISTS judgement_pay (
    round_no INTEGER, labeler_id VARCHAR, basis VARCHAR, scored BIGINT, score DOUBLE, rate DOUBLE, balance DOUBLE,
    paid DECIMAL(18,6), PRIMARY KEY (round_no, labeler_id));
CREATE TABLE IF NOT EXISTS labeler_standings (
    round_no INTEGER, labeler_id VARCHAR, outcomes BIGINT, correct DOUBLE, checks BIGINT, checks_correct DOUBLE, repeats BIGINT,
    repeats_same BIGINT, log_ratio DOUBLE, counted_checks BIGINT, counted_correct DOUBLE, state VARCHAR, since_round INTEGER,
    reason VARCHAR);
CREATE TABLE IF NOT EXISTS labeler_decisions (
    decision_id VARCHAR PRIMARY KEY, round_no INTEGER, labeler_id VARCHAR, decision VARCHAR, reason VARCHAR, decided_by VARCHAR,
    decided_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS agreement_figures (
    round_no INTEGER, figure VARCHAR, value DOUBLE, PRIMARY KEY (round_no, figure));
CREATE TABLE IF NOT EXISTS contributor_groups (
    round_no INTEGER, contributor_id VARCHAR, group_index INTEGER, demonstrations BIGINT,
    PRIMARY KEY (round_no, contributor_id));
CREATE TABLE IF NOT EXISTS candidate_members (
    round_no INTEGER, group_index INTEGER, contributor_id VARCHAR, demonstrations BIGINT);
CREATE TABLE IF NOT EXISTS candidates (
    round_no INTEGER, group_index INTEGER, model VARCHAR, contributors BIGINT, demonstrations BIGINT,
    PRIMARY KEY (round_no, group_index));
CREATE TABLE IF NOT EXISTS contributor_values (
    round_no INTEGER, contributor_id VARCHAR, seed_index INTEGER, group_index INTEGER, loss_reduction DOUBLE,
    PRIMARY KEY (round_no, contributor_id, seed_index));
CREATE TABLE IF NOT EXISTS selections (
    round_no INTEGER, model VARCHAR, role VARCHAR, group_index INTEGER, distance DOUBLE, standard_error DOUBLE,
    rank INTEGER, selected BOOLEAN, fresh_distance DOUBLE, fresh_standard_error DOUBLE,
    PRIMARY KEY (round_no, role, group_index));
CREATE TABLE IF NOT EXISTS guard_verdicts (
    round_no INTEGER, group_index INTEGER, outside DOUBLE, distinct_pairs DOUBLE, overlap DOUBLE, copied DOUBLE, texts BIGINT,
    refused VARCHAR, PRIMARY KEY (round_no, group_index));
CREATE TABLE IF NOT EXISTS alignments (
    round_no INTEGER PRIMARY KEY, model VARCHAR, kept BOOLEAN, reason VARCHAR, pairs BIGINT, held_out BIGINT,
    accuracy_before DOUBLE, accuracy_after DOUBLE, distance_before DOUBLE, distance_after DOUBLE,
    fresh_distance DOUBLE, fresh_standard_error DOUBLE);
CREATE TABLE IF NOT EXISTS pair_values (
    round_no INTEGER, comparison_id VARCHAR, value DOUBLE, PRIMARY KEY (round_no, comparison_id));
CREATE TABLE IF NOT EXISTS judgement_values (
    round_no INTEGER, labeler_id VARCHAR, judgements BIGINT, value DOUBLE, PRIMARY KEY (round_no, labeler_id));
CREATE TABLE IF NOT EXISTS contributions (
    round_no INTEGER, contributor_id VARCHAR, shapley_value DOUBLE, standard_error DOUBLE, method VARCHAR,
    PRIMARY KEY (round_no, contributor_id));
CREATE TABLE IF NOT EXISTS contributor_estimates (
    round_no INTEGER, contributor_id VARCHAR, scheme VARCHAR, estimate DOUBLE, standard_error DOUBLE,
    provisional_points DOUBLE);
CREATE TABLE IF NOT EXISTS contributor_points (
    round_no INTEGER, earned_in_round INTEGER, contributor_id VARCHAR, equal_share DOUBLE, deviation DOUBLE, cap DOUBLE,
    cover DOUBLE, copies DOUBLE, epoch_rule DOUBLE, forfeits DOUBLE, harm DOUBLE, points DOUBLE);
CREATE TABLE IF NOT EXISTS epochs (
    round_no INTEGER PRIMARY KEY, first_round_no INTEGER, closes BOOLEAN, reliability DOUBLE, observed_variance DOUBLE,
    noise_variance DOUBLE);
CREATE TABLE IF NOT EXISTS awards (
    round_no INTEGER, lot_id VARCHAR, event_id VARCHAR, contributor_id VARCHAR, quality DOUBLE,
    value DECIMAL(18,6), asked_price DECIMAL(18,6), payment DECIMAL(18,6), awarded BOOLEAN, lot_cleared BOOLEAN,
    PRIMARY KEY (round_no, event_id));
CREATE TABLE IF NOT EXISTS comparison_tasks (
    round_no INTEGER, comparison_id VARCHAR PRIMARY KEY, lot_id VARCHAR, event_id_a VARCHAR, event_id_b VARCHAR);
CREATE TABLE IF NOT EXISTS assignments (
    round_no INTEGER, assignment_id VARCHAR PRIMARY KEY, labeler_id VARCHAR, seat INTEGER, place INTEGER,
    comparison_id VARCHAR, purpose VARCHAR, outcome DOUBLE);
CREATE TABLE IF NOT EXISTS ledger (
    entry_id VARCHAR PRIMARY KEY, round_no INTEGER, round_id VARCHAR, account VARCHAR, unit VARCHAR,
    amount DECIMAL(18,6), reason VARCHAR, reference VARCHAR);
CREATE TABLE IF NOT EXISTS round_keys (round_no INTEGER PRIMARY KEY, key VARCHAR, next_commitment VARCHAR);
CREATE TABLE IF NOT EXISTS published_lots (
    round_no INTEGER, lot_id VARCHAR PRIMARY KEY, prompt VARCHAR);
CREATE TABLE IF NOT EXISTS corrections (
    entry_id VARCHAR PRIMARY KEY, amount DECIMAL(18,6), reason VARCHAR, corrected_by VARCHAR, corrected_at TIMESTAMP,
    round_no INTEGER);
CREATE TABLE IF NOT EXISTS removed_models (model VARCHAR PRIMARY KEY, round_no INTEGER, removed_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS round_records (
    round_no INTEGER PRIMARY KEY, record VARCHAR, previous_hash VARCHAR, hash VARCHAR);
"""

KEYS = {
    "quality_contributors": "contributor_id, detector",
    "labeler_weights": "labeler_id",
    "labeler_states": "labeler_id, figure",
    "labeler_standings": "labeler_id",
    "contributor_estimates": "contributor_id",
    "contributor_points": "earned_in_round, contributor_id",
    "candidate_members": "group_index, contributor_id",
}
"""What is unique in a round, in the tables that have most rows: checked as they are written, as an index of all rounds would take
three times the room of the rows."""

COLUMNS = {
    table: tuple(re.findall(r"(?:^|, |\n {4})([a-z_]+) [A-Z]", f"\n    {columns.strip()}"))
    for table, columns in re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\);", SCHEMA, re.DOTALL)
}
"""The columns of each table."""

STATEMENTS = dict(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\);", SCHEMA, re.DOTALL))
"""What stands between the brackets of each table's statement, by the table's name."""
TABLES = tuple(STATEMENTS)
NAMES_EVERY_TABLE = f"SELECT 1 WHERE false AND ({' OR '.join(f'EXISTS (FROM {name})' for name in TABLES)})"

ROUND_TABLES = (
    "quality_verdicts",
    "quality_findings",
    "quality_contributors",
    "rings",
    "labeler_weights",
    "labeler_states",
    "labeler_standings",
    "labeler_decisions",
    "agreement_figures",
    "judgement_pay",
    "contributor_groups",
    "candidate_members",
    "candidates",
    "contributor_values",
    "selections",
    "guard_verdicts",
    "alignments",
    "pair_values",
    "judgement_values",
    "contributions",
    "contributor_estimates",
    "contributor_points",
    "epochs",
    "corrections",
    "awards",
    "comparison_tasks",
    "assignments",
)

AFTER_SETTLEMENT = ("comparison_tasks", "assignments")
"""Tables of a round that are written once it is settled; what is in them follows from what was settled."""


def checked(table: str) -> str:
    """``table`` if a round's rows live there: identifiers cannot be bound, so only known names reach the SQL."""
    if table not in ROUND_TABLES and table != "ledger":
        raise ValueError(f"{table!r} is no table of a round; expected one of {', '.join(ROUND_TABLES)}, ledger.")
    return table
