"""The snapshot that the last settlement published, read like a warehouse and never written.

Belongs here: that. Does not belong here: publishing the snapshot (see ``base``), a look at what holds now (see ``look``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from resources.common.errors import OperatorError
from resources.warehouse.connection import Connection
from resources.warehouse.damage import told
from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.reading import for_reading


class NoSnapshotError(OperatorError, LookupError):
    """No round of the home was settled yet."""


class SnapshotWarehouse(DuckDBWarehouse):
    """What a home's tables held when the last round was settled; whoever reads waits for nobody, and nobody waits for them."""

    def exists(self) -> bool:
        return self.snapshot_path.exists()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection of its own for reading.

        Raises:
            NoSnapshotError: no round was settled yet.
        """
        if not self.exists():
            raise NoSnapshotError(f"{self.snapshot_path}: no round of this home was settled yet.")
        with told(self.snapshot_path), for_reading(self.snapshot_path) as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[None]:
        """Nothing: a connection to the snapshot keeps nobody waiting."""
        yield

    def transaction(self) -> NoReturn:
        """
        Raises:
            TypeError: always.
        """
        raise TypeError("a snapshot is read only")
