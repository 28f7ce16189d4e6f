"""The tests that the embedded warehouse passes, on PostgreSQL: what is claimed, settled, released and erased does not depend on
where the tables are.

Belongs here: choosing them. Does not belong here: what PostgreSQL alone can do or get wrong (see ``test_postgres``).
"""

from typing import Any

import pytest

from crowd_assets import definitions
from resources.postgres_warehouse import PostgresWarehouse
from resources.warehouse import WarehouseResource
from tests.cluster.postgres_server import PostgresServer
from tests.unit import test_records, test_rings, test_rounds, test_tournament
from tests.unit.test_inbox import *  # noqa: F403
from tests.unit.test_records import *  # noqa: F403
from tests.unit.test_releases import *  # noqa: F403
from tests.unit.test_rings import *  # noqa: F403
from tests.unit.test_rounds import *  # noqa: F403
from tests.unit.test_tournament import *  # noqa: F403

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _on_postgres(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path of a DuckDB file stands for an empty place on the server."""
    urls: dict[str, str] = {}

    def on_postgres(path: str, **named: Any) -> WarehouseResource:
        if path not in urls:
            urls[path] = postgres.place()
        return PostgresWarehouse(path=path, url=urls[path], **named)

    for module in (definitions, test_records, test_rings, test_rounds, test_tournament):
        monkeypatch.setattr(module, "WarehouseResource", on_postgres)
