"""DuckDB's engine of a thread, to which the warehouse's file is attached for as long as a connection lasts.

Starting an engine takes 30 ms of CPU and making sure of the tables 15, attaching a file 10; a round connects 150 times. The engine
keeps nothing of a file that is detached, so other processes find the file as they would without.

Belongs here: starting, attaching, detaching. Does not belong here: locks and tables (see ``duckdb``).
"""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb

NAME = "warehouse"
"""Of the attached file, among an engine's databases."""


class _Engines(threading.local):
    """The thread's engine, for the file that was attached last, in the process that started it."""

    engine: duckdb.DuckDBPyConnection | None = None
    path = ""
    process = 0


_OF_THREAD = _Engines()
_OF_PARENTS: list[object] = []
"""Engines of a process that this one was forked from: their threads are not here, so they are never closed."""


@contextmanager
def attached(path: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the DuckDB file at ``path``, which is made where there is none; detached on leaving.

    Raises:
        duckdb.Error: the file cannot be attached, or what was written does not reach it. The engine is given up after any error
            inside, so that the next connection begins anew.
    """
    connection = _engine(path).cursor()
    try:
        connection.execute(f"ATTACH {quoted(path)} AS {NAME} (TYPE duckdb)")
        connection.execute(f"USE {NAME}")
        yield connection
        connection.execute("USE memory")
        connection.execute(f"DETACH {NAME}")
        connection.close()
    except BaseException:
        _give_up(connection)
        raise


@contextmanager
def beside(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A second cursor on the file that a connection has attached, for rows that are read bit by bit. A cursor of DuckDB begins in the
    engine's own memory, whatever its connection uses."""
    with connection.cursor() as cursor:
        cursor.execute(f"USE {NAME}")
        yield cursor
        cursor.execute("USE memory")


def quoted(path: str) -> str:
    """A path as SQL text: ATTACH takes no parameter."""
    return "'" + path.replace("'", "''") + "'"


def _engine(path: str) -> duckdb.DuckDBPyConnection:
    of_thread = _OF_THREAD
    if of_thread.engine is not None and of_thread.process != os.getpid():
        _OF_PARENTS.append(of_thread.engine)
        of_thread.engine = None
    if of_thread.engine is not None and of_thread.path != path:
        of_thread.engine.close()
        of_thread.engine = None
    if of_thread.engine is None:
        # What does not fit in memory goes where DuckDB puts it for a file that it opens by itself.
        of_thread.engine = duckdb.connect(config={"temp_directory": f"{path}.tmp"})
        of_thread.path, of_thread.process = path, os.getpid()
    return of_thread.engine


def _give_up(*connections: duckdb.DuckDBPyConnection) -> None:
    engine, _OF_THREAD.engine = _OF_THREAD.engine, None
    for each in (*connections, engine):
        with suppress(duckdb.Error):
            if each is not None:
                each.close()


atexit.register(_give_up)
