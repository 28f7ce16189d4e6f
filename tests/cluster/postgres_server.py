"""A real PostgreSQL from the system's packages, in a folder and on a port of its own.

Belongs here: starting and stopping it, empty places in it. Does not belong here: what is tested with it.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

USER, PASSWORD = "crowd", "pg-canary-9d41"
# Quick, and what was committed survives the server's crash, though not the machine's.
QUICK = "-c fsync=off -c full_page_writes=off -c shared_buffers=32MB -c max_connections=40"


def binaries() -> Path | None:
    """The folder of ``initdb``, of the newest version there is; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).parent if named else None


class PostgresServer:
    """A server that runs."""

    def __init__(self, folder: Path, bin_: Path, port: int) -> None:
        self.port = port
        self.data, self._bin, self._numbers = folder / "data", bin_, count(1)
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C.UTF-8")
        self.start()

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.data} {QUICK}"
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(self.data / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, by default as a crash would: without a checkpoint or a word to clients."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def place(self) -> str:
        """The URL of an empty place: a schema of its own in the one database, which is sooner made than another."""
        name = f"crowd_{next(self._numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}?options=-csearch_path%3D{name}"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def execute(self, statement: str, url: str = "") -> list[tuple[object, ...]]:
        """Run a statement as anybody with a client would."""
        import psycopg

        with psycopg.connect(url or self.url, autocommit=True, password=PASSWORD) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), "-D", str(self.data), *arguments]
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # a server would keep the pipe
            stderr=subprocess.STDOUT if program == "initdb" else subprocess.DEVNULL,
            cwd="/",
            check=False,
        )
        if done.returncode:
            log = self.data / "log"
            said = (done.stdout or b"").decode() + (log.read_text() if log.exists() else "")
            raise RuntimeError(f"{program} ended with {done.returncode}: {said[-2000:]}")


@contextmanager
def running(bin_: Path) -> Iterator[PostgresServer]:
    """A server, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="crowd-postgres-"))
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        server = PostgresServer(folder, bin_, _free_port())
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
