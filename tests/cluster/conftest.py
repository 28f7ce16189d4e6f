"""Servers that the tests of the cluster share, each started once."""

from collections.abc import Iterator

import pytest

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
