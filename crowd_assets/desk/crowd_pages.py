"""Pages of people who take part: come in, agree, write, compare, offer, and see what was earned.

Belongs here: what each page asks and answers. Does not belong here: how a page looks (see ``pages``), what a form may hold (see ``forms``).
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crowd_assets.desk.connections import block_of
from crowd_assets.desk.database import DeskError
from crowd_assets.desk.desk import COOKIE, Desk, Refused
from crowd_assets.desk.forms import STRENGTHS, FormError, Problem, plain, shapes
from crowd_assets.desk.letting_in import SESSION_S, Form
from crowd_assets.desk.mine import own_page
from crowd_assets.desk.privacy import kept_about
from crowd_assets.desk.store import PREFERENCE, Person, Sent
from crowd_assets.desk.work import Comparison, Lot, Ranking
from crowd_assets.report.page import number

APPEALS_A_DAY = 10
LONGEST_APPEAL = 4_000
FREE = "free"
"""Stands for a prompt of the writer's own."""

Page = Callable[[Request], Awaitable[Response]]


def routes(desk: Desk) -> list[Route]:
    """The pages of the crowd."""

    def shown(make: Callable[[Request, Person], Response]) -> Page:
        """A page for somebody who agreed."""

        async def page(request: Request) -> Response:
            desk.looks.take(desk.named(request))
            return await run_in_threadpool(lambda: make(request, _agreed(desk, request)))

        return page

    def taken(take: Callable[[Request, Person, dict[str, str], Form], Response]) -> Page:
        """A form of somebody who agreed."""

        async def page(request: Request) -> Response:
            desk.paces.take(desk.named(request))
            fields = await desk.fields(request)

            def answer() -> Response:
                person = _agreed(desk, request)
                return take(request, person, fields, desk.form(fields, person))

            return await run_in_threadpool(answer)

        return page

    def start(request: Request, person: Person) -> Response:
        history = desk.store.history(person.name)
        return desk.page(
            "start",
            person=person,
            comparisons=0 if person.paused else desk.work.open_for(person.name, history),
            lots=len(desk.work.lots()),
            counts=history.counts,
            code=_code(desk, person, history.counts.total()),
        )

    def write(request: Request, person: Person) -> Response:
        return _form_page(desk, person, WRITE, request.query_params.get("lot", ""))

    def take_text(request: Request, person: Person, fields: dict[str, str], form: Form) -> Response:
        lot = desk.work.earlier_lot(form.subject)
        if lot is None and form.subject != FREE:
            return _form_page(desk, person, WRITE, FREE, problems=[_gone("")], fields=fields, status=409)
        return _taken(
            desk, person, WRITE, fields, form, lambda: desk.forms.demonstration(person.name, fields, form, lot)
        )

    def compare(request: Request, person: Person) -> Response:
        return _compare_page(desk, person)

    def take_judgement(request: Request, person: Person, fields: dict[str, str], form: Form) -> Response:
        found = desk.work.ranking(form.subject) or desk.work.comparison(form.subject)
        if found is None:
            raise Refused(409, "This comparison is asked no more.")
        if person.paused:
            raise Refused(403, "You are paused, so nothing was sent.")
        if "skip" in fields:
            asked = found.comparisons if isinstance(found, Ranking) else (found,)
            desk.store.skip(person.name, *(each.comparison_id for each in asked))
            return desk.to("/compare")
        try:
            if isinstance(found, Ranking):
                shown = desk.work.shown(person.name, found)
                sent = desk.forms.ranking(person.name, fields, form, found, shown=shown, pair=desk.work.pair)
            else:
                left_is_a = desk.work.left_is_a(person.name, found.comparison_id)
                pair = desk.work.pair(found)
                sent = [desk.forms.judgement(person.name, fields, form, found, left_is_a=left_is_a, pair=pair)]
        except FormError as problem:
            return _compare_page(desk, person, found, problem.problems, fields)
        new = desk.store.send(person.name, *sent)
        return _compare_page(desk, person, said=_thanks(new, "Your judgement"), receipt=sent[0].event_id)

    def offer(request: Request, person: Person) -> Response:
        return _form_page(desk, person, OFFER, request.query_params.get("lot", ""))

    def take_offer(request: Request, person: Person, fields: dict[str, str], form: Form) -> Response:
        lot = desk.work.lot(form.subject)
        if lot is None:
            gone = [_gone("Your answer stands below another prompt.")]
            return _form_page(desk, person, OFFER, "", problems=gone, fields=fields, status=409)
        return _taken(desk, person, OFFER, fields, form, lambda: desk.forms.offer(person.name, fields, form, lot))

    def mine(request: Request, person: Person) -> Response:
        return desk.page("mine", person=person, **own_page(desk, person), problem="", said="")

    def take_appeal(request: Request, person: Person, fields: dict[str, str], form: Form) -> Response:
        text, reference = plain(fields.get("text", "")), plain(fields.get("reference", ""))[:256]
        problem = ""
        if not text:
            problem = "Please write what is wrong."
        elif len(text) > LONGEST_APPEAL:
            problem = f"That has {len(text):,} characters; at most {LONGEST_APPEAL:,}."
        elif unseen := shapes("text", text + reference):
            problem = f"The appeal {unseen[0].text}."
        else:
            try:
                desk.store.appeal(person.name, reference, text, most_a_day=APPEALS_A_DAY)
            except DeskError as refusal:
                problem = str(refusal)
        said = "" if problem else "Your appeal lies with the operator."
        return desk.page(
            "mine", person=person, status=422 if problem else 200, **own_page(desk, person), problem=problem, said=said
        )

    def export(request: Request, person: Person) -> Response:
        kept = own_page(desk, person)
        content = {"desk": kept_about(desk.store, person.name), "rounds": kept["as_data"]}
        return Response(
            json.dumps(content, indent=2, ensure_ascii=False, default=str),
            media_type="application/json",
            headers={"content-disposition": 'attachment; filename="mine.json"'},
        )

    def ask_erasure(request: Request, person: Person, fields: dict[str, str], form: Form) -> Response:
        if fields.get("sure") == "yes":
            desk.store.ask_erasure(person.name)
            said, problem = "The operator has your request. Ids, points and payments stay; your texts go.", ""
        else:
            said, problem = "", "Please tick that you are sure: erased texts do not come back."
        return desk.page("mine", person=person, **own_page(desk, person), problem=problem, said=said)

    return [
        Route("/", shown(start)),
        Route("/write", shown(write), methods=["GET"]),
        Route("/write", taken(take_text), methods=["POST"]),
        Route("/compare", shown(compare), methods=["GET"]),
        Route("/compare", taken(take_judgement), methods=["POST"]),
        Route("/offer", shown(offer), methods=["GET"]),
        Route("/offer", taken(take_offer), methods=["POST"]),
        Route("/mine", shown(mine), methods=["GET"]),
        Route("/mine/appeal", taken(take_appeal), methods=["POST"]),
        Route("/mine/erase", taken(ask_erasure), methods=["POST"]),
        Route("/mine.json", shown(export), methods=["GET"]),
        *_doors(desk),
    ]


