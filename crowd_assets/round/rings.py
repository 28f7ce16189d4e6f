"""Who acts as one: the rings that the gate's detector found, as names to count by.

Belongs here: reading them. Does not belong here: how they are found (see ``detectors.groups``) and what follows.
"""

import polars as pl

from resources.warehouse.base import WarehouseResource


def with_rings(frame: pl.DataFrame, warehouse: WarehouseResource, round_no: int) -> pl.DataFrame:
    """``frame`` with a column ``ring``: one name for all contributors whom the round's detectors link, and a contributor's
    own for everybody else. ``frame`` needs ``contributor_id``; its order stays."""
    rings = warehouse.read_round("rings", round_no).select("contributor_id", number="ring")
    named = pl.format("ring {}", "number")  # no contributor's name: those hold no spaces
    return (
        frame.join(rings, on="contributor_id", how="left", maintain_order="left")
        .with_columns(ring=pl.coalesce(named, "contributor_id"))
        .drop("number")
    )
