"""Errors that translators marked in two systems' translations of one segment, as WMT publishes them.

Layout (https://github.com/google/wmt-mqm-human-evaluation): tab-separated, a row an error: ``system, doc, docSegId or doc_id,
globalSegId or seg_id, rater, source, target, category, severity``. Side by side files (``sxs_mqm_…``) name a system by what it was shown
with, "A_with_B".

Belongs here: that layout, and what errors say of two translations. Does not belong here: the rankings of WMT 2010 to 2016, whose
files hold no translations.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from crowd_assets.importers.records import (
    Note,
    Record,
    RowError,
    Skipped,
    digest,
    from_scores,
    identifier_of,
    preference,
    sourced,
    text_of,
    ticks,
)
from crowd_assets.importers.text_tables import any_rows

MARKS = re.compile(r"</?v>")
PENALTIES = {"critical": 5.0, "major": 5.0, "minor": 1.0, "neutral": 0.0, "no-error": 0.0, "noerror": 0.0}
NON_TRANSLATION, MINOR_PUNCTUATION = 25.0, 0.1
SHOWN_WITH = "_with_"
PROMPT = "Translate: {source}"


def read(source: Path, *, start: datetime, name: str = "") -> Iterator[Record]:
    """Every two translations of a segment that a rater marked errors in, as a preference: one point of MQM a logit.

    Errors count as in Freitag et al., "Experts, Errors, and Context" (2021): a major one 5, a minor one 1, minor punctuation 0.1, a
    non-translation 25. Where files are side by side, two translations are compared where they were shown together. All that a rater
    says of a segment is one judgement. Rows of a rater and a segment stand together in the files, or are brought together here.

    Args:
        source: tab-separated text, packed or not.
        start: when the first segment was judged; one second a segment.
        name: of the source, which goes into raters' ids.
    """
    clock = ticks(start)
    judged: dict[tuple[str, str, str], dict[str, tuple[int, str, str, float]]] = {}
    for row in any_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        number, cells = row
        try:
            key, system, translated = _error(number, cells)
            before = judged.setdefault(key, {}).get(system)
            penalty = translated[3] + (0.0 if before is None else before[3])
            judged[key][system] = (*(translated if before is None else before)[:3], penalty)
        except RowError as error:
            yield error.at(number)
    compared = 0
    for (rater, _, _), systems in judged.items():
        at = next(clock)
        pairs = [each for each in combinations(sorted(systems), 2) if _shown_together(*each)]
        right = []
        for one, other in pairs:
            if systems[one][2] == systems[other][2]:
                yield Skipped(systems[one][0], "both translations are the same", f"{one}, {other}")
            else:
                right.append((one, other))
        if not pairs:
            yield Skipped(next(iter(systems.values()))[0], "only one translation of the segment by this rater")
        for one, other in right:
            (_, text, target_a, errors_a), (_, _, target_b, errors_b) = systems[one], systems[other]
            prompt = PROMPT.format(source=text)
            compared += 1
            yield preference(
                sourced(rater, name),
                digest(prompt, target_a, target_b),
                prompt,
                target_a,
                target_b,
                from_scores(errors_b, errors_a),
                at,
                model_a=one,
                model_b=other,
                judgement_share=1 / len(right) if len(right) > 1 else None,
            )
    yield Note(f"compared {compared:,} pairs of translations of {len(judged):,} segments by rater")


def _error(number: int, cells: dict[str, Any]) -> tuple[tuple[str, str, str], str, tuple[int, str, str, float]]:
    """Whose error it is, of which system, and where it stands, source, translation and its penalty."""
    segment = next((cells[each] for each in ("globalSegId", "seg_id", "docSegId") if cells.get(each) is not None), None)
    severity = str(cells.get("severity") or "").strip().lower()
    category = str(cells.get("category") or "").strip().lower()
    if severity not in PENALTIES:
        raise RowError("severity is none of MQM", cells.get("severity"))
    penalty = PENALTIES[severity]
    if category.startswith("non-translation"):
        penalty = NON_TRANSLATION
    elif severity == "minor" and category.startswith("fluency/punctuation"):
        penalty = MINOR_PUNCTUATION
    key = identifier_of(cells.get("rater"), "rater"), str(cells.get("doc")), identifier_of(segment, "globalSegId")
    text, translation = (MARKS.sub("", text_of(cells.get(each), each)) for each in ("source", "target"))
    return key, identifier_of(cells.get("system"), "system"), (number, text, translation, penalty)


def _shown_together(one: str, other: str) -> bool:
    """Whether two systems were shown side by side; in other files every two were."""
    if SHOWN_WITH not in one and SHOWN_WITH not in other:
        return True
    return SHOWN_WITH.join(reversed(one.split(SHOWN_WITH, 1))) == other
