"""Dagster's webserver for one machine: it answers pages of its own origin, and no other page that a browser has open.

    python -m crowd_assets.commands.webserver [options of dagster-webserver]

Nor does it offer to add a partition by hand: a round's partition is made by its claim.

Dagster's GraphQL asks nobody who they are: without this a page from anywhere could start and delete runs by the browser of
whoever has it open.

Belongs here: that. Does not belong here: what is served.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_foreign(origin: str | None, host: str | None) -> bool:
    """Whether a request comes from a page of another origin, or asks by a name that is not this machine's own.

    Args:
        origin: Header ``Origin``, None where a browser sends none: of a page that is opened, or of a program.
        host: Header ``Host``: a name that somebody made lead to this machine is no name of it.
    """
    if host is None or urlsplit(f"//{host}").hostname not in LOOPBACK:
        return True
    if origin is None:
        return False
    asked = urlsplit(origin)
    return asked.scheme not in ("http", "https") or asked.netloc.lower() != host.lower()


class OwnOriginOnly:
    """ASGI middleware that answers foreign requests with 403, also those that would become WebSockets."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_foreign(headers.get("origin"), headers.get("host")):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"This server answers its own pages only.\n"})


def main() -> None:
    """Dagster's webserver with that in front of it."""
    from dagster_webserver.cli import cli
    from dagster_webserver.webserver import DagsterWebserver
    from starlette.middleware import Middleware

    from resources.tools.dagster_private import offer_no_partitions_by_hand

    offer_no_partitions_by_hand()

    ordinary = DagsterWebserver.build_middleware

    def build_middleware(self: Any) -> list[Middleware]:
        return [Middleware(OwnOriginOnly), *ordinary(self)]

    DagsterWebserver.build_middleware = build_middleware  # type: ignore[method-assign]
    cli(prog_name="dagster-webserver")


if __name__ == "__main__":
    main()
