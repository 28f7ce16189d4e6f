"""The courier: what people sent, as files in the inbox, each event in exactly one of them.

A file is named and its lines are fixed in the database before it is written, and its texts leave the database after the file lies in the
inbox. Killed in between, the next courier writes the same file again under the same name; an inbox that has taken the first one in knows its
content and puts the second away.

Belongs here: that order. Does not belong here: the inbox (see ``resources.feedback.inbox``), the database (see ``store``).
"""

import logging
import threading
from collections.abc import Callable

from crowd_assets.desk.store import DeskStore
from resources.feedback.inbox import InboxResource

MOST_LINES = 5_000
LOG = logging.getLogger(__name__)


class Courier:
    """Writes files into the inbox every ``seconds``, in a thread of its own, until it is stopped."""

    def __init__(self, store: DeskStore, inbox: InboxResource, seconds: float) -> None:
        self._store, self._inbox, self._seconds = store, inbox, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self.problem = ""
        """Why the last file could not be written; empty where the last one was."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is there, and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self.deliver()

    def deliver(self, between: Callable[[str], None] = lambda step: None) -> int:
        """Write what is there.

        Args:
            between: Called with the name of each step before it, for tests that stop there.

        Returns:
            how many events.
        """
        delivered = 0
        while (found := self._store.batch(MOST_LINES)) is not None:
            name, lines = found
            between("write")
            self._inbox.deliver(name, lines)
            between("finish")
            self._store.finish(name)
            delivered += len(lines)
        return delivered

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self.deliver()
                self.problem = ""
            except (
                Exception
            ) as problem:  # a full disk or a store that does not answer: what was sent waits in the database
                if str(problem) != self.problem:
                    LOG.warning("What people sent waits: no file could be written into the inbox (%s).", problem)
                self.problem = str(problem) or type(problem).__name__
