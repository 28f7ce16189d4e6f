"""What every table and column of the warehouse says, in words: one definition for the snapshot's comments, Dagster's catalogue and the
data dictionary of the documentation.

Belongs here: meanings and units. Does not belong here: types and keys (see ``schema``).
"""

import re
from dataclasses import dataclass
from functools import cache

from resources.warehouse.connection import Connection
from resources.warehouse.schema import STATEMENTS

EVERYWHERE = {
    "round_no": "Number of the round, from 1.",
    "round_id": "Name of the round: r and its number in six digits.",
    "contributor_id": "Contributor, by name or pseudonym.",
    "labeler_id": "Labeler, by name or pseudonym.",
    "event_id": "Event of feedback.",
    "seq": "Place of the event in the order of arrival, from 1.",
    "kind": "demonstration, preference, outcome or bid.",
    "comparison_id": "Comparison of two answers.",
    "lot_id": "Lot: a prompt for which answers are bought.",
    "group_index": "Group of the round, from 0.",
    "model": "Stored model, by the hash of what it is.",
    "uri": "Where the file lies.",
    "record": "The record as JSON, in the form that is hashed.",
    "previous_hash": "Hash of the record before; empty for the first.",
    "hash": "SHA-256 of the hash before and the record.",
    "standard_error": "Standard error of the figure before.",
    "erasure_id": "Erasure.",
    "figure": "Name of the figure.",
    "value": "Value of the figure.",
}
"""Columns that say the same in every table that has them, where the table says nothing of its own."""


@dataclass(frozen=True)
class Column:
    """A column: ``name``, ``type`` in DuckDB's words, ``words``."""

    name: str
    type: str
    words: str


@dataclass(frozen=True)
class Table:
    """A table: ``name``, ``words``, and its columns in order."""

    name: str
    words: str
    columns: tuple[Column, ...]


