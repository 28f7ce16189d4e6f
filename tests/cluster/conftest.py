"""Servers that the tests of the cluster share, each started once."""

from collections.abc import Iterator
from typing import Any

import pytest

from crowd_assets import definitions
from resources.postgres_warehouse import PostgresWarehouse
from resources.warehouse import WarehouseResource
from tests.cluster import postgres_server
from tests.cluster.postgres_server import PASSWORD, PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that runs here; its password is in PGPASSWORD."""
    bin_ = postgres_server.binaries()
    if bin_ is None:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    with pytest.MonkeyPatch.context() as patch, postgres_server.running(bin_) as server:
        patch.setenv("PGPASSWORD", PASSWORD)
        yield server


@pytest.fixture
def on_postgres(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """In the modules of a test's ``MODULES``, and where resources are made, the path of a DuckDB file stands for an empty place
    on the server."""
    urls: dict[str, str] = {}

    def warehouse(path: str, **named: Any) -> WarehouseResource:
        if path not in urls:
            urls[path] = postgres.place()
        return PostgresWarehouse(path=path, url=urls[path], **named)

    for module in (definitions, *request.module.MODULES):
        monkeypatch.setattr(module, "WarehouseResource", warehouse)
