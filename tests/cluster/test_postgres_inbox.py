"""The embedded warehouse's tests of the inbox and of rings, on PostgreSQL.

Belongs here: choosing them. Does not belong here: what PostgreSQL alone can do or get wrong (see ``test_postgres``).
"""

import pytest

from tests.unit.resources.feedback.test_arrivals import (
    test_a_file_that_another_process_is_at_comes_last_and_is_left_to_it_at_last,  # noqa: F401
)
from tests.unit.resources.feedback.test_inbox import *  # noqa: F403
from tests.unit.round import test_rings
from tests.unit.round.test_rings import *  # noqa: F403

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("on_postgres")]
MODULES = (test_rings,)
