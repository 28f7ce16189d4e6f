"""Responses that are unlike any text of the domain, or likelier than any, under the root model: salads made to score, and the insults
behind which they stand.

Belongs here: what follows from a verdict on a response. Does not belong here: figures and their range (see ``mechanisms.guard``),
scoring (see ``crowd_assets.round.guard``).
"""

from dataclasses import replace

import polars as pl

from crowd_assets.mechanisms.guard import Weigh
from crowd_assets.quality.detectors.base import FLAGGED_EVENTS, Detection, authored, detection_of_events


def unlikely(events: pl.DataFrame, weigh: Weigh | None) -> Detection:
    """Responses whose likelihood under the root model lies outside the range of reference texts.

    Unit: nats a token; flagged outside the range in which all but three in a thousand reference texts lie, for the whole text and
    for its least likely five tokens in a row; half of the reference texts are misspelled first. Only where there are reference
    texts of the campaign's own domain and a root to score them with.

    Where more than half of the contributors write most of their responses outside the range, the reference texts are of another
    domain than the crowd's: responses are flagged, and none is rejected.

    An honest person trips it by writing about what no reference text is about, in another language or in figures.
    """
    rows = authored(events)
    if weigh is None or rows.is_empty():
        return detection_of_events("unlikely", rows.clear(), pl.DataFrame(schema=FLAGGED_EVENTS))
    distinct = rows.select("prompt", "response").unique(maintain_order=True)
    found = weigh(list(distinct.iter_rows()))
    said = distinct.with_columns(
        score=pl.Series([nats for nats, _ in found], dtype=pl.Float64),
        detail=pl.Series([why for _, why in found], dtype=pl.String),
    )
    judged = rows.join(said, on=["prompt", "response"], maintain_order="left").with_columns(out=pl.col("detail") != "")
    elsewhere = judged.group_by("contributor_id").agg(pl.col("out").mean() > 0.5)["out"]
    fits = int(elsewhere.sum()) <= elsewhere.len() / 2
    flagged = judged.filter("out").select("event_id", "score", "detail")
    if not fits:
        domain = f" ({elsewhere.sum()} of {elsewhere.len()} contributors write so: see CROWD_REFERENCE_TEXTS)"
        flagged = flagged.with_columns(pl.col("detail") + domain)
    return replace(detection_of_events("unlikely", rows, flagged), fits=fits)
