"""Comparison tasks as an Argilla 2 dataset: settings and records.

Layouts: what ``Settings.from_json`` and ``dataset.records.from_json`` of the SDK read (tried with 2.8.0, see
``tests/exports``). Belongs here: those two. Does not belong here: talking to a server.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from crowd_assets.importers.argilla import COMPARISON_PROPERTY, SHARE_PROPERTY

FIELDS = ("prompt", "response_a", "response_b")
QUESTION = "preferred"
LABELS = {"response_a": "the first answer", "response_b": "the second answer", "equal": "neither"}


SPOKEN = {
    "name": "messages",
    "title": "what was said before",
    "required": False,
    "settings": {"type": "chat", "use_markdown": False},
}


SHARE = {
    "name": SHARE_PROPERTY,
    "title": SHARE_PROPERTY,
    "visible_for_annotators": False,
    "settings": {"type": "float", "min": 0, "max": 1},
}


def settings(judgements: int, comparisons: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The settings of a dataset whose records want so many judgements each; with a field for conversations where one of
    ``comparisons`` ends one."""
    comparisons = list(comparisons)
    spoken = [SPOKEN] if any(each.get("messages") for each in comparisons) else []
    shared = [SHARE] if any(each.get(SHARE_PROPERTY) for each in comparisons) else []
    return {
        "guidelines": "Which of the two answers is better?",
        "allow_extra_metadata": False,
        "fields": [
            *spoken,
            *(
                {"name": name, "title": name, "required": True, "settings": {"type": "text", "use_markdown": False}}
                for name in FIELDS
            ),
        ],
        "questions": [
            {
                "name": QUESTION,
                "title": "Which answer is better?",
                "required": True,
                "settings": {
                    "type": "label_selection",
                    "options": [{"value": value, "text": text} for value, text in LABELS.items()],
                    "visible_options": len(LABELS),
                },
            }
        ],
        "metadata": [
            {
                "name": COMPARISON_PROPERTY,
                "title": COMPARISON_PROPERTY,
                "visible_for_annotators": False,
                "settings": {"type": "terms", "values": None},
            },
            *shared,
        ],
        "vectors": [],
        "distribution": {"strategy": "overlap", "min_submitted": judgements},
    }


def records(comparisons: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One record a comparison, by its id, so that a comparison sent twice is one record."""
    return [
        {
            "id": comparison["comparison_id"],
            "fields": {name: comparison[name] for name in FIELDS}
            | ({"messages": comparison["messages"]} if comparison.get("messages") else {}),
            "metadata": {COMPARISON_PROPERTY: comparison["comparison_id"]}
            | ({SHARE_PROPERTY: comparison[SHARE_PROPERTY]} if comparison.get(SHARE_PROPERTY) else {}),
        }
        for comparison in comparisons
    ]