WORDS: dict[str, tuple[str, dict[str, str]]] = {
    "home": (
        "The home: one row.",
        {
            "uuid": "Identity of the home, also in home.json, run tags and partition sets.",
            "schema_version": "Version of the tables.",
            "program": "Version of the program that began the home.",
            "begun_at": "When the home was begun.",
        },
    ),
    "attempts": (
        "A row a run that tried an ingestion or a round, with its lease.",
        {
            "run_id": "Dagster's run.",
            "subject": "What the run tried: a round's name, or the ingestion.",
            "attempt": "How many attempts at the subject there were with this one.",
            "holder": "Machine and process that hold the lease.",
            "state": "State of the inbox that was to be ingested; empty for a round.",
            "begun_at": "When the attempt began.",
            "renewed_at": "When the lease was renewed last.",
            "expires_at": "When the lease ends if nobody renews the lease.",
            "ended_at": "When the attempt ended.",
            "outcome": "How the attempt ended.",
            "transient": "Whether the cause passes without help, so that the attempt does not count.",
            "reason": "Why the attempt failed.",
        },
    ),
    "ingested_files": (
        "A row a file that was taken from the inbox.",
        {
            "digest": "SHA-256 of the file: the same content is taken once.",
            "bytes": "Size of the file.",
            "accepted": "Lines that became events.",
            "duplicates": "Lines whose event was there already.",
            "rejected": "Lines that are no event.",
            "ingested_at": "When the file was taken.",
        },
    ),
    "ingestions": (
        "The chain of what was taken in: a record a file and a record an alias.",
        {"number": "Place in the chain, from 1."},
    ),
    "feedback_segments": (
        "A row a Parquet file of accepted events.",
        {
            "first_seq": "First event of the segment.",
            "last_seq": "Last event of the segment.",
            "digest": "SHA-256 of the segment.",
        },
    ),
    "event_index": (
        "A row an accepted event; the texts are in the segments.",
        {"ingested_at": "When the event was taken in."},
    ),
    "pseudonym_key": (
        "The key that names were replaced by: at most one row.",
        {
            "fingerprint": "Fingerprint of CROWD_PSEUDONYM_KEY; the key is nowhere.",
            "since": "When the key was first used.",
        },
    ),
    "aliases": (
        "A row a name that is another name of a person.",
        {
            "name": "The other name.",
            "person": "Name under which the person is paid.",
            "said_by": "Who named the alias.",
            "since": "From when on what arrives under the name is the person's.",
        },
    ),
    "pseudonyms": (
        "A row a contributor of a home with a key.",
        {"slot": "Keyed hash of the name.", "pseudonym": "Pseudonym, drawn at random."},
    ),
    "erased_identifiers": (
        "A row a contributor whose link between name and pseudonym was destroyed.",
        {"reason": "Who asked for the erasure, and why.", "erased_at": "When the link was destroyed."},
    ),
    "erasures": (
        "A row an erasure of a contributor's texts.",
        {
            "reason": "Who asked for the erasure, and why.",
            "status": "begun or done.",
            "begun_at": "When the erasure began.",
            "done_at": "When the erasure ended.",
            "events": "Events whose texts were erased.",
            "rejections": "Rejected rows whose excerpts were erased.",
            "trained_on": "Stored models that were trained on the texts.",
            "descended": "Stored models that descend from those.",
        },
    ),
    "erased_files": (
        "A row a file that an erasure rewrote.",
        {
            "places": "Texts erased in the file.",
            "digest_before": "SHA-256 before.",
            "digest_after": "SHA-256 after.",
        },
    ),
    "withdrawn_comparisons": ("A row a comparison that is asked no more, as one of the two answers was erased.", {}),
    "rejected_feedback": (
        "The quarantine: a row a line or event that was rejected.",
        {
            "rejection_id": "Rejection; `crowd-rounds release` takes this id.",
            "round_no": "Round whose gate rejected the event; null for a line that ingestion rejected.",
            "stage": "ingestion or gate.",
            "source": "File of the line.",
            "line": "Line of the file, from 1; 0 for the file as a whole.",
            "reason": "Why the row was rejected.",
            "excerpt": "First characters of the text or line.",
        },
    ),
    "releases": (
        "A row a rejected event that a person released into a later round.",
        {
            "rejection_id": "Rejection that was lifted.",
            "round_no": "Round that rejected the event.",
            "seq": "New place of the event.",
            "rejected_for": "Rules that the event need not meet again.",
            "released_by": "Who released the event.",
            "released_why": "Why.",
            "released_at": "When.",
        },
    ),
    "rounds": (
        "A row a round, from its claim on.",
        {
            "from_seq": "First event of the round.",
            "to_seq": "Last event of the round.",
            "status": "claimed, settled, completed or skipped.",
            "attempt": "How many attempts at the round were made.",
            "reason": "Why the round was skipped.",
            "seed": "Seed of the draws that nobody profits from guessing.",
            "settings": "Settings of the round as JSON.",
            "claimed_at": "When the round was claimed.",
            "settled_at": "When the round was settled.",
            "base_model": "Model that the round began with; null for the root.",
            "next_model": "Model that the next round begins with.",
        },
    ),
    "quality_verdicts": (
        "A row a round: the gate's verdict.",
        {
            "passed": "Whether the round may go on.",
            "reason": "Why not.",
            "accepted": "Valid events.",
            "rejected": "Events in quarantine.",
        },
    ),
    "quality_findings": (
        "A row an expectation of a round.",
        {
            "suite": "Kind of feedback, or round for figures of the round.",
            "expectation": "Name of the expectation.",
            "severity": "critical (events go into quarantine) or warning.",
            "rows": "Events that were looked at; 1 for a figure of the round.",
            "failing": "How many did not meet the expectation.",
            "figure": "Figure of the round.",
            "low": "Least value that was expected.",
            "high": "Greatest value that was expected.",
        },
    ),
    "quality_contributors": (
        "A row a contributor and detector that has a figure of the contributor.",
        {
            "detector": "Name of the detector.",
            "value": "The detector's figure, in the detector's unit.",
            "n": "Rows that the figure rests on.",
            "p_value": "Probability of such a figure by chance; null where nothing was tested.",
            "flagged": "Whether the detector flags the contributor, at one false flag in a hundred.",
            "detail": "Why, in words without texts.",
        },
    ),
    "flagged_texts": (
        "A row a text for which a detector flags its writer. Rounds before the table have none.",
        {
            "detector": "Name of the detector.",
            "why": "What was found, and which text it is like, in words without texts.",
        },
    ),
    "rings": ("Contributors who act as one.", {"ring": "Number of the ring in the round."}),
    "labeler_weights": (
        "A row a labeler and round: what the aggregate of reports learned.",
        {
            "weight": "Weight after the round; all weights sum to 1.",
            "slots_seen": "Slots that the labeler reported in, over all rounds.",
            "cumulative_loss": "Sum of squared errors of the labeler's reports, over all rounds.",
            "slots": "Slots with an outcome in the round.",
            "reports": "Reports of the labeler in the round.",
        },
    ),
    "labeler_states": ("Further figures that an aggregate carries from round to round.", {}),
    "judgement_pay": (
        "A row a labeler and round: pay for judgements.",
        {
            "basis": "outcomes (a proper score) or agreement (peer prediction).",
            "scored": "Judgements that were scored.",
            "score": "Sum of scores.",
            "rate": "Credits a point of score.",
            "balance": "Points that later scores must make up for before anything is paid; at most 0.",
            "paid": "Credits paid.",
        },
    ),
    "labeler_standings": (
        "A row a labeler and round: what is known of the labeler's care.",
        {
            "outcomes": "Judgements of pairs with an outcome, over all rounds.",
            "correct": "How many of those were right; a tie counts half.",
            "checks": "Hidden checks answered.",
            "checks_correct": "How many of those were right.",
            "repeats": "Pairs judged a second time.",
            "repeats_same": "How many of those were judged the same.",
            "log_ratio": "Evidence for carelessness against care, log of the ratio of likelihoods.",
            "counted_checks": "Checks since the last decision.",
            "counted_correct": "How many of those were right.",
            "state": "active, paused or on appeal.",
            "since_round": "Round since which the state holds.",
            "reason": "Why.",
        },
    ),
    "labeler_decisions": (
        "A row a decision of a person on a labeler.",
        {
            "decision_id": "Decision.",
            "round_no": "Round from which on the decision holds.",
            "decision": "paused, unpaused or appealed.",
            "reason": "Why.",
            "decided_by": "Who decided.",
            "decided_at": "When.",
        },
    ),
    "agreement_figures": ("A row a figure of agreement and throughput of a round.", {}),
    "contributor_groups": (
        "Who was in which group of the round.",
        {"demonstrations": "Valid demonstrations of the contributor."},
    ),
    "candidate_members": (
        "Whose demonstrations trained which candidate, where a candidate learns from more than its group.",
        {"demonstrations": "Demonstrations that the candidate was trained on."},
    ),
    "candidates": (
        "A row a candidate model.",
        {
            "contributors": "Contributors whose demonstrations trained the candidate.",
            "demonstrations": "Demonstrations that the candidate was trained on.",
        },
    ),
    "contributor_values": (
        "In-run values: what a contributor's demonstrations did to the held-out loss while a candidate trained.",
        {
            "seed_index": "Order of training, from 0.",
            "loss_reduction": "Fall of the held-out loss that is the contributor's, nats a token.",
        },
    ),
    "selections": (
        "Distances to the target: of the base and of each candidate.",
        {
            "role": "base or candidate.",
            "distance": "Distance of generations to the target, in Φ, on the prompts of selection.",
            "rank": "Place by distance, from 1.",
            "selected": "Whether this is the round's winner.",
            "fresh_distance": "Distance on fresh generations, which gains are paid by.",
            "fresh_standard_error": "Standard error of the fresh distance.",
        },
    ),
    "guard_verdicts": (
        "How each candidate writes, against the base.",
        {
            "group_index": "Group of the candidate; -1 for the base.",
            "outside": "Share of texts outside the range of reference texts.",
            "distinct_pairs": "Distinct pairs of words over pairs of words.",
            "overlap": "Mean share of a text's pairs of words that another of the texts has, too.",
            "copied": "Share of texts copied from training texts.",
            "texts": "Texts that were looked at.",
            "refused": "Why the candidate may not win; empty where it may.",
        },
    ),
    "alignments": (
        "A row a round: what QA-DPO made of the winner.",
        {
            "model": "The aligned model.",
            "kept": "Whether the aligned model took the winner's place.",
            "reason": "Why not.",
            "pairs": "Pairs trained on.",
            "held_out": "Pairs held out.",
            "accuracy_before": "Share of held-out pairs whose better answer was likelier before.",
            "accuracy_after": "The same after.",
            "distance_before": "Distance of the winner to the target.",
            "distance_after": "Distance of the aligned model.",
            "fresh_distance": "Distance of what was kept, on fresh generations.",
            "fresh_standard_error": "Standard error of the fresh distance.",
        },
    ),
    "pair_values": (
        "A row a pair that the aligned model was trained on (CROWD_JUDGEMENT_VALUES).",
        {"value": "Nats by which the pair lowered the mean loss of the pairs held out; negative: raised it."},
    ),
    "judgement_values": (
        "What judgements added to the aligned model, by labeler. Reported, and not paid.",
        {
            "judgements": "Judgements of the labeler on pairs that the aligned model was trained on.",
            "value": "Nats by which these judgements lowered the mean loss of the pairs held out.",
        },
    ),
    "contributions": (
        "Shapley values of the round.",
        {
            "shapley_value": "Estimated Shapley value of the contributor in the round's gain, in distance.",
            "method": "Estimator.",
        },
    ),
    "contributor_estimates": (
        "What each contributor's demonstrations are worth, by all rounds so far.",
        {
            "scheme": "Points scheme.",
            "estimate": "Estimated effect of the contributor on a candidate's distance; positive is nearer.",
            "standard_error": "Standard error of the estimate.",
            "provisional_points": "Points of the open epoch so far, not posted yet.",
        },
    ),
    "contributor_points": (
        "The terms of which points are the sum, by the round in which they were earned.",
        {
            "round_no": "Round that computed the terms.",
            "earned_in_round": "Round that the points are for.",
            "equal_share": "Share of the gain by work done.",
            "deviation": "More or less than the equal share, by the contributor's estimate.",
            "cap": "Less for demonstrations beyond CROWD_PAID_DEMONSTRATIONS in a round.",
            "cover": "Less where the gain of the epoch does not cover all payouts.",
            "copies": "Withheld for near duplicates.",
            "epoch_rule": "Withheld from a name that has taken part in too few rounds.",
            "forfeits": "Withheld from who was found cheating.",
            "harm": "Points by which the contributor held the crowd back where points do not fall below zero; a deposit answers for these points.",
            "points": "Sum of the terms.",
        },
    ),
    "epochs": (
        "A row a round: the epoch that the round is in.",
        {
            "first_round_no": "First round of the epoch.",
            "closes": "Whether the round is the epoch's last, so that points are posted.",
            "reliability": "Share of the observed variance of estimates that is no noise.",
            "observed_variance": "Variance of the estimates.",
            "noise_variance": "Mean squared standard error.",
        },
    ),
    "awards": (
        "A row a bid: what the auction made of the bid.",
        {
            "event_id": "The bid.",
            "contributor_id": "The seller.",
            "quality": "Verified quality of the answer, in [0, 1].",
            "value": "Value of the answer, in credits.",
            "asked_price": "Price that the seller asked, in credits.",
            "payment": "Credits paid; 0 without an award.",
            "awarded": "Whether the answer was bought.",
            "lot_cleared": "Whether anything of the lot was bought.",
        },
    ),
    "comparison_tasks": (
        "Comparisons that the round published.",
        {"event_id_a": "Bid whose answer is A.", "event_id_b": "Bid whose answer is B."},
    ),
    "assignments": (
        "Who is asked which comparison.",
        {
            "assignment_id": "Assignment, as it is published.",
            "labeler_id": "Labeler; null for a newcomer's seat.",
            "seat": "Newcomer's seat, from 1; null where a labeler is named.",
            "place": "Place in the labeler's list, from 0.",
            "purpose": "ask, check (its outcome is known) or repeat (the labeler judged it before).",
            "outcome": "Known answer of a check, 1 for A; null where nothing is known.",
        },
    ),
    "ledger": (
        "The double-entry ledger: entries of one posting sum to 0 in each unit.",
        {
            "entry_id": "Entry.",
            "account": "treasury, or the account of a contributor.",
            "unit": "point or credit.",
            "amount": "Amount, exact to six decimals; positive is received.",
            "reason": "What the entry is for.",
            "reference": "What the amount follows from.",
        },
    ),
    "round_keys": (
        "Keys of draws that an interested party must not predict, revealed at settlement.",
        {"key": "The round's key.", "next_commitment": "SHA-256 of the next round's key."},
    ),
    "published_lots": (
        "Lots that answers may be bid for.",
        {"round_no": "Round in which bids for the lot count.", "prompt": "Prompt that is to be answered."},
    ),
    "corrections": (
        "A row a correction of the ledger by a person.",
        {
            "entry_id": "Entry that was corrected.",
            "amount": "What the entry should have been.",
            "reason": "Why.",
            "corrected_by": "Who corrected the entry.",
            "corrected_at": "When.",
            "round_no": "Round whose settlement posts the correction.",
        },
    ),
    "removed_models": (
        "Stored models whose weights `compact` removed.",
        {"round_no": "Round of the model.", "removed_at": "When."},
    ),
    "round_records": ("The chain of settled rounds: what the audit holds the tables against.", {}),
}


