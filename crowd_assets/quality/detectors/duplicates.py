"""Texts that were written before: near duplicates, and copies of the prompt or of other people's answers.

Belongs here: normalisation, shingles, MinHash (by rensa), LSH. Does not belong here: what follows from a copy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.quality.detectors.base import Detection, authored, detection_of_events

SHINGLE_BYTES = 4
PERMUTATIONS = 63
BAND_ROWS = 3
SEED = 1
TEXTS_PER_CHUNK = 50_000
FEWEST_CHARACTERS = 40
FEWEST_WORDS = 5
ESTIMATE_MARGIN = 0.15
"""About 2.4 standard errors of a similarity that is estimated from the permutations."""
COMPARED = 2
"""Candidates, the likeliest, with which each text is compared exactly: bounds the time where very many are alike."""
PROMPT_OVERLAP = 0.8
"""Jaccard similarity of the words of a response with those of its prompt from which it is a copy of it."""

Hashes = NDArray[np.uint64]


def normalised(text: pl.Expr) -> pl.Expr:
    """Letters and digits in lower case, everything else one space: what survives a change of case and punctuation."""
    return text.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars(" ")


def responses(events: pl.DataFrame, earlier: pl.DataFrame | None) -> pl.DataFrame:
    """Responses of this round and of earlier ones, in order of arrival, with their normalised ``text``."""
    columns = ["event_id", "seq", "contributor_id", "prompt", "response"]
    frames = [authored(frame).select(columns) for frame in (earlier, events) if frame is not None]
    return pl.concat(frames).sort("seq").with_columns(text=normalised(pl.col("response")))


def near_duplicates(events: pl.DataFrame, rows: pl.DataFrame, threshold: float) -> Detection:
    """Responses nearly like one that came before, of the same contributor or of another.

    Unit: Jaccard similarity of the sets of 4-byte shingles of the normalised texts, 0 to 1; flagged from ``threshold``
    (``CROWD_NEAR_DUPLICATE``). Of a pair the later in order of arrival is flagged. A response that another contributor
    gave word for word is no matter of this detector but of ``copies``. Texts under 40 characters are left out.
    Candidates are found by MinHash (63 permutations) and LSH (21 bands of 3): a pair at 0.6 is a candidate with
    probability 0.994, at 0.7 with 0.9998; candidates are then compared exactly. Of many texts that are all alike each
    is compared with two: the likeliest of the first and the one before it in each band.

    An honest person trips it by answering several prompts in one form of words, or by quoting.
    """
    long = rows.filter(pl.col("text").str.len_chars() >= FEWEST_CHARACTERS)
    firsts = long.unique("text", keep="first", maintain_order=True)
    former, later = _candidates(_signatures(firsts["text"]), threshold - ESTIMATE_MARGIN)
    score = _jaccard(firsts["text"], former, later)
    near = score >= threshold
    former, later, score = former[near], later[near], score[near]
    authors = firsts["contributor_id"]
    pairs = pl.DataFrame(
        {
            "event_id": firsts["event_id"].gather(later),
            "score": pl.Series(score, dtype=pl.Float64),
            "source": firsts["event_id"].gather(former),
            "own": authors.gather(later) == authors.gather(former),
        }
    )
    repeats = (
        long.filter(pl.struct("text", "contributor_id").is_duplicated())
        .with_columns(
            first=pl.col("event_id").first().over("text", "contributor_id"),
            number=pl.int_range(pl.len()).over("text", "contributor_id"),
        )
        .filter(pl.col("number") > 0)
        .select("event_id", score=pl.lit(1.0), source="first", own=pl.lit(True))
    )
    whose = pl.when("own").then(pl.lit("their own")).otherwise(pl.lit("another contributor's"))
    flagged = (
        pl.concat([repeats, pairs])
        .filter(pl.col("event_id").is_in(events["event_id"].implode()))
        .sort("event_id", -pl.col("score"), "source")
        .unique("event_id", keep="first", maintain_order=True)
        .with_columns(detail=pl.format("{} of 1 like {} {}", pl.col("score").round(2), whose, "source"))
    )
    return detection_of_events("near_duplicates", authored(events), flagged)


def copies(events: pl.DataFrame, rows: pl.DataFrame, earlier: pl.DataFrame | None) -> Detection:
    """Responses that are the prompt, or word for word an answer that another contributor gave before.

    Unit: 1 for another's answer (also one shown in a comparison that arrived before), for the prompt the Jaccard
    similarity of the two sets of words, flagged from 0.8. Case, punctuation and spaces do not count. Texts under 40
    characters are not compared with other answers, as set phrases are given by many, and texts under 5 words not with
    the prompt. Of two alike the one that arrived first is the original, whatever times they carry: a copyist cannot
    backdate. A contributor's own earlier answer is no copy.

    An honest person trips it with a quotation that somebody else gave before.
    """
    long = rows.filter(pl.col("text").str.len_chars() >= FEWEST_CHARACTERS)
    shown = _shown(events, earlier)
    origin = (
        pl.concat([long.select("text", "contributor_id", "seq", "event_id"), shown])
        .sort("seq", maintain_order=True)
        .unique("text", keep="first", maintain_order=True)
        .select("text", author="contributor_id", first="seq", source="event_id")
    )
    own = long.group_by("text", "contributor_id").agg(own=pl.col("seq").min())
    others = (
        long.join(origin, on="text", maintain_order="left")
        .join(own, on=["text", "contributor_id"], maintain_order="left")
        .filter(pl.col("contributor_id") != pl.col("author"), pl.col("first") < pl.col("own"))
        .select(
            "event_id",
            score=pl.lit(1.0),
            detail=pl.format("word for word {}, which came before", "source"),
            source="source",
        )
    )
    prompts_words = rows.select("prompt").unique().with_columns(asked=normalised(pl.col("prompt")).str.split(" "))
    words = pl.col("text").str.split(" ")
    overlap = words.list.set_intersection("asked").list.len() / words.list.set_union("asked").list.len()
    prompts = (
        rows.filter(pl.col("text").str.count_matches(" ") >= FEWEST_WORDS - 1)
        .join(prompts_words, on="prompt", maintain_order="left")
        .with_columns(score=overlap)
        .filter(pl.col("score") >= PROMPT_OVERLAP)
        .select("event_id", "score", detail=pl.lit("the words of the prompt"), source=pl.lit(None, pl.String))
    )
    flagged = (
        pl.concat([prompts, others])
        .filter(pl.col("event_id").is_in(events["event_id"].implode()))
        .unique("event_id", keep="first", maintain_order=True)
    )
    return detection_of_events("copies", authored(events), flagged)


def _shown(events: pl.DataFrame, earlier: pl.DataFrame | None) -> pl.DataFrame:
    """Texts that comparisons showed, each with when the first judgement of it arrived; nobody is named as author."""
    frames = [
        frame.filter(pl.col("kind") == "preference").select("seq", "event_id", response=pl.col(side))
        for frame in (earlier, events)
        if frame is not None
        for side in ("response_a", "response_b")
    ]
    return (
        pl.concat(frames)
        .sort("seq")
        .unique("response", keep="first", maintain_order=True)
        .select(normalised(pl.col("response")).alias("text"), pl.lit("").alias("contributor_id"), "seq", "event_id")
    )


@dataclass(frozen=True)
class _Shingles:
    """Hashes of all shingles, text after text; those of text i are ``hashes[offsets[i]:offsets[i + 1]]``."""

    hashes: Hashes
    offsets: Hashes


def _shingles(texts: pl.Series) -> _Shingles:
    """Every run of 4 bytes of each text as a 64-bit hash; a text that is shorter has none."""
    encoded = texts.cast(pl.Binary)
    lengths = encoded.bin.size().to_numpy().astype(np.int64)
    data = np.frombuffer(b"".join(encoded.to_list()), dtype=np.uint8)
    hashes = np.zeros(max(data.size - SHINGLE_BYTES + 1, 0), dtype=np.uint64)
    for at in range(SHINGLE_BYTES):
        hashes = (hashes << np.uint64(8)) | data[at : at + hashes.size]
    hashes *= np.uint64(0x9E3779B97F4A7C15)
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(32)
    counts = np.maximum(lengths - SHINGLE_BYTES + 1, 0)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    starts = np.cumsum(lengths) - lengths
    return _Shingles(hashes[_ranges(starts, counts)], offsets.astype(np.uint64))


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """start, start + 1, … for ``counts`` steps, for each start, one after the other."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())


