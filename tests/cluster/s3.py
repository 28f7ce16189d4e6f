"""An S3 server in a process of its own, which a test can take away and bring back; lives of a campaign beside it.

Belongs here: starting and stopping. Does not belong here: what must hold meanwhile (see ``test_s3``).
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from crowd_assets.commands.campaign import PROJECT
from tests.e2e.crash.harness import Home

BUCKET = "crowd"
STARTED_WITHIN_S = 60


class S3Server:
    """moto on loopback, behind a port that can be closed: it keeps objects in memory, and a store that is gone for a while has
    them afterwards."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._behind = free.getsockname()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._behind[1])]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._port = 0
        self._open: set[socket.socket] = set()
        self.resume()
        self.url = f"http://127.0.0.1:{self._port}"
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto did not start at {self.url}")
            time.sleep(0.2)
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{BUCKET}", method="PUT")).close()

    @property
    def environment(self) -> dict[str, str]:
        """What s3fs reads; moto takes any credentials."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "collector",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-store",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def pause(self) -> None:
        """Refuse every connection from now on, and break those there are."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def resume(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                ours, _ = listener.accept()
                threading.Thread(target=self._pass_on, args=(ours,), daemon=True).start()

    def _pass_on(self, ours: socket.socket) -> None:
        with suppress(OSError):
            its = socket.create_connection(self._behind)
            self._open |= {ours, its}
            threading.Thread(target=_pump, args=(its, ours), daemon=True).start()
            _pump(ours, its)
            self._open -= {ours, its}

    def stop(self) -> None:
        self.pause()
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except OSError:
            return False
        return True


class Lives:
    """The process that forks lives (see ``tests.e2e.crash.lives``)."""

    def __init__(self, environment: dict[str, str]) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("CROWD_", "DAGSTER_"))}
        own |= environment | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-m", "tests.e2e.crash.lives"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=own
        )

    def begin(self, home: Home, rounds: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(home.life(rounds)) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """How the life ended that was begun."""
        assert self._process.stdout is not None
        ended: dict[str, Any] = json.loads(self._process.stdout.readline())
        return ended

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """One at a time in a process, as each has an address of its own and fsspec keeps to the one that it found first."""
    from resources.files.object_store import ObjectStore

    server = S3Server()
    ObjectStore.clear_instance_cache()
    try:
        yield server
    finally:
        ObjectStore.clear_instance_cache()
        server.stop()
