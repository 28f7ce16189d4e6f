"""The embedded warehouse's tests of the inbox and of rings, on PostgreSQL.

Belongs here: choosing them. Does not belong here: what PostgreSQL alone can do or get wrong (see ``test_postgres``).
"""

import pytest

from tests.unit import test_rings
from tests.unit.test_inbox import *  # noqa: F403
from tests.unit.test_rings import *  # noqa: F403

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("on_postgres")]
MODULES = (test_rings,)