def _chunks(texts: pl.Series) -> Iterator[pl.Series]:
    for start in range(0, len(texts), TEXTS_PER_CHUNK):
        yield texts[start : start + TEXTS_PER_CHUNK]


def _signatures(texts: pl.Series) -> NDArray[np.uint32]:
    """MinHash signatures, shape (texts, ``PERMUTATIONS``)."""
    from rensa import RMinHash

    signatures = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    done = 0
    for chunk in _chunks(texts):
        shingles = _shingles(chunk)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            shingles.hashes, shingles.offsets, num_perm=PERMUTATIONS, seed=SEED
        )
        signatures[done : done + len(chunk)] = matrix.to_rows()
        done += len(chunk)
    return signatures


def _candidates(signatures: NDArray[np.uint32], least: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (former, later) of texts that share a band and whose estimated similarity is at least ``least``.

    Of each later text the ``COMPARED`` likeliest, of those that are the first of a bucket with it or the one before it.
    """
    texts = len(signatures)
    formers, laters, estimates = [], [], []
    for start in range(0, PERMUTATIONS, BAND_ROWS):
        band = np.zeros(texts, dtype=np.uint64)
        for column in range(start, start + BAND_ROWS):
            band = (band ^ signatures[:, column]) * np.uint64(0x9E3779B97F4A7C15)
            band ^= band >> np.uint64(31)
        order = np.argsort(band, kind="stable")
        same = np.concatenate([[False], band[order][1:] == band[order][:-1]])[:texts]
        head = np.maximum.accumulate(np.where(same, 0, np.arange(texts)))
        member = np.flatnonzero(same)
        for place in (head[member], member - 1):
            former, later = order[place], order[member]
            estimate = _estimates(signatures, former, later)
            near = estimate >= least
            formers.append(former[near])
            laters.append(later[near])
            estimates.append(estimate[near])
    former, later, estimate = np.concatenate(formers), np.concatenate(laters), np.concatenate(estimates)
    _, once = np.unique(later * texts + former, return_index=True)
    former, later, estimate = former[once], later[once], estimate[once]
    order = np.lexsort((former, -estimate, later))
    kept = order[np.arange(order.size) - np.searchsorted(later[order], later[order]) < COMPARED]
    return former[kept], later[kept]


def _estimates(
    signatures: NDArray[np.uint32], former: NDArray[np.int64], later: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of the permutations in which each pair of texts agrees."""
    estimates = np.empty(former.size)
    for start in range(0, former.size, TEXTS_PER_CHUNK):
        part = slice(start, start + TEXTS_PER_CHUNK)
        estimates[part] = (signatures[former[part]] == signatures[later[part]]).mean(axis=1)
    return estimates


def _jaccard(texts: pl.Series, former: NDArray[np.int64], later: NDArray[np.int64]) -> NDArray[np.float64]:
    """Exact Jaccard similarity of the shingles of each pair of texts."""
    scores = np.empty(former.size)
    for start in range(0, former.size, TEXTS_PER_CHUNK):
        part = slice(start, start + TEXTS_PER_CHUNK)
        pairs = pl.DataFrame({"one": _shingle_lists(texts, former[part]), "other": _shingle_lists(texts, later[part])})
        common = pl.col("one").list.set_intersection("other").list.len()
        scores[part] = pairs.select(common / pl.col("one").list.set_union("other").list.len()).to_series().to_numpy()
    return scores


def _shingle_lists(texts: pl.Series, rows: NDArray[np.int64]) -> pl.Series:
    import pyarrow

    shingles = _shingles(texts.gather(rows))
    return pl.Series(pyarrow.LargeListArray.from_arrays(shingles.offsets.astype(np.int64), shingles.hashes))
