"""The desk as a web application: its pages, what every answer carries, and what becomes of what goes wrong.

Pages ask for nothing from elsewhere, run no script, and are never kept by a browser or a proxy between.

Belongs here: putting pages together. Does not belong here: a page.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crowd_assets.desk import crowd_pages, manager_pages
from crowd_assets.desk.crowd_pages import NotAgreedError
from crowd_assets.desk.desk import Desk, Refused
from crowd_assets.desk.letting_in import KeepsWaitingError

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class _OurPagesOnly:
    """ASGI middleware: forms come from our own pages, and every answer carries ``HEADERS``."""

    def __init__(self, app: ASGIApp, url: str) -> None:
        self._app, self._home = app, urlsplit(url).netloc.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = scope["path"] in ASSETS
                more = HEADERS | {"cache-control": "public, max-age=3600" if kept else "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in more.items()),
                ]
            await send(message)

        if scope["method"] == "POST" and _is_foreign(given, self._home):
            answer = PlainTextResponse("The desk takes forms of its own pages only.\n", status_code=403)
            await answer(scope, receive, sending)
            return
        await self._app(scope, receive, sending)


def _is_foreign(given: dict[str, str], home: str) -> bool:
    """Whether a form comes from a page of another origin than the one asked and the desk's address, as its browser says: a proxy may ask
    under a name of its own."""
    if given.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = given.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() not in {given.get("host", "").lower(), home} - {""}


ASSETS = ("/desk.css",)


def desk_app(desk: Desk) -> Starlette:
    """The desk; its courier runs while it is served."""

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        desk.courier.start()
        try:
            yield
        finally:
            desk.courier.stop()
            desk.store.close()

    def refused(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, Refused)
        return desk.page("refused", status=problem.status, words=problem.words)

    def not_agreed(request: Request, problem: Exception) -> Response:
        return desk.to("/consent")

    def too_fast(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, KeepsWaitingError)
        words = f"That was faster than people are. Nothing was sent; please try again in {problem.seconds:.0f} seconds."
        answer = desk.page("refused", status=429, words=words)
        answer.headers["retry-after"] = f"{problem.seconds:.0f}"
        return answer

    def missing(request: Request, problem: Exception) -> Response:
        status = problem.status_code if isinstance(problem, HTTPException) else 404
        words = "There is no such page." if status == 404 else "This page does not take that."
        return desk.page("refused", status=status, words=words)

    def broken(request: Request, problem: Exception) -> Response:
        return desk.page(
            "refused", status=500, words="Something went wrong here, and nothing was sent. Please try again."
        )

    async def health(request: Request) -> Response:
        waits = desk.courier.problem
        return PlainTextResponse(f"{waits or 'well'}\n", status_code=503 if waits else 200)

    async def style(request: Request) -> Response:
        return Response(STYLE, media_type="text/css")

    return Starlette(
        routes=[
            *crowd_pages.routes(desk),
            *manager_pages.routes(desk),
            Route("/health", health),
            Route("/desk.css", style),
        ],
        middleware=[Middleware(_OurPagesOnly, url=desk.url)],
        exception_handlers={
            Refused: refused,
            NotAgreedError: not_agreed,
            KeepsWaitingError: too_fast,
            HTTPException: missing,
            Exception: broken,
        },
        lifespan=running,
    )


STYLE = "".join(
    (files(package) / name).read_text(encoding="utf-8")
    for package, name in (("crowd_assets.report", "style.css"), ("crowd_assets.desk", "pages/desk.css"))
)
