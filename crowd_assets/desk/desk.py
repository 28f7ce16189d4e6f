"""The desk as one thing: settings, database, what is published, what is sealed, and the snapshot; and how its pages are made.

Belongs here: putting these together. Does not belong here: what a page asks and answers (see ``crowd_pages``, ``manager_pages``).
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from crowd_assets.desk.courier import Courier
from crowd_assets.desk.database import DeskError, database_url
from crowd_assets.desk.forms import Forms
from crowd_assets.desk.letting_in import Form, Paces, Seals
from crowd_assets.desk.store import CROWD, OPERATOR, DeskStore, Person
from crowd_assets.desk.work import Work
from crowd_assets.report.page import number, plural, share, signed
from resources.build import Resources
from resources.rounds.secret import home_secret
from resources.settings.settings import Settings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.snapshot import SnapshotWarehouse

COOKIE = "desk"
PORT = 3080
LARGEST_FORM = 1 << 20  # bytes
SLOWEST_FORM_S = 30.0


class Refused(Exception):  # noqa: N818  # an answer, not a fault
    """What was asked for is not given; ``status`` and words for the person."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


@dataclass(frozen=True)
class Desk:
    """What every page works with."""

    settings: Settings
    store: DeskStore
    seals: Seals
    work: Work
    forms: Forms
    courier: Courier
    warehouse: WarehouseResource
    resources: Resources
    url: str
    paces: Paces
    looks: Paces = field(default_factory=lambda: Paces(600))

    def is_secure(self, request: Request) -> bool:
        """Whether somebody comes by TLS, as the desk's address or a proxy on this machine says: then cookies travel by TLS alone."""
        return self.url.startswith("https://") or request.url.scheme == "https"

    def invitation_url(self, person: Person) -> str:
        """The link that lets somebody in."""
        return f"{self.url}/join/{self.seals.invitation(person.name, person.link)}"

    def consent(self) -> tuple[str, str]:
        """The text that people agree to, and its version."""
        text = self.settings.consent_text() or _usual_consent()
        return text, hashlib.sha256(text.encode()).hexdigest()[:12]

    def person(self, request: Request) -> Person:
        """Who asks.

        Raises:
            Refused: nobody who is let in.
        """
        found = self._by_proxy(request) if self.settings.desk_user_header else self._by_session(request)
        if found is None:
            raise Refused(401, "Please open the desk by your own invitation link.")
        if found.revoked:
            raise Refused(403, "This invitation was withdrawn. Please ask whoever invited you.")
        return found

    def operator(self, request: Request) -> Person:
        """The operator who asks.

        Raises:
            Refused: somebody else does.
        """
        found = self.person(request)
        if found.role != OPERATOR:
            raise Refused(403, "This page is for operators.")
        return found

    def named(self, request: Request) -> str:
        """Whom a request names, before anything is read or looked up.

        Raises:
            Refused: nobody.
        """
        known = self._session(request)
        name = self._in_header(request) if self.settings.desk_user_header else known[0] if known else ""
        if not name:
            raise Refused(401, "Please open the desk by your own invitation link.")
        return name

    def _by_session(self, request: Request) -> Person | None:
        known = self._session(request)
        if known is None:
            return None
        found = self.store.person(known[0], self.consent()[1])
        return found if found is not None and found.link == known[1] else None

    def _session(self, request: Request) -> tuple[str, int] | None:
        """Whose session a request is of, read once."""
        if not hasattr(request.state, "session"):
            request.state.session = self.seals.in_session(request.cookies.get(COOKIE, ""))
        found: tuple[str, int] | None = request.state.session
        return found

    def is_known(self, session: tuple[str, int]) -> bool:
        """Whether a session that was signed here is still somebody's."""
        found = self.store.person(session[0])
        return found is not None and found.link == session[1] and not found.revoked

    def _by_proxy(self, request: Request) -> Person | None:
        given = self._in_header(request)
        if not given:
            return None
        operators = {each.strip() for each in self.settings.desk_operators.split(",") if each.strip()}
        known = self.store.person(given, self.consent()[1])
        role = OPERATOR if given in operators else CROWD
        try:
            if known is None:
                return self.store.come(given, source="proxy", role=role)
            if known.source == "proxy" and known.role != role:  # the setting has changed since
                self.store.give_role(given, role)
                return replace(known, role=role)
            return known
        except DeskError as problem:
            raise Refused(403, f"The proxy names you in a way that no contributor can be named: {problem}") from None

    def _in_header(self, request: Request) -> str:
        """The name that the proxy gives; a header that comes twice was not set by the proxy alone."""
        given = request.headers.getlist(self.settings.desk_user_header)
        if len(given) > 1:
            raise Refused(
                400, "The request names two people. The proxy has to replace what browsers send in this header."
            )
        return given[0].strip() if given else ""

    async def fields(self, request: Request) -> dict[str, str]:
        """What a form holds.

        Raises:
            Refused: the form is too large, comes too slowly, or cannot be read.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(SLOWEST_FORM_S):
                async for part in request.stream():
                    body += part
                    if len(body) > LARGEST_FORM:
                        raise Refused(413, f"That is too much for one form: at most {LARGEST_FORM >> 20} MiB.")
        except TimeoutError:
            raise Refused(408, "The form came too slowly, and nothing was sent. Please try again.") from None
        try:
            pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=200, errors="strict")
        except ValueError:
            raise Refused(400, "The form could not be read.") from None
        return dict(pairs)

    def form(self, fields: Mapping[str, str], person: Person) -> Form:
        """What the token of somebody's form says.

        Raises:
            Refused: the form comes from another page or is older than a day.
        """
        form = self.seals.of_form(fields.get("token", ""))
        if form is None or form.name != person.name:
            raise Refused(400, "The form is older than a day, or not from this page. Please open the page again.")
        return form

    def page(self, template: str, *, person: Person | None = None, status: int = 200, **values: Any) -> Response:
        """A page."""
        text = (
            _environment()
            .get_template(f"{template}.html.jinja")
            .render(
                person=person,
                is_operator=person is not None and person.role == OPERATOR,
                by_link=not self.settings.desk_user_header,
                sealed=(lambda subject="": self.seals.form(person.name, subject))
                if person
                else (lambda subject="": ""),
                **values,
            )
        )
        return HTMLResponse(text, status_code=status)

    def to(self, path: str) -> Response:
        """Go on to another page of the desk after a form."""
        return RedirectResponse(path, status_code=303)


def open_desk(settings: Settings, resources: Resources, url: str) -> Desk:
    """The desk of a home.

    Args:
        url: Where people reach the desk.

    Raises:
        OperatorError: its database is of a newer program, or the consent's file cannot be read.
    """
    store = DeskStore(database_url(settings))
    seals = Seals(home_secret(settings))
    warehouse: WarehouseResource = resources.warehouse
    if not settings.warehouse:
        warehouse = SnapshotWarehouse(path=resources.warehouse.path)
    desk = Desk(
        settings,
        store,
        seals,
        Work(
            resources.outbox,
            seals,
            store,
            warehouse,
            settings.desk_judgements,
            ranked=settings.desk_ranked,
            required=settings.assignments == "required",
        ),
        Forms(settings, seals),
        Courier(store, resources.inbox, settings.desk_batch_s),
        warehouse,
        resources,
        url.rstrip("/"),
        Paces(settings.desk_forms_per_minute),
    )
    desk.consent()
    return desk


@lru_cache(maxsize=1)
def _usual_consent() -> str:
    return (files("crowd_assets.desk") / "consent.txt").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("crowd_assets.desk", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Any] = {"number": number, "plural": plural, "share": share, "signed": signed}
    environment.filters |= filters
    return environment
