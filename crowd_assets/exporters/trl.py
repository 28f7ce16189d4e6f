"""A round's preferences and demonstrations as the data sets that TRL trains on.

Layout: https://huggingface.co/docs/trl/dataset_formats, "Preference" (explicit prompt) and "Prompt-completion", standard
or conversational. Belongs here: both as frames. Does not belong here: which round, and files.
"""

import json

import polars as pl

from resources.feedback.events import BOTH_BAD_SHARE, ERASED


def preferences(aggregated: pl.DataFrame, *, conversational: bool) -> pl.DataFrame:
    """One row a decided comparison: prompt, chosen, rejected, comparison_id, the probability of the chosen one, and whether the chosen
    one is A or B; ``messages`` too, where one of them ends a conversation.

    Args:
        aggregated: the frame ``aggregated_preferences``; an undecided pair (½), one of two bad answers and an erased one are left out.
            With :func:`shares` a column ``judgement_share`` is kept.
    """
    first = pl.col("probability_a") > 0.5
    if "both_bad" in aggregated.columns:
        aggregated = aggregated.filter(pl.col("both_bad").fill_null(0.0) < BOTH_BAD_SHARE)
    decided = aggregated.filter(
        pl.col("probability_a") != 0.5,
        ~pl.any_horizontal(pl.col("prompt", "response_a", "response_b").eq_missing(ERASED)),
    )
    rows = decided.select(
        "prompt",
        chosen=pl.when(first).then("response_a").otherwise("response_b"),
        rejected=pl.when(first).then("response_b").otherwise("response_a"),
        id="comparison_id",
        probability_chosen=pl.max_horizontal("probability_a", 1 - pl.col("probability_a")),
        chosen_is=pl.when(first).then(pl.lit("A")).otherwise(pl.lit("B")),
        **({"judgement_share": "judgement_share"} if "judgement_share" in decided.columns else {}),
        **_conversations(decided),
    )
    return _spoken(rows, ("chosen", "rejected")) if conversational else rows


def shares(aggregated: pl.DataFrame, validated: pl.DataFrame) -> pl.DataFrame:
    """The comparisons with the part of a judgement that a report on each is, on average; as they are where every report is a whole one.

    Args:
        aggregated: the frame ``aggregated_preferences``.
        validated: the frame ``validated_feedback`` of the same round.
    """
    if "judgement_share" not in validated.columns or not validated["judgement_share"].count():
        return aggregated
    part = (
        validated.filter(pl.col("kind") == "preference")
        .group_by("comparison_id")
        .agg(pl.col("judgement_share").fill_null(1.0).mean())
        .filter(pl.col("judgement_share") < 1)
    )
    return aggregated.join(part, on="comparison_id", how="left", maintain_order="left")


def demonstrations(validated: pl.DataFrame, *, conversational: bool) -> pl.DataFrame:
    """One row a demonstration: prompt, completion and contributor_id; ``messages`` too, where one of them ends a conversation.

    Args:
        validated: the frame ``validated_feedback``; erased demonstrations are left out.
    """
    shown = validated.filter(pl.col("kind") == "demonstration", pl.col("response") != ERASED)
    rows = shown.select("prompt", completion="response", contributor_id="contributor_id", **_conversations(shown))
    return _spoken(rows, ("completion",)) if conversational else rows


MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


def _conversations(rows: pl.DataFrame) -> dict[str, pl.Series]:
    """The conversations that rows end, null where there is none; nothing where no row ends one."""
    if "messages" not in rows.columns or not rows["messages"].count():
        return {}
    decoded = [None if text is None else json.loads(text) for text in rows["messages"]]
    return {"messages": pl.Series(decoded, dtype=MESSAGES)}


def _spoken(rows: pl.DataFrame, answers: tuple[str, ...]) -> pl.DataFrame:
    """Texts as lists of one chat message each."""

    def message(column: str, role: str) -> pl.Expr:
        return pl.concat_list(pl.struct(role=pl.lit(role), content=pl.col(column))).alias(column)

    prompt = message("prompt", "user")
    if "messages" in rows.columns:  # the prompt is the last of them
        prompt = pl.coalesce("messages", prompt).alias("prompt")
        return rows.with_columns(prompt, *(message(name, "assistant") for name in answers)).drop("messages")
    return rows.with_columns(prompt, *(message(name, "assistant") for name in answers))
