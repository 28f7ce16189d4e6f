"""Comparison tasks as a CSV table to fill in, with the mapping file that reads it back.

Belongs here: both. Does not belong here: reading them (see ``crowd_assets.importers.table``).
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

ASKED = ("comparison_id", "prompt", "response_a", "response_b")
ANSWERED = ("contributor_id", "preferred", "submitted_at")
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n", " ", "'")
"""What a spreadsheet would take for a formula at the beginning of a cell, or leave out before one, and what it hides."""

MAPPING = """# Reads the table back: crowd-rounds import csv TABLE --mapping THIS_FILE --out INBOX
kind = "preference"
delimiter = ","
apostrophe = true

[columns]
comparison_id = "comparison_id"
prompt = "prompt"
response_a = "response_a"
response_b = "response_b"
contributor_id = "contributor_id"
probability_a = "preferred"
submitted_at = "submitted_at"

[values.probability_a]
A = 1
B = 0
equal = 0.5
"""


SPOKEN, SHARE = "messages", "judgement_share"


def mapping(comparisons: Iterable[Mapping[str, Any]]) -> str:
    """The mapping file that reads the table of some comparisons back."""
    comparisons = list(comparisons)
    there = [name for name in (SPOKEN, SHARE) if any(each.get(name) for each in comparisons)]
    columns = "".join(f'{name} = "{name}"\n' for name in there)
    return MAPPING.replace('prompt = "prompt"\n', f'prompt = "prompt"\n{columns}')


def table(comparisons: Iterable[Mapping[str, Any]]) -> str:
    """A row a comparison, with empty columns for who judged, what is preferred (A, B, equal, or how sure of A, like 80%) and when; with what
    was said before, as JSON, where one of them ends a conversation, and with the part of a judgement that it is, where it is one."""
    comparisons = list(comparisons)
    beside = [name for name in (SPOKEN, SHARE) if any(each.get(name) for each in comparisons)]
    text = io.StringIO(newline="")
    # All in quotes: a spreadsheet that splits at semicolons would find the beginning of a cell inside of one.
    writer = csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow([*ASKED, *beside, *ANSWERED])
    for comparison in comparisons:
        said = [json.dumps(comparison[name], ensure_ascii=False) if comparison.get(name) else "" for name in beside]
        writer.writerow([*(_harmless(comparison[name]) for name in ASKED), *said, *[""] * len(ANSWERED)])
    return text.getvalue()


def _harmless(text: str) -> str:
    """Text that a spreadsheet shows and does not run: people sell answers, and one could begin with ``=``."""
    return f"'{text}" if text.startswith(FORMULA) else text
