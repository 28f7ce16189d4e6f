"""The desk's database: people, consents, drafts, what was sent and is on its way into the inbox, appeals.

SQLite beside the home by default, PostgreSQL where the home's tables are there. What a person sent counts once the transaction is
durable: then it is acknowledged, and the courier owes it to the inbox.

Belongs here: what is kept and asked. Does not belong here: the tables (see ``tables``), files in the inbox (see ``courier``).
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    Connection,
    Engine,
    Integer,
    and_,
    bindparam,
    cast,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from crowd_assets.desk.tables import appeals, consents, drafts, erasures, people, seats, sent, skips
from crowd_assets.operations.backup import DESK
from resources.common.errors import OperatorError
from resources.feedback.events import IDENTIFIER
from resources.feedback.pseudonyms import HomePseudonyms
from resources.settings.settings import Settings
from resources.warehouse.base import WarehouseResource

LONGEST_WAIT_S = 30.0
CROWD, OPERATOR = "crowd", "operator"
PREFERENCE, _SKIPPED = "preference", "skipped"


class DeskError(OperatorError, ValueError):
    """What was asked of the desk's database cannot be; the message says why."""


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


def database_url(settings: Settings) -> str:
    """Where the desk's tables are: SQLAlchemy's URL, without a password (``PGPASSWORD``, ``PGPASSFILE``)."""
    if settings.warehouse:
        return settings.warehouse.replace("postgresql://", "postgresql+psycopg://", 1).replace(
            "postgres://", "postgresql+psycopg://", 1
        )
    return f"sqlite:///{Path(settings.home, DESK)}"