@cache
def tables() -> tuple[Table, ...]:
    """Every table of the warehouse with its columns, in the order of the schema.

    Raises:
        KeyError: a table or column without words.
    """
    return tuple(
        Table(name, WORDS[name][0], tuple(Column(column, kind, words_of(name, column)) for column, kind in columns))
        for name, columns in _columns().items()
    )


def table(name: str) -> Table:
    """One table.

    Raises:
        KeyError: there is no such table.
    """
    return {each.name: each for each in tables()}[name]


def words_of(name: str, column: str) -> str:
    """What a column says."""
    return WORDS[name][1].get(column) or EVERYWHERE[column]


def comment(connection: Connection) -> None:
    """Write the words beside the tables and columns of a DuckDB file; tables that the file lacks are left out."""
    there = {str(name) for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    for each in tables():
        if each.name in there:
            connection.execute(f"COMMENT ON TABLE {each.name} IS {_quoted(each.words)}")
            for column in each.columns:
                connection.execute(f"COMMENT ON COLUMN {each.name}.{column.name} IS {_quoted(column.words)}")


def _columns() -> dict[str, list[tuple[str, str]]]:
    """Names and types of columns by table, as the schema has them."""
    found = {}
    for name, body in STATEMENTS.items():
        parts = re.split(r",(?![^(]*\))", body)
        columns = [part.split()[:2] for part in parts if not part.strip().startswith("PRIMARY KEY")]
        found[name] = [(column, kind) for column, kind in columns]
    return found


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