def _doors(desk: Desk) -> list[Route]:
    """How people come in, agree and leave."""

    def entered(request: Request, person: Person) -> Response:
        answer = desk.to("/consent")
        answer.set_cookie(
            COOKIE,
            desk.seals.session(person.name, person.link),
            max_age=SESSION_S,
            httponly=True,
            samesite="lax",
            secure=desk.is_secure(request),
        )
        return answer

    def invited(request: Request) -> Person:
        known = desk.seals.invited(request.path_params["token"])
        found = desk.store.person(known[0]) if known else None
        if known is None or found is None or found.link != known[1]:
            desk.looks.take(_address(request))  # many come from one address, and whoever has a link is no guesser
            raise Refused(
                404, "This invitation is not valid, or a newer one took its place. Please ask for a new link."
            )
        if found.revoked:
            raise Refused(403, "This invitation was withdrawn. Please ask whoever invited you.")
        desk.looks.take(found.name)
        return found

    async def join(request: Request) -> Response:
        found = await run_in_threadpool(invited, request)
        return desk.page("join", name=found.name)

    async def enter(request: Request) -> Response:
        return entered(request, await run_in_threadpool(invited, request))

    async def panel(request: Request) -> Response:
        if not desk.settings.desk_panel_code:
            raise Refused(404, "There is no such page.")
        desk.looks.take(_address(request))
        given = {name: request.query_params.get(name, "")[:64] for name in ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")}
        if not (given["PROLIFIC_PID"].isascii() and given["PROLIFIC_PID"].isalnum()):
            raise Refused(400, "The link has no participant's id: please open the study from Prolific again.")
        name = f"prolific:{given['PROLIFIC_PID']}"
        known = desk.seals.in_session(request.cookies.get(COOKIE, ""))
        if known is not None and known[0] != name and await run_in_threadpool(desk.is_known, known):
            raise Refused(409, f"You are here as {known[0]}. Leave first, on any page, and open the study again.")
        return entered(request, await run_in_threadpool(lambda: desk.store.come(name, source="panel", panel=given)))

    async def consent(request: Request) -> Response:
        desk.looks.take(desk.named(request))
        person = await run_in_threadpool(desk.person, request)
        text, version = desk.consent()
        if person.agreed:
            return desk.to("/")
        return desk.page("consent", person=person, text=text, version=version, problem="")

    async def agree(request: Request) -> Response:
        desk.paces.take(desk.named(request))
        fields = await desk.fields(request)
        person = await run_in_threadpool(desk.person, request)
        form = desk.form(fields, person)
        text, version = desk.consent()
        if fields.get("agreed") != "yes" or form.subject != version:
            problem = "Please tick that you agree, or close this page."
            return desk.page("consent", person=person, status=422, text=text, version=version, problem=problem)
        await run_in_threadpool(desk.store.agree, person.name, version)
        return desk.to("/")

    async def leave(request: Request) -> Response:
        desk.paces.take(desk.named(request))
        fields = await desk.fields(request)
        desk.form(fields, await run_in_threadpool(desk.person, request))
        answer = desk.page("left")
        answer.delete_cookie(COOKIE)
        return answer

    return [
        Route("/join/{token}", join, methods=["GET"]),
        Route("/join/{token}", enter, methods=["POST"]),
        Route("/panel", panel, methods=["GET"]),
        Route("/consent", consent, methods=["GET"]),
        Route("/consent", agree, methods=["POST"]),
        Route("/leave", leave, methods=["POST"]),
    ]


class NotAgreedError(Exception):
    """Somebody is let in and has not agreed to what is asked before anything else."""


def _agreed(desk: Desk, request: Request) -> Person:
    person = desk.person(request)
    if not person.agreed:
        raise NotAgreedError
    return person


@dataclass(frozen=True)
class _Writing:
    """A page on which texts are written: its template, the kind of feedback, what is acknowledged, and whether writers bring prompts of
    their own."""

    template: str
    kind: str
    what: str
    own_prompts: bool


WRITE, OFFER = _Writing("write", "demonstration", "Your text", True), _Writing("offer", "bid", "Your offer", False)


def _taken(
    desk: Desk, person: Person, page: _Writing, fields: dict[str, str], form: Form, make: Callable[[], Sent]
) -> Response:
    """Keep a form as a draft, or send what ``make`` makes of the form."""
    if "draft" in fields:
        kept = _kept(fields)
        most = desk.settings.max_text_characters
        if long := [
            Problem(name, f"is too long to be kept: at most {most:,} characters")
            for name in kept
            if len(kept[name]) > most
        ]:
            return _form_page(desk, person, page, form.subject, problems=long, fields=fields, status=422)
        desk.store.save_draft(person.name, page.kind, form.subject, kept)
        return _form_page(desk, person, page, form.subject, said="The draft is kept.")
    try:
        sent = make()
    except FormError as problem:
        return _form_page(desk, person, page, form.subject, problems=problem.problems, fields=fields, status=422)
    new = desk.store.send(person.name, sent)
    return _form_page(desk, person, page, "", said=_thanks(new, page.what), receipt=sent.event_id)


def _form_page(
    desk: Desk,
    person: Person,
    page: _Writing,
    chosen: str,
    *,
    said: str = "",
    receipt: str = "",
    problems: Sequence[Problem] = (),
    fields: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    lots = desk.work.lots()
    lot = None if page.own_prompts and chosen == FREE else _chosen(desk, person, page, chosen)
    subject = lot.lot_id if lot else FREE
    return desk.page(
        page.template,
        person=person,
        status=status,
        lots=lots,
        lot=lot,
        subject=subject,
        held=desk.store.draft(person.name, page.kind, subject) if fields is None else fields,
        problems={each.field: each.text for each in problems},
        said=said,
        receipt=receipt,
        currency=desk.settings.desk_currency,
        rate=desk.settings.desk_credit_rate,
    )


def _said(chance: float) -> str:
    """A place of the scale for whoever hears it."""
    more = (
        ", left almost certainly"
        if chance > 0.9
        else ", equally good"
        if chance == 0.5
        else ", right almost certainly"
        if chance < 0.1
        else ""
    )
    return f"{number(100 * chance)} percent{more}"


PLACES = [(str(place), number(100 * chance), _said(chance)) for place, chance in reversed(list(enumerate(STRENGTHS)))]


def _gone(more: str) -> Problem:
    return Problem("", f"The prompt is asked no more: a new round has begun, and nothing was sent. {more}".strip())


def _compare_page(
    desk: Desk,
    person: Person,
    found: Comparison | Ranking | None = None,
    problems: Any = (),
    fields: dict[str, str] | None = None,
    *,
    said: str = "",
    receipt: str = "",
) -> Response:
    history = desk.store.history(person.name)
    if found is None and not person.paused:
        found = desk.work.next_for(person.name, history)
    answers: list[str] = []
    if isinstance(found, Ranking):
        answers = [found.answers[number] for number in desk.work.shown(person.name, found)]
    elif found is not None:
        answers = [found.response_a, found.response_b]
        answers = answers if desk.work.left_is_a(person.name, found.comparison_id) else answers[::-1]
    return desk.page(
        "rank" if isinstance(found, Ranking) else "compare",
        person=person,
        status=422 if problems else 200,
        found=found,
        answers=answers,
        places=PLACES,
        held=fields or {},
        problems={each.field: each.text for each in problems},
        judged=history.counts[PREFERENCE],
        said=said,
        receipt=receipt,
    )


def _chosen(desk: Desk, person: Person, page: _Writing, lot_id: str) -> Lot | None:
    """The prompt that somebody asked for, for a text also one of an earlier round; else an open one by a draw of the person's own; None
    where there is none."""
    named = desk.work.earlier_lot(lot_id) if page is WRITE else desk.work.lot(lot_id)
    lots = desk.work.lots()
    if named is not None or not lots:
        return named
    return lots[desk.seals.drawn("prompt", person.name, str(desk.store.history(person.name).counts)) % len(lots)]


def _kept(fields: dict[str, str]) -> dict[str, str]:
    return {
        name: fields.get(name, "")
        for name in ("prompt", "response", "asked_price", "claimed_quality")
        if name in fields
    }


def _thanks(new: bool, what: str) -> str:
    return f"{what} is received." if new else f"{what} was received before, and counts once."


def _code(desk: Desk, person: Person, done: int) -> str:
    """The completion code of a panel, for who has done enough."""
    ready = person.source == "panel" and done >= desk.settings.desk_panel_tasks
    return desk.settings.desk_panel_code if ready else ""


def _address(request: Request) -> str:
    return block_of(request.client.host) if request.client else ""
