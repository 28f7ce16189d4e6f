"""Servers that the tests of the cluster share, each started once; nothing that was started is left running."""

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from resources import build
from resources.warehouse.base import WarehouseResource
from resources.warehouse.postgres import PostgresWarehouse
from tests.cluster import postgres_server
from tests.cluster.postgres_server import PASSWORD, PostgresServer

MARK = "CLUSTER_TEST_SESSION"
ENDED_WITHIN_S = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The parts come first, and what needs all of them last."""
    items.sort(key=lambda item: item.path.stem == "test_campaign")


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """What was started here has our mark in its environment, whoever its parent is by now."""
    mark = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)
        yield
    _, left = psutil.wait_procs(list(_marked(mark)), timeout=ENDED_WITHIN_S)
    assert not left, f"still running: {left}"


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ours = process.environ().get(MARK) == mark and process.pid != os.getpid()
            if ours and not any("multiprocessing.resource_tracker" in word for word in process.cmdline()):
                yield process


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

    for module in (build, *request.module.MODULES):
        monkeypatch.setattr(module, "DuckDBWarehouse", warehouse)
