"""The desk's database: where it is, how it is opened and brought up to date, and transactions.

SQLite beside the home by default, PostgreSQL where the home's tables are there.

Belongs here: connections. Does not belong here: what is kept and asked (see ``store``), the tables (see ``tables``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event

from crowd_assets.operations.backup import DESK
from resources.common.errors import OperatorError
from resources.settings.settings import Settings

LONGEST_WAIT_S = 30.0
Work = Callable[[Connection], Any]


class DeskError(OperatorError, ValueError):
    """What was asked of the desk's database cannot be; the message says why."""


class Database:
    """The desk's tables, made and brought up to date as they are opened.

    Args:
        url: SQLAlchemy's.

    Raises:
        DeskError: the tables are of a newer program.
    """

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(url, pool_pre_ping=not self.is_sqlite, pool_size=20, max_overflow=40)
        if self.is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)
        migrate(self._engine)
        self._turns, self._queue, self._adding = Lock(), list[_Turn](), Lock()

    def reading(self) -> Connection:
        """A connection that reads, to be closed."""
        return self._engine.connect()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes. Threads of one process take turns: whom SQLite finds waiting it looks at again ever more seldom."""
        if not self.is_sqlite:
            with self._engine.begin() as connection:
                yield connection
            return
        with self._turns, self._engine.begin() as connection:
            yield connection

    def write(self, work: Work) -> Any:
        """Do some work in a transaction that is durable when this returns. In SQLite whoever comes while another transaction becomes durable is
        served with all the others who wait, in one transaction: the disk is the slowest part, and is asked once for all of them.

        Args:
            work: Reads and writes by the connection given, and changes nothing else: it is done again, alone, where another one's work fails.

        Returns:
            what the work returns.
        """
        if not self.is_sqlite:
            with self._engine.begin() as connection:
                return work(connection)
        mine = _Turn(work)
        with self._adding:
            self._queue.append(mine)
        with self._turns:
            if not mine.is_done:
                with self._adding:
                    waiting, self._queue = self._queue, []
                self._serve(waiting)
        if mine.problem is not None:
            raise mine.problem
        return mine.result

    def _serve(self, waiting: "list[_Turn]") -> None:
        try:
            with self._engine.begin() as connection:
                results = [turn.work(connection) for turn in waiting]
            for turn, result in zip(waiting, results, strict=True):
                turn.result, turn.is_done = result, True
        except BaseException as problem:
            if len(waiting) > 1 and isinstance(problem, Exception):
                for turn in waiting:
                    self._serve([turn])
                return
            for turn in waiting:
                turn.problem, turn.is_done = problem, True

    def forget_log(self) -> None:
        """Empty SQLite's log, which holds pages as they were."""
        if self.is_sqlite:
            with self.reading() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


class _Turn:
    """Some work that waits, and what became of it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.is_done = False
        self.result: Any = None
        self.problem: BaseException | None = None


def database_url(settings: Settings) -> str:
    """Where the desk's tables are: SQLAlchemy's URL, without a password (``PGPASSWORD``, ``PGPASSFILE``)."""
    if settings.warehouse:
        return settings.warehouse.replace("postgresql://", "postgresql+psycopg://", 1).replace(
            "postgres://", "postgresql+psycopg://", 1
        )
    return f"sqlite:///{Path(settings.home, DESK)}"


def migrate(engine: Engine) -> None:
    """Bring the desk's tables to the form that this program knows.

    Raises:
        DeskError: they are of a newer program.
    """
    from alembic.script import ScriptDirectory
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "crowd_assets.desk:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except (CommandError, ResolutionError):
            head = ScriptDirectory.from_config(config).get_current_head()
            raise DeskError(
                f"the desk's tables are of a newer program than this one, which knows version {head}: install the newer one."
            ) from None


def _prepare_sqlite(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # what is acknowledged outlives a power cut
    cursor.execute("PRAGMA secure_delete=ON")  # what is erased is written over
    cursor.execute(f"PRAGMA busy_timeout={int(1000 * LONGEST_WAIT_S)}")
    cursor.close()
