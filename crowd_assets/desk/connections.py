"""How long a connection may take, and how many one address may hold at once.

The server underneath waits for a request as long as somebody sends a byte now and then, keeps heads of any size, and lets one address hold
every connection there is. Here each part of a request has its time, and each address its number of connections.

Belongs here: connections. Does not belong here: what a request asks for (see ``app``), how often a person sends (see ``letting_in``).
"""

import asyncio
import ipaddress
from collections import Counter
from typing import Any, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0
"""Seconds from a connection, or the first byte of a request, to the end of the request's head."""
BODY_S = 40.0
"""Seconds for the rest of a request; the page says before that a form comes too slowly."""
READING_S = 60.0
"""Seconds in which an answer is read."""
LARGEST_HEAD = 1 << 16  # bytes


class Addresses(Protocol):
    """Some addresses."""

    def __contains__(self, address: str | None, /) -> bool: ...


class LimitedProtocol(HttpToolsProtocol):
    """HTTP that is cut where it takes too long; see :func:`limited` for the number of connections."""

    most: ClassVar[int]
    trusted: ClassVar[Addresses]
    held: ClassVar[Counter[str]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._until: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._head = 0
        self._counted = ""
        address = self.client[0] if self.client else ""
        if address not in self.trusted:
            block = block_of(address)
            if self.held[block] >= self.most:
                self._refuse(b"429 Too Many Requests", b"Your network holds too many connections. Please try again.\n")
                return
            self.held[block] += 1
            self._counted = block
        self._give(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._give(None)
        if self._unread is not None:
            self._unread.cancel()
        if self._counted:
            self.held[self._counted] -= 1
            if not self.held[self._counted]:
                del self.held[self._counted]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._head += len(data)
        super().data_received(data)
        if self._head > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large", b"The head of the request is too large.\n")
        elif self._until is None and (self.cycle is None or self.cycle.response_complete):
            self._give(HEAD_S)

    def on_headers_complete(self) -> None:
        self._head = -(1 << 60)  # the rest is counted by who reads it
        self._give(BODY_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head = 0
        self._give(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._is_read_soon()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_read_soon()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._is_read_soon()

    def _is_read_soon(self) -> None:
        """Give whoever has an answer to read some time for it."""
        if self._unread is None and self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(READING_S, self._cut_unread)

    def _cut_unread(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _give(self, seconds: float | None) -> None:
        """So many seconds to what comes next; None: any."""
        if self._until is not None:
            self._until.cancel()
        self._until = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _refuse(self, status: bytes, words: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nretry-after: 10\r\n"
            b"connection: close\r\n\r\n%b" % (status, len(words), words)
        )
        self.transport.close()
        self._give(HEAD_S)


def limited(most: int, trusted: Addresses) -> type[asyncio.Protocol]:
    """The protocol of one server.

    Args:
        most: Number of connections that one address may hold at once.
        trusted: Addresses of proxies, which hold connections for everybody.
    """
    members: dict[str, Any] = {"most": most, "trusted": trusted, "held": Counter()}
    return type("Limited", (LimitedProtocol,), members)


def block_of(address: str) -> str:
    """What counts as one address: one of IPv4, and of IPv6 the 64 bits that a single connection to the internet is given."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))
