"""Lots that the platform publishes: what may be bid for in a round, each with its prompt.

A lot that a seller names itself is worth to it whatever two of its names say to each other: only lots that were published are
admitted. They are published once, in the table ``published_lots`` and in the outbox, before anybody can bid for them.

Belongs here: which prompts become lots, and which lots are open. Does not belong here: who sells in them (see
``procurement``), how a bid is refused (see ``crowd_assets.quality``).
"""

from collections.abc import Callable, Mapping

import polars as pl

from crowd_assets.forum.comments import lot_prompts
from crowd_assets.round.randomness import generator_for
from resources.feedback.events import ERASED
from resources.feedback.inbox import OutboxResource
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.connection import Connection
from resources.warehouse.facts import SETTLED_ROUNDS, round_id_of

LOTS = "lots"
"""The topic of the outbox."""


def lot_id(round_no: int, number: int) -> str:
    """The name of a lot that is published for a round."""
    return f"lot-{round_no}-{number}"


def open_lots(round_: Round, settings: CrowdSettings, warehouse: WarehouseResource) -> Mapping[str, str] | None:
    """Prompts by lot that bids of a round may answer: of the lots published for it and for rounds skipped just before, whose
    bids come with its own. An empty prompt is any. None: any lot.

    Raises:
        SettingError: the file of listed lots cannot be read.
    """
    source = settings.lots_source
    if source == "any":
        return None
    if source == "listed":
        return dict.fromkeys(settings.known_lots(), "")
    published = warehouse.query(
        "SELECT lot_id, prompt FROM published_lots WHERE round_no <= $n AND round_no > (SELECT coalesce(max(round_no), 0) "
        f"FROM {SETTLED_ROUNDS} r WHERE round_no < $n)",
        {"n": round_.round_no},
    )
    return dict(published.filter(pl.col("prompt") != ERASED).iter_rows())


def next_round_no(warehouse: WarehouseResource) -> int:
    """Number of the round that the next claim will make, or of the one that is claimed already."""
    book = RoundBook(warehouse)
    begun = book.open_round()
    return begun.round_no if begun is not None and not begun.settled else len(book.all()) + 1


def publish_lots(
    round_no: int,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    outbox: OutboxResource,
    worst: Callable[[], list[str]] = list,
) -> int:
    """Publish the lots of a round, once; what was published before is published again as it was.

    Args:
        worst: Prompts of the round before on which its base is furthest from the target, worst first.

    Returns:
        How many lots the round has: 0 where the platform publishes none, or has no prompt yet.
    """
    prompts = _prompts(round_no, settings, worst)

    def keep(connection: Connection) -> list[tuple[str, str]]:
        chosen = "SELECT lot_id, prompt FROM published_lots WHERE round_no = $n ORDER BY length(lot_id), lot_id"
        known = connection.execute(chosen, {"n": round_no}).fetchall()
        if not known:
            for number, prompt in enumerate(prompts):
                connection.execute(
                    "INSERT INTO published_lots VALUES ($n, $lot, $prompt)",
                    {"n": round_no, "lot": lot_id(round_no, number), "prompt": prompt},
                )
            known = connection.execute(chosen, {"n": round_no}).fetchall()
        return list(known)

    lots = warehouse.atomically(keep)
    if lots:
        open_to_all = [{"lot_id": lot, "prompt": prompt} for lot, prompt in lots if prompt != ERASED]
        outbox.publish(LOTS, round_id_of(round_no), open_to_all)
    return len(lots)


def worst_prompts(round_: Round, generations: pl.DataFrame, distances: list[float]) -> list[str]:
    """Prompts of a round's fresh sample, furthest from the target first, each once.

    Args:
        generations: The frame of that name, with ``prompt``.
        distances: Distance from the target of what the next base wrote to each.
    """
    order = generator_for(round_, "lots").permutation(generations.height).tolist()
    ranked = sorted(order, key=lambda row: -distances[row])
    return [prompt for prompt in dict.fromkeys(generations["prompt"][row] for row in ranked) if prompt != ERASED]


def _prompts(round_no: int, settings: CrowdSettings, worst: Callable[[], list[str]]) -> list[str]:
    source, count = settings.lots_source, settings.lots_published
    if source in ("any", "listed"):
        return []
    if source == "forum":
        return lot_prompts(settings.target_attribute, settings.seed, round_no, count)
    if source == "worst":
        return worst()[:count]
    known = settings.known_prompts()
    first = (round_no - 1) * count
    return list(dict.fromkeys(known[(first + number) % len(known)] for number in range(count)))
