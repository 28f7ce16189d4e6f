"""The embedded warehouse's tests of releases, on PostgreSQL.

Belongs here: choosing them. Does not belong here: what PostgreSQL alone can do or get wrong (see ``test_postgres``).
"""

import pytest

from tests.unit.resources.rounds.test_releases import *  # noqa: F403

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("on_postgres")]
MODULES = ()
