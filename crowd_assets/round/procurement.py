"""What a round buys: admitted bids, their verified quality, awards, and the tasks that follow.

Belongs here: frames from frames, by the auction that is set. Does not belong here: auctions (see ``mechanisms.auctions``).
"""

import hashlib
from decimal import Decimal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.base import SEVERAL_ANSWERS, WHOLE, Offers, Terms
from crowd_assets.mechanisms.auctions.money import MONEY_QUANTUM, to_quanta
from crowd_assets.mechanisms.auctions.table import AUCTIONS
from crowd_assets.mechanisms.target import distances
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.rings import with_rings
from crowd_assets.round.target import Target
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource

AWARDS_SCHEMA = {
    "lot_id": pl.String(),
    "event_id": pl.String(),
    "contributor_id": pl.String(),
    "quality": pl.Float64(),
    "value": pl.Decimal(18, 6),
    "asked_price": pl.Decimal(18, 6),
    "payment": pl.Decimal(18, 6),
    "awarded": pl.Boolean(),
    "lot_cleared": pl.Boolean(),
}


TASKS_SCHEMA = {
    "comparison_id": pl.String(),
    "lot_id": pl.String(),
    "event_id_a": pl.String(),
    "event_id_b": pl.String(),
}


def bids_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> pl.DataFrame:
    """The bids of a round that are admitted, in order of ``seq``: those that are valid, one of a seller in each lot unless the
    auction takes several, and where settings say so one of a ring."""
    bids = frames.read("validated_feedback", round_.round_id).filter(pl.col("kind") == "bid").sort("seq")
    if SEVERAL_ANSWERS not in AUCTIONS[settings.auction].guarantees:
        bids = bids.unique(("contributor_id", "lot_id"), keep="first", maintain_order=True)
    if settings.rings_count_once:
        bids = with_rings(bids, warehouse, round_.round_no)
        bids = bids.unique(("ring", "lot_id"), keep="first", maintain_order=True)
    return bids


def audited_of(tasks: list[dict[str, str]], share: float, rng: np.random.Generator) -> list[dict[str, str]]:
    """Each of the tasks with probability ``share``."""
    return [task for task, drawn in zip(tasks, rng.random(len(tasks)) < share, strict=True) if drawn]


def verified_quality(responses: list[str], aim: Target, embedder: EmbedderResource) -> NDArray[np.float64]:
    """Quality in [0, 1]: 1 on the target, 0 from where an ordinary text lies; shape (n,)."""
    if not responses:
        return np.zeros(0)
    away = distances(embedder.embed(responses), aim.vector) / aim.ordinary_distance
    return np.clip(1.0 - away, 0.0, 1.0)


def awards_of(round_: Round, settings: CrowdSettings, bids: pl.DataFrame, quality: NDArray[np.float64]) -> pl.DataFrame:
    """Rows of ``awards``: the lots of a round cleared by its auction, with the ``quality`` (n,) of each bid; of ``bids``
    without texts the lengths are 0."""
    if bids.is_empty():
        return pl.DataFrame(schema=AWARDS_SCHEMA)
    value_of_one = to_quanta(Decimal(settings.value_per_quality))
    kept = to_quanta(Decimal(settings.least_surplus))
    values = np.maximum(np.floor(quality * value_of_one).astype(np.int64) - kept, 0)
    asked = np.array([to_quanta(Decimal(price)) for price in bids["asked_price"]], dtype=np.int64)
    lots = bids["lot_id"].unique().sort()
    lot = lots.search_sorted(bids["lot_id"]).cast(pl.Int64).to_numpy()
    offers = Offers(
        lot,
        seller=_keys(bids["contributor_id"]),
        values=values,
        asked_prices=asked,
        lengths=_characters(bids),
        lot_keys=_keys(lots),
    )
    terms = Terms(
        budget=to_quanta(Decimal(settings.budget)),
        most=settings.answers_per_lot,
        reserve=round(settings.reserve * WHOLE),
        value_of_one=value_of_one,
    )
    clearing = AUCTIONS[settings.auction].clear(offers, terms, generator_for(round_, "auction"))
    return bids.select("lot_id", "event_id", "contributor_id").with_columns(
        quality=pl.Series(quality),
        value=_money(values),
        asked_price=_money(asked),
        payment=_money(clearing.payments),
        awarded=pl.Series(clearing.awarded),
        lot_cleared=pl.Series(clearing.lot_cleared[lot]),
    )


def tasks_of(round_: Round, awards: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``comparison_tasks``: the answers bought in each lot two by two, in an order drawn by lot; where their number is
    odd, the last is compared with the first."""
    bought = awards.filter("awarded").sort("lot_id", "event_id").select("lot_id", "event_id")
    rng = generator_for(round_, "order of answers")
    rows = []
    for (lot_id,), pair in bought.group_by("lot_id", maintain_order=True):
        drawn = [pair["event_id"][int(index)] for index in rng.permutation(pair.height)]
        for first, second in zip(drawn[::2], [*drawn[1::2], *drawn[: len(drawn) % 2]], strict=True):
            identity = "\0".join([round_.round_id, str(lot_id), first, second])
            comparison_id = f"{round_.round_id}-{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}"
            rows.append({"comparison_id": comparison_id, "lot_id": lot_id, "event_id_a": first, "event_id_b": second})
    return pl.DataFrame(rows, schema=TASKS_SCHEMA)


def _keys(names: pl.Series) -> NDArray[np.int64]:
    """A number for each name (n,) that does not depend on the other names."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(each) >> 1 for each in digests], dtype=np.int64)


def _characters(bids: pl.DataFrame) -> NDArray[np.int64]:
    """Characters of each response (n,); 0 where the texts are not at hand."""
    if "response" not in bids.columns:
        return np.zeros(bids.height, dtype=np.int64)
    return bids["response"].str.len_chars().cast(pl.Int64).to_numpy()


def _money(quanta: np.ndarray) -> pl.Series:
    """Whole money quanta as decimals."""
    return pl.Series([Decimal(int(each)) * MONEY_QUANTUM for each in quanta], dtype=pl.Decimal(18, 6))
