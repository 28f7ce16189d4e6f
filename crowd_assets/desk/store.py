"""What the desk keeps: people, consents, drafts, what was sent and is on its way into the inbox, appeals.

What a person sent counts once the transaction is durable: then it is acknowledged, and the courier owes it to the inbox.

Belongs here: what is kept and asked. Does not belong here: transactions (see ``database``), the tables (see ``tables``), files in the inbox
(see ``courier``), what the desk keeps of one person and forgets (see ``privacy``).
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    Table,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from crowd_assets.desk.database import Database, DeskError
from crowd_assets.desk.tables import appeals, consents, drafts, erasures, people, seats, sent, skips
from resources.feedback.events import IDENTIFIER

CROWD, OPERATOR = "crowd", "operator"
PREFERENCE, _SKIPPED = "preference", "skipped"


@dataclass(frozen=True)
class Person:
    """Somebody who takes part.

    Attributes:
        name: ``contributor_id`` of what the person sends, before it becomes a pseudonym.
        role: ``crowd`` or ``operator``.
        source: ``invitation``, ``proxy`` or ``panel``.
        link: number of the invitation that is valid.
        revoked, paused: whether the person is let in no more, or given nothing to judge; ``paused_why`` in words.
        panel: ids that a panel gave.
        agreed: whether the person agreed to the consent that was asked about.
    """

    name: str
    role: str
    source: str
    link: int
    revoked: bool
    paused: bool
    paused_why: str
    panel: Mapping[str, str]
    agreed: bool


@dataclass(frozen=True)
class History:
    """What somebody did so far: comparisons judged or skipped (``done``), hashes of the texts sent and of the pairs judged (``written``), and
    how many events of each kind were sent (``counts``); the parts of a ranking are one."""

    done: set[str]
    written: set[str]
    counts: Counter[str]


@dataclass(frozen=True)
class Sent:
    """One event on its way: its id, kind and subject, the hash of its text, the line of feedback, seconds from page to form, and which part
    of one judgement the event is; None: all of it."""

    event_id: str
    kind: str
    subject: str
    text: str
    event: Mapping[str, Any]
    seconds: float | None
    share: float | None = None


class DeskStore:
    """The desk's tables, made and brought up to date as they are opened."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            DeskError: the tables are of a newer program.
        """
        self.database = Database(url)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    # People.

    def person(self, name: str, version: str = "") -> Person | None:
        """Who is known by a name, and whether the person agreed to a version of the consent."""
        with self.database.reading() as connection:
            row = connection.execute(_PERSON, {"who": name, "version": version}).mappings().first()
        return None if row is None else _person(row)

    def invite(
        self, names: Sequence[str], *, role: str = CROWD, source: str = "invitation", panel: str = ""
    ) -> list[Person]:
        """Let people in by name; who is known already gets a new link, and the old one is void.

        Raises:
            DeskError: a name is no identifier.
        """
        for name in names:
            if not IDENTIFIER.fullmatch(name):
                raise DeskError(
                    f"{name!r} is no name of a contributor: 1 to 128 letters, digits or one of _ . : @ | -, beginning with a "
                    "letter or digit."
                )
        with self.database.writing() as connection:
            for name in dict.fromkeys(names):
                known = connection.execute(select(people.c.link).where(people.c.name == name)).scalar()
                if known is None:
                    connection.execute(
                        insert(people).values(
                            name=name, role=role, source=source, link=1, invited_at=now(), panel=panel, paused_why=""
                        )
                    )
                else:
                    connection.execute(
                        update(people).where(people.c.name == name).values(link=known + 1, role=role, revoked_at=None)
                    )
        return [found for name in dict.fromkeys(names) if (found := self.person(name)) is not None]

    def come(self, name: str, *, source: str, role: str = CROWD, panel: Mapping[str, str] | None = None) -> Person:
        """Who comes by a proxy or a panel: known by name from the first time on.

        Raises:
            DeskError: the name is no identifier.
        """
        known = self.person(name)
        if known is None:
            try:
                (known,) = self.invite([name], role=role, source=source, panel=json.dumps(panel or {}))
            except IntegrityError:  # the person's other tab was faster
                known = self.person(name)
        assert known is not None
        return known

    def everybody(self) -> list[dict[str, Any]]:
        """People as rows, each with how many ``judgements``, ``texts`` and ``offers`` were sent, the median ``seconds`` of a judgement, and
        when the last came (``last_sent_at``)."""
        with self.database.reading() as connection:
            rows = [dict(row) for row in connection.execute(select(people).order_by(people.c.name)).mappings()]
            counts = {
                (name, kind): (number, last)
                for name, kind, number, last in connection.execute(
                    select(sent.c.name, sent.c.kind, _SENT, func.max(sent.c.sent_at)).group_by(sent.c.name, sent.c.kind)
                )
            }
            times: dict[str, list[float]] = {}
            for name, seconds in connection.execute(
                select(sent.c.name, sent.c.seconds).where(sent.c.kind == "preference", sent.c.seconds.is_not(None))
            ):
                times.setdefault(name, []).append(seconds)
        for row in rows:
            found = {
                kind: counts.get((row["name"], kind), (0, None)) for kind in ("preference", "demonstration", "bid")
            }
            row |= {"judgements": found["preference"][0], "texts": found["demonstration"][0], "offers": found["bid"][0]}
            row["last_sent_at"] = max((last for _, last in found.values() if last), default=None)
            taken = sorted(times.get(row["name"], []))
            row["seconds"] = taken[len(taken) // 2] if taken else None
        return rows

    def revoke(self, name: str) -> None:
        """Let somebody in no more.

        Raises:
            DeskError: nobody has the name.
        """
        self._change(name, revoked_at=now())

    def pause(self, name: str, why: str) -> None:
        """Give somebody nothing to judge until :meth:`unpause`.

        Raises:
            DeskError: nobody has the name.
        """
        self._change(name, paused_at=now(), paused_why=why)

    def unpause(self, name: str) -> None:
        """Give somebody comparisons again.

        Raises:
            DeskError: nobody has the name.
        """
        self._change(name, paused_at=None, paused_why="")

    def give_role(self, name: str, role: str) -> None:
        """Let somebody see the pages of a role from now on.

        Raises:
            DeskError: nobody has the name.
        """
        self._change(name, role=role)

    def _change(self, name: str, **values: Any) -> None:
        with self.database.writing() as connection:
            if not connection.execute(update(people).where(people.c.name == name).values(**values)).rowcount:
                raise DeskError(
                    f"{name}: nobody has this name at the desk. crowd-rounds invite --list shows who has which."
                )

    def agree(self, name: str, version: str) -> None:
        """Keep that somebody agreed to a version of the consent."""

        def work(connection: Connection) -> None:
            _insert_new(connection, consents, name=name, version=version, agreed_at=now())
            connection.execute(
                update(people).where(people.c.name == name, people.c.seen_at.is_(None)).values(seen_at=now())
            )

        self.database.write(work)

    # What people write.

    def save_draft(self, name: str, kind: str, subject: str, fields: Mapping[str, str]) -> None:
        """Keep what a form holds until it is sent."""
        row = {"name": name, "kind": kind, "subject": subject, "fields": json.dumps(dict(fields)), "saved_at": now()}

        def work(connection: Connection) -> None:
            connection.execute(_own(drafts, name, kind, subject))
            connection.execute(insert(drafts).values(row))

        self.database.write(work)

    def draft(self, name: str, kind: str, subject: str) -> dict[str, str]:
        """What a form held; empty where nothing was kept."""
        chosen = select(drafts.c.fields).where(
            drafts.c.name == name, drafts.c.kind == kind, drafts.c.subject == subject
        )
        with self.database.reading() as connection:
            found = connection.execute(chosen).scalar()
        return {} if found is None else dict(json.loads(found))

    def send(self, name: str, *events: Sent) -> bool:
        """Take the events of a form, all or none; when this returns they are durable.

        Returns:
            False where every one was sent before: the same form twice is one event.
        """
        sent_at = now()

        def work(connection: Connection) -> bool:
            new = False
            for one in events:
                row = {
                    "event_id": one.event_id,
                    "name": name,
                    "kind": one.kind,
                    "subject": one.subject,
                    "text": one.text,
                    "event": json.dumps(dict(one.event), ensure_ascii=False),
                    "sent_at": sent_at,
                    "seconds": one.seconds,
                    "share": one.share,
                }
                if connection.execute(_INSERT_SENT[connection.dialect.name], row).rowcount:
                    new = True
                    if one.kind != PREFERENCE:
                        connection.execute(_own(drafts, name, one.kind, one.subject))
            return new

        return bool(self.database.write(work))

    def skip(self, name: str, *subjects: str) -> None:
        """Ask somebody some comparisons no more."""

        def work(connection: Connection) -> None:
            for subject in subjects:
                _insert_new(connection, skips, name=name, subject=subject, skipped_at=now())

        self.database.write(work)

    def history(self, name: str) -> History:
        """What somebody did so far."""
        with self.database.reading() as connection:
            rows = connection.execute(_HISTORY, {"who": name}).all()
        shares: Counter[str] = Counter()
        for kind, _, _, share in rows:
            shares[kind] += share
        return History(
            {subject for kind, subject, *_ in rows if kind in (PREFERENCE, _SKIPPED)},
            {text for _, _, text, _ in rows if text},
            Counter({kind: round(share) for kind, share in shares.items() if kind != _SKIPPED}),
        )

    def has_seat(self, published: str, name: str) -> bool:
        """Whether somebody has a newcomer's seat in a file of assignments."""
        with self.database.reading() as connection:
            found = connection.execute(select(seats.c.seat).where(seats.c.published == published, seats.c.name == name))
            return found.first() is not None

    def seat(self, published: str, name: str, there_are: Sequence[int]) -> int | None:
        """A newcomer's seat in a file of assignments: the one that the person has, or the first that is free; None where none is left."""
        while True:
            with self.database.reading() as connection:
                taken = dict(
                    map(
                        tuple,
                        connection.execute(select(seats.c.name, seats.c.seat).where(seats.c.published == published)),
                    )
                )
            if name in taken:
                return int(taken[name])
            free = sorted(set(there_are) - set(taken.values()))
            if not free:
                return None
            try:
                with self.database.writing() as connection:
                    connection.execute(insert(seats).values(published=published, seat=free[0], name=name))
            except IntegrityError:  # somebody else sat down meanwhile
                continue
            return free[0]

    def judged(self) -> Counter[str]:
        """How many judgements each comparison has from the desk."""
        with self.database.reading() as connection:
            found = connection.execute(
                select(sent.c.subject, func.count()).where(sent.c.kind == "preference").group_by(sent.c.subject)
            )
            return Counter(dict(map(tuple, found)))

    # The way into the inbox.

    def batch(self, most: int) -> tuple[str, list[dict[str, Any]]] | None:
        """The next file for the inbox: its name and lines. One that was begun and not finished comes first, as it was."""
        with self.database.writing() as connection:
            begun = connection.execute(
                select(sent.c.batch)
                .where(sent.c.batch.is_not(None), sent.c.written_at.is_(None))
                .order_by(sent.c.batch)
                .limit(1)
            ).scalar()
            if begun is None:
                waiting = [
                    event_id
                    for (event_id,) in connection.execute(
                        select(sent.c.event_id)
                        .where(sent.c.batch.is_(None))
                        .order_by(sent.c.sent_at, sent.c.event_id)
                        .limit(most)
                    )
                ]
                if not waiting:
                    return None
                begun = f"desk-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
                for part in _parts(waiting, 500):
                    connection.execute(
                        update(sent).where(sent.c.event_id.in_(part), sent.c.batch.is_(None)).values(batch=begun)
                    )
            lines = _lines(connection, begun)
        return begun, lines

    def finish(self, batch: str) -> None:
        """Note that a file lies in the inbox, and keep its texts no longer."""
        with self.database.writing() as connection:
            connection.execute(update(sent).where(sent.c.batch == batch).values(written_at=now(), event=None))

    def waiting(self) -> int:
        """How many events are not in the inbox yet."""
        with self.database.reading() as connection:
            return int(connection.execute(select(func.count()).where(sent.c.written_at.is_(None))).scalar_one())

    # Appeals and requests.

    def appeal(self, name: str, reference: str, text: str, *, most_a_day: int) -> str:
        """Keep an appeal for the operator.

        Returns:
            its id.

        Raises:
            DeskError: the person sent ``most_a_day`` in the last 24 hours.
        """
        with self.database.writing() as connection:
            since = now() - timedelta(days=1)
            recent = connection.execute(
                select(func.count()).where(appeals.c.name == name, appeals.c.sent_at > since)
            ).scalar_one()
            if recent >= most_a_day:
                raise DeskError(f"You sent {recent} appeals in the last 24 hours. Please wait for the answers.")
            appeal_id = secrets.token_hex(8)
            connection.execute(
                insert(appeals).values(
                    appeal_id=appeal_id, name=name, reference=reference, text=text, sent_at=now(), answer=""
                )
            )
        return appeal_id

    def appeals(self, name: str | None = None) -> list[dict[str, Any]]:
        """Appeals of everybody or of one, those without an answer first, then the latest."""
        chosen = select(appeals).order_by(appeals.c.answered_at.is_not(None), appeals.c.sent_at.desc())
        with self.database.reading() as connection:
            return [
                dict(row)
                for row in connection.execute(
                    chosen if name is None else chosen.where(appeals.c.name == name)
                ).mappings()
            ]

    def answer(self, appeal_id: str, text: str) -> None:
        """Answer an appeal.

        Raises:
            DeskError: there is none of that id.
        """
        with self.database.writing() as connection:
            changed = connection.execute(
                update(appeals).where(appeals.c.appeal_id == appeal_id).values(answer=text, answered_at=now())
            )
            if not changed.rowcount:
                raise DeskError(f"{appeal_id}: there is no such appeal. crowd-rounds appeals lists them.")

    def ask_erasure(self, name: str) -> None:
        """Keep that somebody wants their texts erased."""
        self.database.write(lambda connection: _insert_new(connection, erasures, name=name, asked_at=now()))

    def erasures_asked(self) -> list[str]:
        """Who asked for their texts to be erased and still waits."""
        with self.database.reading() as connection:
            return [
                name
                for (name,) in connection.execute(
                    select(erasures.c.name).where(erasures.c.done_at.is_(None)).order_by(erasures.c.asked_at)
                )
            ]


