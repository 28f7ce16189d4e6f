"""The UI answers its own pages, and no page of another origin that a browser has open."""

import asyncio
from typing import Any

import pytest

from crowd_assets.commands.webserver import OwnOriginOnly, is_foreign


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        (None, "127.0.0.1:3000", False),  # a page that is opened, or a program
        ("http://127.0.0.1:3000", "127.0.0.1:3000", False),
        ("http://localhost:3000", "localhost:3000", False),
        ("http://[::1]:3000", "[::1]:3000", False),
        ("http://evil.example", "127.0.0.1:3000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:3000", True),  # another server of this machine
        ("http://localhost:3000", "127.0.0.1:3000", True),
        ("null", "127.0.0.1:3000", True),  # a file, a sandboxed frame
        ("file://", "127.0.0.1:3000", True),
        ("http://127.0.0.1:3000.evil.example", "127.0.0.1:3000", True),
        ("http://evil.example", "evil.example", True),  # a name that somebody made lead here
        (None, "evil.example:3000", True),
        (None, None, True),
    ],
)
def test_a_request_is_foreign(origin: str | None, host: str | None, foreign: bool) -> None:
    assert is_foreign(origin, host) is foreign


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_foreign_requests_do_not_reach_the_server(kind: str) -> None:
    reached: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    def ask(path: str, **headers: str) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        asyncio.run(OwnOriginOnly(app)({"type": kind, "path": path, "headers": pairs}, receive, send))

    ask("own", host="127.0.0.1:3000", origin="http://127.0.0.1:3000")
    ask("foreign", host="127.0.0.1:3000", origin="https://evil.example")
    assert reached == ["own"]
    assert sent[0] == (
        {"type": "websocket.close", "code": 1008}
        if kind == "websocket"
        else {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
    )