class DeskStore:
    """The desk's tables, made and brought up to date as they are opened."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            OperatorError: the tables are of a newer program.
        """
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"), pool_size=20, max_overflow=40)
        if url.startswith("sqlite"):
            event.listen(self._engine, "connect", _prepare_sqlite)
        migrate(self._engine)
        self._turns = Lock()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that writes. Threads of one process take turns: whom SQLite finds waiting it looks at again ever more seldom."""
        if self._engine.dialect.name != "sqlite":
            with self._engine.begin() as connection:
                yield connection
            return
        with self._turns, self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    # People.

    def person(self, name: str, version: str = "") -> Person | None:
        """Who is known by a name, and whether the person agreed to a version of the consent."""
        with self._engine.connect() as connection:
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
        with self._writing() as connection:
            for name in dict.fromkeys(names):
                known = connection.execute(select(people.c.link).where(people.c.name == name)).scalar()
                if known is None:
                    connection.execute(
                        insert(people).values(
                            name=name, role=role, source=source, link=1, invited_at=_now(), panel=panel, paused_why=""
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
        with self._engine.connect() as connection:
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
        self._change(name, revoked_at=_now())

    def pause(self, name: str, why: str) -> None:
        """Give somebody nothing to judge until :meth:`unpause`.

        Raises:
            DeskError: nobody has the name.
        """
        self._change(name, paused_at=_now(), paused_why=why)

    def unpause(self, name: str) -> None:
        """Give somebody comparisons again.

        Raises:
            DeskError: nobody has the name.
        """
        self._change(name, paused_at=None, paused_why="")

    def _change(self, name: str, **values: Any) -> None:
        with self._writing() as connection:
            if not connection.execute(update(people).where(people.c.name == name).values(**values)).rowcount:
                raise DeskError(
                    f"{name}: nobody has this name at the desk. crowd-rounds invite --list shows who has which."
                )

    def agree(self, name: str, version: str) -> None:
        """Keep that somebody agreed to a version of the consent."""
        with self._writing() as connection:
            known = connection.execute(
                select(consents.c.name).where(consents.c.name == name, consents.c.version == version)
            )
            if known.first() is None:
                connection.execute(insert(consents).values(name=name, version=version, agreed_at=_now()))
            connection.execute(
                update(people).where(people.c.name == name, people.c.seen_at.is_(None)).values(seen_at=_now())
            )

    # What people write.

    def save_draft(self, name: str, kind: str, subject: str, fields: Mapping[str, str]) -> None:
        """Keep what a form holds until it is sent."""
        with self._writing() as connection:
            connection.execute(_own(drafts, name, kind, subject))
            connection.execute(
                insert(drafts).values(
                    name=name, kind=kind, subject=subject, fields=json.dumps(dict(fields)), saved_at=_now()
                )
            )

    def draft(self, name: str, kind: str, subject: str) -> dict[str, str]:
        """What a form held; empty where nothing was kept."""
        chosen = select(drafts.c.fields).where(
            drafts.c.name == name, drafts.c.kind == kind, drafts.c.subject == subject
        )
        with self._engine.connect() as connection:
            found = connection.execute(chosen).scalar()
        return {} if found is None else dict(json.loads(found))

    def send(self, name: str, *events: Sent) -> bool:
        """Take the events of a form, all or none; when this returns they are durable.

        Returns:
            False where every one was sent before: the same form twice is one event.
        """
        now = _now()
        rows = {
            one.event_id: {
                "event_id": one.event_id,
                "name": name,
                "kind": one.kind,
                "subject": one.subject,
                "text": one.text,
                "event": json.dumps(dict(one.event), ensure_ascii=False),
                "sent_at": now,
                "seconds": one.seconds,
                "share": one.share,
            }
            for one in events
        }
        while True:
            try:
                with self._writing() as connection:
                    connection.execute(_INSERT_SENT, list(rows.values()))
                    for one in events:
                        if one.kind != PREFERENCE:
                            connection.execute(_own(drafts, name, one.kind, one.subject))
            except IntegrityError:
                with self._engine.connect() as connection:
                    known = set(connection.scalars(select(sent.c.event_id).where(sent.c.event_id.in_(list(rows)))))
                if not known:
                    raise  # it was no event sent before that was refused
                rows = {key: row for key, row in rows.items() if key not in known}
                if not rows:
                    return False
            else:
                return True

    def skip(self, name: str, *subjects: str) -> None:
        """Ask somebody some comparisons no more."""
        for subject in subjects:
            with suppress(IntegrityError), self._writing() as connection:
                connection.execute(insert(skips).values(name=name, subject=subject, skipped_at=_now()))

    def history(self, name: str) -> History:
        """What somebody did so far."""
        with self._engine.connect() as connection:
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
        with self._engine.connect() as connection:
            found = connection.execute(select(seats.c.seat).where(seats.c.published == published, seats.c.name == name))
            return found.first() is not None

    def seat(self, published: str, name: str, there_are: Sequence[int]) -> int | None:
        """A newcomer's seat in a file of assignments: the one that the person has, or the first that is free; None where none is left."""
        while True:
            with self._engine.connect() as connection:
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
                with self._writing() as connection:
                    connection.execute(insert(seats).values(published=published, seat=free[0], name=name))
            except IntegrityError:  # somebody else sat down meanwhile
                continue
            return free[0]

    def judged(self) -> Counter[str]:
        """How many judgements each comparison has from the desk."""
        with self._engine.connect() as connection:
            found = connection.execute(
                select(sent.c.subject, func.count()).where(sent.c.kind == "preference").group_by(sent.c.subject)
            )
            return Counter(dict(map(tuple, found)))

    # The way into the inbox.

    def batch(self, most: int) -> tuple[str, list[dict[str, Any]]] | None:
        """The next file for the inbox: its name and lines. One that was begun and not finished comes first, as it was."""
        with self._writing() as connection:
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
        with self._writing() as connection:
            connection.execute(update(sent).where(sent.c.batch == batch).values(written_at=_now(), event=None))

    def waiting(self) -> int:
        """How many events are not in the inbox yet."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).where(sent.c.written_at.is_(None))).scalar_one())

    # Appeals and requests.

    def appeal(self, name: str, reference: str, text: str, *, most_a_day: int) -> str:
        """Keep an appeal for the operator.

        Returns:
            its id.

        Raises:
            DeskError: the person sent ``most_a_day`` in the last 24 hours.
        """
        with self._writing() as connection:
            since = _now() - timedelta(days=1)
            recent = connection.execute(
                select(func.count()).where(appeals.c.name == name, appeals.c.sent_at > since)
            ).scalar_one()
            if recent >= most_a_day:
                raise DeskError(f"You sent {recent} appeals in the last 24 hours. Please wait for the answers.")
            appeal_id = secrets.token_hex(8)
            connection.execute(
                insert(appeals).values(
                    appeal_id=appeal_id, name=name, reference=reference, text=text, sent_at=_now(), answer=""
                )
            )
        return appeal_id

    def appeals(self, name: str | None = None) -> list[dict[str, Any]]:
        """Appeals of everybody or of one, those without an answer first, then the latest."""
        chosen = select(appeals).order_by(appeals.c.answered_at.is_not(None), appeals.c.sent_at.desc())
        with self._engine.connect() as connection:
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
        with self._writing() as connection:
            changed = connection.execute(
                update(appeals).where(appeals.c.appeal_id == appeal_id).values(answer=text, answered_at=_now())
            )
            if not changed.rowcount:
                raise DeskError(f"{appeal_id}: there is no such appeal. crowd-rounds appeals lists them.")

    def ask_erasure(self, name: str) -> None:
        """Keep that somebody wants their texts erased."""
        try:
            with self._writing() as connection:
                connection.execute(insert(erasures).values(name=name, asked_at=_now()))
        except IntegrityError:
            return

    def erasures_asked(self) -> list[str]:
        """Who asked for their texts to be erased and still waits."""
        with self._engine.connect() as connection:
            return [
                name
                for (name,) in connection.execute(
                    select(erasures.c.name).where(erasures.c.done_at.is_(None)).order_by(erasures.c.asked_at)
                )
            ]

    def forget(self, name: str, *, identifier: bool = False) -> int:
        """Remove every text of somebody that the desk still has; what lies in the inbox is for ``crowd-rounds erase``.

        Args:
            identifier: Whether the person goes as well: that a judgement was sent stays, under a name that is nobody's.

        Returns:
            how many events, drafts and appeals lost their text.
        """
        with self._writing() as connection:
            gone = connection.execute(delete(sent).where(sent.c.name == name, sent.c.written_at.is_(None))).rowcount
            gone += connection.execute(delete(drafts).where(drafts.c.name == name)).rowcount
            gone += connection.execute(
                update(appeals).where(appeals.c.name == name).values(text="[erased on request]")
            ).rowcount
            connection.execute(
                update(erasures).where(erasures.c.name == name, erasures.c.done_at.is_(None)).values(done_at=_now())
            )
            if identifier:
                connection.execute(
                    update(sent).where(sent.c.name == name).values(name=f"erased-{secrets.token_hex(8)}", text="")
                )
                for table in (people, consents, skips, seats, appeals, erasures):
                    connection.execute(delete(table).where(table.c.name == name))
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:  # the log holds the pages as they were
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(gone)

    def kept_about(self, name: str) -> dict[str, Any]:
        """All that the desk keeps about somebody, as JSON has it."""
        with self._engine.connect() as connection:
            tables = {
                "person": people,
                "consents": consents,
                "drafts": drafts,
                "sent": sent,
                "skipped": skips,
                "seats": seats,
                "appeals": appeals,
                "erasures": erasures,
            }
            return {
                what: [
                    {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
                    for row in connection.execute(select(table).where(table.c.name == name)).mappings()
                ]
                for what, table in tables.items()
            }


def forget_at_desk(
    settings: Settings, warehouse: WarehouseResource, names: Sequence[str], *, identifier: bool = False
) -> int:
    """:meth:`DeskStore.forget` for whoever has one of some names or pseudonyms, where there is a desk.

    Returns:
        how many events, drafts and appeals lost their text.
    """
    with _known_at_desk(settings, warehouse, names) as (store, known):
        return sum(store.forget(name, identifier=identifier) for name in known if store is not None)


def kept_at_desk(settings: Settings, warehouse: WarehouseResource, names: Sequence[str]) -> list[dict[str, Any]]:
    """:meth:`DeskStore.kept_about` for whoever has one of some names or pseudonyms; nothing where there is no desk."""
    with _known_at_desk(settings, warehouse, names) as (store, known):
        return [store.kept_about(name) for name in known if store is not None]


@contextmanager
def _known_at_desk(
    settings: Settings, warehouse: WarehouseResource, names: Sequence[str]
) -> Iterator[tuple[DeskStore | None, list[str]]]:
    """The desk's tables, and the names that people have there who have one of some names or pseudonyms."""
    if not settings.warehouse and not Path(settings.home, DESK).exists():
        yield None, []
        return
    pseudonyms, store = HomePseudonyms.of_home(warehouse), DeskStore(database_url(settings))
    try:
        known = sorted(row["name"] for row in store.everybody())
        yield store, [name for name in known if name in names or pseudonyms.found(name) in names]
    finally:
        store.close()


def migrate(engine: Engine) -> None:
    """Bring the desk's tables to the form that this program knows.

    Raises:
        DeskError: they are of a newer program.
    """
    from alembic.script import ScriptDirectory
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "crowd_assets.desk:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except (CommandError, ResolutionError):
            head = ScriptDirectory.from_config(config).get_current_head()
            raise DeskError(
                f"the desk's tables are of a newer program than this one, which knows version {head}: install the newer one."
            ) from None


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
_INSERT_SENT = insert(sent)
_SENT = cast(func.round(func.sum(func.coalesce(sent.c.share, 1.0))), Integer)
"""How many events were sent, the parts of one judgement together as one."""


def _prepare_sqlite(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # what is acknowledged outlives a power cut
    cursor.execute("PRAGMA secure_delete=ON")  # what is erased is written over
    cursor.execute(f"PRAGMA busy_timeout={int(1000 * LONGEST_WAIT_S)}")
    cursor.close()


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


def _now() -> datetime:
    """UTC, without a zone, as every database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)