_PERSON = (
    select(people, consents.c.agreed_at.label("agreed"))
    .select_from(
        people.outerjoin(consents, and_(consents.c.name == people.c.name, consents.c.version == bindparam("version")))
    )
    .where(people.c.name == bindparam("who"))
)
_HISTORY = union_all(
    select(sent.c.kind, sent.c.subject, sent.c.text, func.coalesce(sent.c.share, 1.0)).where(
        sent.c.name == bindparam("who")
    ),
    select(literal(_SKIPPED), skips.c.subject, literal(""), literal(0.0)).where(skips.c.name == bindparam("who")),
)
_INSERT_SENT = {
    each.dialect.name: each.insert(sent).on_conflict_do_nothing(index_elements=[sent.c.event_id])
    for each in (sqlite, postgresql)
}
_SENT = cast(func.round(func.sum(func.coalesce(sent.c.share, 1.0))), Integer)
"""How many events were sent, the parts of one judgement together as one."""


def _person(row: Mapping[Any, Any]) -> Person:
    return Person(
        row["name"],
        row["role"],
        row["source"],
        row["link"],
        row["revoked_at"] is not None,
        row["paused_at"] is not None,
        row["paused_why"],
        json.loads(row["panel"] or "{}"),
        row["agreed"] is not None,
    )


def _insert_new(connection: Connection, table: Table, **values: Any) -> None:
    """Insert a row where there is none of its key."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(dialect.insert(table).values(values).on_conflict_do_nothing())


def _own(table: Any, name: str, kind: str, subject: str) -> Any:
    return delete(table).where(table.c.name == name, table.c.kind == kind, table.c.subject == subject)


def _lines(connection: Connection, batch: str) -> list[dict[str, Any]]:
    chosen = (
        select(sent.c.event)
        .where(sent.c.batch == batch, sent.c.event.is_not(None))
        .order_by(sent.c.sent_at, sent.c.event_id)
    )
    return [json.loads(line) for (line,) in connection.execute(chosen)]


def _parts(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def now() -> datetime:
    """UTC, without a zone, as every database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)
