"""What detectors find, as expectations of the gate: one for each detector and kind of feedback that it looks at.

Belongs here: what each detector expects, in words, and how severe a miss is by settings. Does not belong here: how it
is found (see ``detectors``), what follows (see ``gate``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from crowd_assets.quality.conditions import CRITICAL, WARNING
from crowd_assets.quality.detectors import Detection
from resources.feedback.events import KINDS
from resources.settings.resource import CrowdSettings

BY_SETTINGS = f"{CRITICAL} or {WARNING}, by settings"

WRITTEN, JUDGED = ("demonstration", "bid"), ("preference",)
EXPECTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "near_duplicates": ("a response is not nearly like one that came before", WRITTEN),
    "copies": ("a response is neither the words of its prompt nor another's answer word for word", WRITTEN),
    "gibberish": ("the letters of a response follow one another as in the others'", WRITTEN),
    "language": ("a response is in a language of CROWD_LANGUAGES", WRITTEN),
    "personal_data": ("a response holds no personal data", WRITTEN),
    "instructions": ("a response does not instruct a model that judges it", WRITTEN),
    "unlikely": ("a response is as likely under the root model as reference texts are", WRITTEN),
    "too_fast": ("a judgement takes the time to read its texts", JUDGED),
    "straight_lining": ("a labeler does not give the same side on and on", JUDGED),
    "position_bias": ("a labeler prefers an answer, not the place where it stands", JUDGED),
    "gold_agreement": ("a labeler is nearer to the crowd than to a coin where outcomes are known", JUDGED),
    "intransitivity": ("a labeler's preferences do not go round in circles", JUDGED),
    "control_tokens": ("no text holds a mark of the model's own chat template", (*WRITTEN, *JUDGED)),
    "too_long": ("prompt and response fit the model's positions, in tokens", (*WRITTEN, *JUDGED)),
    "collusion": ("a contributor's feedback is not suspiciously like another's", (*WRITTEN, *JUDGED)),
}


@dataclass(frozen=True)
class Objection:
    """What a detector found in the events of one kind: an expectation beside the suite's own.

    Attributes:
        suite: The kind of feedback.
        name: The detector; column, check and table know it by this name.
        words: What is expected.
        severity: ``critical``: its events go into quarantine; ``warning``: they stay.
        reasons: By ``event_id``, why the event does not meet it; may name events of other kinds.
    """

    suite: str
    name: str
    words: str
    severity: str
    reasons: Mapping[str, str]


def expected(kind: str) -> Iterator[tuple[str, str]]:
    """Name and words of what detectors expect of the events of a kind."""
    return ((name, words) for name, (words, kinds) in EXPECTED.items() if kind in kinds)


def objections_of(detections: Sequence[Detection], settings: CrowdSettings) -> list[Objection]:
    """Each detection for each kind that its detector looks at; critical where settings have its events rejected."""
    rejecting = set(settings.rejecting_detectors) - {each.detector for each in detections if not each.fits}
    if settings.personal_data == "reject":
        rejecting.add("personal_data")
    reasons = {each.detector: dict(each.events.select("event_id", "detail").iter_rows()) for each in detections}
    return [
        Objection(kind, name, words, CRITICAL if name in rejecting else WARNING, reasons[name])
        for kind in KINDS
        for name, words in expected(kind)
        if name in reasons
    ]
