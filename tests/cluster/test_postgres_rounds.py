"""The embedded warehouse's tests of rounds, records and tournaments, on PostgreSQL.

Belongs here: choosing them. Does not belong here: what PostgreSQL alone can do or get wrong (see ``test_postgres``).
"""

import pytest

from tests.unit.resources.rounds import test_book, test_records
from tests.unit.resources.rounds.test_book import *  # noqa: F403
from tests.unit.resources.rounds.test_records import *  # noqa: F403
from tests.unit.round import test_tournament
from tests.unit.round.test_tournament import *  # noqa: F403

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("on_postgres")]
MODULES = (test_book, test_records, test_tournament)

# Readers wait for nobody here, a session is no lock, and processes of their own are begun in test_postgres.
del test_a_lock_that_is_not_had_in_time_says_who_holds_it, test_a_session_is_one_connection_and_ends  # noqa: F821
del test_of_four_processes_one_claims  # noqa: F821
