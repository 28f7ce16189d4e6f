"""What readers and writers ask of a connection, whichever database it is to.

Belongs here: the protocol alone. Does not belong here: who has it (DuckDB's own connections, and ``postgres_connection``'s).
"""

from typing import Any, Protocol


class Connection(Protocol):
    """What the warehouse's readers and writers ask of a connection: DuckDB's own has it, and ``PostgresConnection``."""

    def execute(self, query: str, parameters: Any = None, /) -> Any:
        """Run a statement with bound ``$name`` parameters; ``fetchall()`` of what it returns gives the rows."""

    def sql(self, query: str, *, params: Any = None) -> Any:
        """Run a SELECT; ``pl()`` of what it returns gives a frame."""
