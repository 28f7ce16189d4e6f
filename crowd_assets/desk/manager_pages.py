"""Pages of operators: what waits, who takes part, how far judges agree, appeals, payouts, invitations.

Whatever is done here a command does as well: ``crowd-rounds invite``, ``pause``, ``appeals``, ``payouts``, ``agreement``.

Belongs here: what each page asks and answers. Does not belong here: how agreement is computed (see ``crowd_assets.report``).
"""

from typing import Any

import polars as pl
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crowd_assets.desk.database import DeskError
from crowd_assets.desk.desk import Desk, Refused
from crowd_assets.desk.people import new_names, payouts, payouts_as_csv
from crowd_assets.desk.work import Work

MOST_INVITED = 1_000
RESAMPLES = 200


def routes(desk: Desk) -> list[Route]:
    """The pages of operators."""

    def overview(
        problem: str = "", said: str = "", links: list[tuple[str, str]] | None = None, **more: Any
    ) -> dict[str, Any]:
        people = desk.store.everybody()
        return {
            "waiting": desk.store.waiting(),
            "courier": desk.courier.problem,
            "coverage": _coverage(desk.work),
            "lots": len(desk.work.lots()),
            "people": people,
            "appeals": desk.store.appeals(),
            "erasures": desk.store.erasures_asked(),
            "problem": problem,
            "said": said,
            "links": links or [],
            **more,
        }

    async def manage(request: Request) -> Response:
        person = await run_in_threadpool(desk.operator, request)
        return desk.page("manage", person=person, **await run_in_threadpool(overview))

    async def act(request: Request) -> Response:
        desk.paces.take(desk.named(request))
        fields = await desk.fields(request)
        person = await run_in_threadpool(desk.operator, request)
        desk.form(fields, person)

        def done() -> dict[str, Any]:
            try:
                return overview(**_act(desk, fields))
            except DeskError as problem:
                return overview(problem=str(problem))

        values = await run_in_threadpool(done)
        return desk.page("manage", person=person, status=422 if values["problem"] else 200, **values)

    async def agreement(request: Request) -> Response:
        person = await run_in_threadpool(desk.operator, request)
        figures = await run_in_threadpool(_agreement, desk)
        columns = [
            (name, name.replace("_", " ")) for name in (figures["people"][0] if figures and figures["people"] else ())
        ]
        return desk.page("agreement", person=person, figures=figures, people_columns=columns)

    async def paid(request: Request) -> Response:
        person = await run_in_threadpool(desk.operator, request)
        since, through = request.query_params.get("since", ""), request.query_params.get("through", "")

        def owed() -> pl.DataFrame:
            names = [row["name"] for row in desk.store.everybody()]
            return payouts(desk.settings, desk.warehouse, names=names, since=since, through=through)

        rows = await run_in_threadpool(owed)
        if request.url.path.endswith(".csv"):
            return Response(
                payouts_as_csv(rows),
                media_type="text/csv; charset=utf-8",
                headers={"content-disposition": 'attachment; filename="payouts.csv"'},
            )
        return desk.page(
            "payouts",
            person=person,
            rows=rows.to_dicts(),
            since=since,
            through=through,
            currency=desk.settings.desk_currency,
            rate=desk.settings.desk_credit_rate,
        )

    return [
        Route("/manage", manage, methods=["GET"]),
        Route("/manage", act, methods=["POST"]),
        Route("/manage/agreement", agreement, methods=["GET"]),
        Route("/manage/payouts", paid, methods=["GET"]),
        Route("/manage/payouts.csv", paid, methods=["GET"]),
    ]


def _act(desk: Desk, fields: dict[str, str]) -> dict[str, Any]:
    """Do what a form of the page asks for.

    Raises:
        DeskError: it cannot be done.
        Refused: no form asks for it.
    """
    name, what = fields.get("name", ""), fields.get("do", "")
    if what == "invite":
        count = fields.get("count", "")
        if not count.isdecimal() or not 1 <= int(count) <= MOST_INVITED:
            raise DeskError(f"Say how many people to invite, from 1 to {MOST_INVITED}.")
        people = desk.store.invite(new_names(desk.store, int(count)))
        return {
            "said": f"{len(people)} invitations",
            "links": [(each.name, desk.invitation_url(each)) for each in people],
        }
    if what == "link":
        (person,) = desk.store.invite([name])
        return {"said": f"{name}: a new link; the old one is void", "links": [(name, desk.invitation_url(person))]}
    if what == "pause":
        desk.store.pause(name, fields.get("why", "").strip() or "by the operator")
        return {"said": f"{name} is given nothing to judge"}
    if what == "unpause":
        desk.store.unpause(name)
        return {"said": f"{name} is given comparisons again"}
    if what == "revoke":
        desk.store.revoke(name)
        return {"said": f"{name} is let in no more"}
    if what == "answer":
        desk.store.answer(fields.get("appeal", ""), fields.get("text", "").strip() or "seen")
        return {"said": "The appeal is answered"}
    raise Refused(400, "There is no such form.")


def _coverage(work: Work) -> list[tuple[str, int]]:
    return [(str(judgements), comparisons) for judgements, comparisons in work.coverage().items()]


def _agreement(desk: Desk) -> dict[str, Any] | None:
    """The figures of ``crowd-rounds agreement``; None before any judgement was settled."""
    from crowd_assets.report.agreement import campaign_figures, judgements_of
    from resources.warehouse.snapshot import NoSnapshotError

    try:
        judged = judgements_of(desk.warehouse, desk.resources.frames)
        return None if judged.is_empty() else campaign_figures(judged, desk.warehouse, resamples=RESAMPLES)
    except NoSnapshotError:
        return None
