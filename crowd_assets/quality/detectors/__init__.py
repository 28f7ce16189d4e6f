"""Detectors: what feedback shows beyond its form. Findings lower nothing by themselves.

Each detector gives figures for every contributor and round, and names the events it would object to. What follows is
for settings to say: ``CROWD_DETECTORS_REJECT`` names the detectors whose events go into quarantine,
``CROWD_PERSONAL_DATA`` what becomes of personal data. A quarantined row can be released again (see
``resources.rounds.releases``). How often each errs on real data stands in docs/quality.md.

Belongs here: the list of detectors, what follows from them by settings. Does not belong here: any detector.
"""

import polars as pl

from crowd_assets.mechanisms.guard import Weigh
from crowd_assets.quality.detectors import duplicates, groups, labelers, likelihood, model, personal, texts
from crowd_assets.quality.detectors.base import Detection
from resources.settings.resource import CrowdSettings
from resources.training.prompting import TextFormat

__all__ = ["Detection", "detect", "masked"]


def detect(
    events: pl.DataFrame,
    earlier: pl.DataFrame | None,
    settings: CrowdSettings,
    weigh: Weigh | None = None,
    texts_of_model: TextFormat | None = None,
) -> list[Detection]:
    """Run every detector on a round's events.

    Args:
        events: ``resources.feedback.events.EVENT_SCHEMA`` and ``seq``, the round's.
        earlier: the same of earlier rounds, if there were any: whose texts count as written before, whose judgements
            meet their outcome now.
        settings: thresholds. Personal data is looked for in the events as they are, everything else in what the round
            may use of them (:func:`masked`), as that is what earlier rounds kept.
        weigh: how likely responses are (``crowd_assets.round.guard.weigher_of``); None: not known.
        texts_of_model: In what form the base model reads; None where no model is at hand, and nothing is too long for it.

    Returns:
        One detection a detector, always the same ones; the same for the same events in whatever order.
    """
    found = personal.personal_data(events, settings.phone_region)
    events = masked(events, settings)
    written = duplicates.responses(events, earlier)
    near = duplicates.near_duplicates(events, written, settings.near_duplicate)
    copies = duplicates.copies(events, written, earlier)
    return [
        near,
        copies,
        texts.gibberish(events, earlier),
        texts.language(events, settings.spoken_languages),
        found,
        texts.instructions(events),
        likelihood.unlikely(events, weigh),
        labelers.too_fast(events, settings.fastest_reading),
        labelers.straight_lining(events),
        labelers.position_bias(events),
        labelers.gold_agreement(events, earlier),
        labelers.intransitivity(events),
        groups.collusion(events, near, copies),
        model.control_tokens(events, texts_of_model),
        model.too_long(events, texts_of_model),
    ]


def masked(events: pl.DataFrame, settings: CrowdSettings) -> pl.DataFrame:
    """Events as the round may use them: personal data masked in every text, unless ``CROWD_PERSONAL_DATA=keep``."""
    return events if settings.personal_data == "keep" else personal.masked(events, settings.phone_region)
