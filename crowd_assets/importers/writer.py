"""Events into feedback files that a watching reader never sees half written.

Belongs here: naming, splitting, renaming and the report of an import. Does not belong here: what an event is (see
``records``) and whether it is accepted (``resources.feedback.events``).
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from crowd_assets.importers.records import Note, Record, Skipped, SourceError, identified
from resources.feedback.pseudonyms import Pseudonyms

LINES_PER_FILE = 100_000
FILTERED = "left out by where"

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        events: number of events by kind.
        contributors: number of distinct contributor ids.
        repeated: events that said what an earlier one of the source said.
        files: feedback files, in the order of their events.
        skipped: number of skipped rows by reason.
        first: the first row that was skipped for each reason.
        skipped_file: where the skipped rows are listed; None where there are none.
        notes: remarks on the source as a whole.
    """

    events: Counter[str] = field(default_factory=Counter)
    contributors: int = 0
    repeated: int = 0
    files: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    first: dict[str, Skipped] = field(default_factory=dict)
    skipped_file: Path | None = None
    notes: list[str] = field(default_factory=list)

    def too_many(self, most: float) -> str | None:
        """The reason that cost more than the share ``most`` of the rows, in words; None where none did. What the user's own filter
        left out is no loss."""
        rows = self.events.total() + self.repeated + self.skipped.total()
        for reason, number in self.skipped.most_common():
            if not reason.startswith(FILTERED) and number > most * rows:
                return f"{number:,} of {rows:,} rows were skipped as: {reason}"
        return None

    def lines(self) -> list[str]:
        """The report as a person reads it; the last line is the sum."""
        lines = [*self.notes]
        for reason, number in self.skipped.most_common():
            first = self.first[reason]
            detail = f": {first.detail}" if first.detail else ""
            lines.append(f"skipped {number:,} × {reason} (the first in row {first.row}{detail})")
        if self.repeated:
            lines.append(f"left out {self.repeated:,} × says the same as an earlier row")
        kinds = ", ".join(f"{number:,} {kind}s" for kind, number in sorted(self.events.items())) or "no events"
        places = f"{len(self.files)} file{'s' * (len(self.files) != 1)}"
        if self.files:
            places += f" ({', '.join(map(str, self.files))})"
        rows = f"{self.skipped.total():,} rows skipped"
        if self.skipped_file is not None:
            rows += f" (listed in {self.skipped_file})"
        lines.append(f"wrote {kinds} of {self.contributors:,} contributors to {places}; {rows}")
        return lines


def write_feedback(
    records: Iterable[Record], out: Path, name: str, lines_per_file: int = LINES_PER_FILE
) -> ImportReport:
    """Write events as ``NAME.jsonl`` (``NAME-0001.jsonl``, … where there are more lines than go into one file).

    Every part is ``*.jsonl.tmp`` until all of them are complete, then they are renamed in order: an import that fails
    half-way leaves nothing behind, and an outcome is never there before its judgements. Skipped rows go to
    ``NAME.skipped.txt``, one JSON object a line: the inbox picks up neither ``.tmp`` nor ``.txt``.

    Args:
        records: events, skipped rows and notes, in any order.
        out: folder, made if it does not exist.
        name: beginning of the file names.
        lines_per_file: most events in one file.

    Raises:
        SourceError: a file of that name is there already, or the source turned out to be unusable.
    """
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise SourceError(f"--name {name!r}: use letters, digits, '-', '_' and '.' only")
    out.mkdir(parents=True, exist_ok=True)
    if taken := _taken(out, name):
        raise SourceError(f"{taken} exists already: choose another --name, or remove it if it was not taken in yet")
    report = ImportReport()
    contributors: set[str] = set()
    known: set[str] = set()
    pseudonyms = Pseudonyms.from_environment()
    parts: list[Path] = []
    skipped_part = out / f"{name}.skipped.txt.tmp"
    try:
        with ExitStack() as open_files:
            part: BinaryIO | None = None
            skipped: BinaryIO | None = None
            for record in records:
                if isinstance(record, dict):
                    event = identified(record, pseudonyms)
                    if event["event_id"] in known:
                        report.repeated += 1
                        continue
                    if part is None or len(known) % lines_per_file == 0:
                        if part is not None:
                            _close(part)
                        parts.append(out / f"{name}-{len(parts) + 1:04d}.jsonl.tmp")
                        part = open_files.enter_context(_open(parts[-1]))
                    known.add(event["event_id"])
                    part.write(_json_line(event))
                    report.events[event["kind"]] += 1
                    if "contributor_id" in event:
                        contributors.add(event["contributor_id"])
                elif isinstance(record, Note):
                    report.notes.append(record.text)
                else:
                    if skipped is None:
                        skipped = open_files.enter_context(_open(skipped_part))
                    entry = {"row": record.row, "reason": record.reason, "detail": record.detail}
                    skipped.write(_json_line(entry))
                    report.skipped[record.reason] += 1
                    report.first.setdefault(record.reason, record)
            for file in (part, skipped):
                if file is not None:
                    _close(file)
        report.contributors = len(contributors)
        if report.skipped:
            report.skipped_file = out / f"{name}.skipped.txt"
            os.replace(skipped_part, report.skipped_file)
        for part_path in parts:
            target = out / f"{name}.jsonl" if len(parts) == 1 else part_path.with_suffix("")
            os.replace(part_path, target)
            report.files.append(target)
    finally:
        for leftover in (*parts, skipped_part):
            leftover.unlink(missing_ok=True)
    return report


def _taken(out: Path, name: str) -> Path | None:
    several = re.compile(re.escape(name) + r"(-\d{4,})?\.jsonl")
    return next((path for path in sorted(out.glob("*.jsonl")) if several.fullmatch(path.name)), None)


def _open(path: Path) -> BinaryIO:
    return path.open("wb")


def _close(file: BinaryIO) -> None:
    """Onto the disk before the rename: a power cut must not leave a complete name on an empty file."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _json_line(record: dict[str, Any]) -> bytes:
    line = _ENCODER.encode(record) + "\n"
    try:
        return line.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot write
        return _LONE_SURROGATE.sub("\ufffd", line).encode()
