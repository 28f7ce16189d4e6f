"""What the base model itself cannot take: marks of its chat template in what people wrote, and texts longer than its positions.

Belongs here: looking at texts with the model's tokenizer. Does not belong here: how texts become tokens (see
``resources.training.prompting``), where content is data whatever it says.
"""

import polars as pl

from crowd_assets.quality.detectors.base import Detection, detection_of_events
from resources.feedback.conversations import messages_of
from resources.training.prompting import Prompt, TextFormat

WRITTEN = ("prompt", "messages", "response", "response_a", "response_b")


def control_tokens(events: pl.DataFrame, texts: TextFormat | None) -> Detection:
    """Events with a mark of the model's chat template in a prompt, an earlier turn or an answer, such as ``<|im_end|>``.

    Unit: how many fields hold one; flagged from one. An honest person trips it by quoting a chat log.
    """
    rows = _with_texts(events)
    marks = list(texts.markers) if texts else []
    found = [
        pl.col(name).str.contains_any(marks).fill_null(False).cast(pl.Int64) for name in (WRITTEN if marks else ())
    ]
    flagged = (
        rows.with_columns(found=pl.sum_horizontal(found) if found else pl.lit(0))
        .filter(pl.col("found") > 0)
        .select(
            "event_id", score=pl.col("found").cast(pl.Float64), detail=pl.lit("a mark of the model's own chat template")
        )
    )
    return detection_of_events("control_tokens", rows, flagged)


def too_long(events: pl.DataFrame, texts: TextFormat | None) -> Detection:
    """Events whose prompt and answer, as the template writes them, take more tokens than the model has positions.

    Unit: tokens; flagged above the positions. An honest person trips it with a text of several pages.
    """
    rows = _with_texts(events)
    flagged: list[tuple[str, float, str]] = []
    if texts is not None and texts.positions is not None:
        # Of a text that is short in bytes no tokenizer makes more tokens: a token has at least one byte.
        room = texts.positions - texts.length("")
        size = pl.sum_horizontal(pl.col(name).str.len_bytes().fill_null(0) for name in WRITTEN)
        for row in rows.filter(size > room).iter_rows(named=True):
            tokens = max(texts.length(_prompt(row), answer) for answer in _answers(row))
            if tokens > texts.positions:
                flagged.append(
                    (row["event_id"], tokens, f"{tokens:,} tokens; the model has {texts.positions:,} positions")
                )
    schema = {"event_id": pl.String, "score": pl.Float64, "detail": pl.String}
    return detection_of_events("too_long", rows, pl.DataFrame(flagged, schema=schema, orient="row"))


def _with_texts(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(pl.col("kind") != "outcome").sort("seq")


def _prompt(row: dict[str, str | None]) -> Prompt:
    return messages_of(row["prompt"] or "", row["messages"])


def _answers(row: dict[str, str | None]) -> list[str]:
    return [row[name] or "" for name in ("response", "response_a", "response_b")]
