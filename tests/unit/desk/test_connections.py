"""Connections that take too long, are too large or too many, against a server that really listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from crowd_assets.desk import connections
from crowd_assets.desk.connections import block_of, limited

HEAD = b"GET / HTTP/1.1\r\nhost: desk.test\r\n"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Reads a form whole, and answers with as many bytes as the query says."""
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    content = b"x" * int(scope["query_string"] or b"4")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def _listening(most: int = 100) -> AsyncIterator[tuple[int, type[connections.LimitedProtocol]]]:
    kind: Any = limited(most, {"127.0.0.1"})
    config = uvicorn.Config(_app, http=kind, log_level="critical")
    config.timeout_keep_alive = 0.1  # type: ignore[assignment]
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: kind(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1], kind
    finally:
        server.close()


async def _trickle(port: int, first: bytes, again: bytes) -> bytes:
    """Everything that is answered to somebody who sends a little again and again, until the connection is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    got = b""
    async with asyncio.timeout(5):
        while True:
            try:
                writer.write(again)
                await writer.drain()
                part = await asyncio.wait_for(reader.read(1 << 16), 0.02)
                if not part:
                    return got
                got += part
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return got


def _run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (b"G", b""),
        (HEAD, b"x-a: b\r\n"),
        (HEAD + b"\r\n", b"\r\n"),
        (HEAD + b"\r\n", b""),
        (HEAD + b"content-length: 100000\r\n\r\n", b"a"),
        (HEAD.replace(b"GET", b"POST") + b"content-length: 100000\r\n\r\n", b"a"),
        (HEAD.replace(b"GET", b"POST") + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
    ids=[
        "nothing",
        "empty lines",
        "one letter",
        "head",
        "empty lines after an answer",
        "nothing after an answer",
        "rest that nobody waits for",
        "form",
        "form in parts",
    ],
)
def test_a_connection_that_sends_slowly_is_cut(monkeypatch: pytest.MonkeyPatch, first: bytes, again: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    monkeypatch.setattr(connections, "BODY_S", 0.1)

    async def work() -> None:
        async with _listening() as (port, _):
            await _trickle(port, first, again)

    _run(work)


def test_a_head_without_an_end_is_refused() -> None:
    async def work() -> None:
        async with _listening() as (port, _):
            answer = await _trickle(port, HEAD, b"x-a: " + b"b" * 5_000 + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 431 ") or not answer  # unread bytes can cut the answer off

    _run(work)


def test_one_address_holds_so_many_connections_and_others_are_answered_meanwhile() -> None:
    async def work() -> None:
        async with _listening(most=5) as (port, kind):

            async def answer(address: str) -> tuple[bytes, asyncio.StreamWriter]:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
                writer.write(HEAD + b"\r\n")
                return (await reader.readline())[9:12], writer

            flood = [await answer("127.0.0.2") for _ in range(8)]
            assert [status for status, _ in flood] == [b"200"] * 5 + [b"429"] * 3
            assert (await answer("127.0.0.3"))[0] == b"200"
            assert [(await answer("127.0.0.1"))[0] for _ in range(8)] == [b"200"] * 8  # a proxy
            for _, writer in flood:
                writer.close()
            while kind.held["127.0.0.2"]:
                await asyncio.sleep(0.01)
            assert (await answer("127.0.0.2"))[0] == b"200"

    _run(work)


def test_whoever_reads_no_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READING_S", 0.1)

    async def work() -> None:
        async with _listening() as (port, kind):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            writer.write(HEAD.replace(b"/ ", b"/?30000000 ") + b"\r\n")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            while not kind.held:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(5):
                while kind.held:
                    await asyncio.sleep(0.01)
            writer.transport.abort()
            assert reader is not None

    _run(work)


def test_requests_one_after_another_and_several_at_once_are_answered() -> None:
    async def work() -> None:
        async with _listening() as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            form = HEAD.replace(b"GET", b"POST") + b"content-length: 3\r\n\r\nabc"
            for count in (1, 2, 3):
                writer.write((HEAD + b"\r\n" + form) * count)
                for _ in range(2 * count):
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 200 ")
                    assert await reader.readexactly(4) == b"xxxx"
            writer.close()

    _run(work)


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("", ""),
        ("a name", "a name"),
    ],
)
def test_one_network_of_ipv6_counts_as_one_address(address: str, block: str) -> None:
    assert block_of(address) == block
