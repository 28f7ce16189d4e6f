"""The desk's own tables: who takes part, what they agreed to, what they sent and whether it lies in the inbox.

Texts of people stay here until they lie in the inbox, and are removed then.

Belongs here: tables. Does not belong here: how they come to be (see ``migrations``), what is asked of them (see ``store``).
"""

from sqlalchemy import Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

people = Table(
    "desk_people",
    metadata,
    Column("name", String(128), primary_key=True, comment="contributor_id in feedback, before it becomes a pseudonym"),
    Column("role", String(16), nullable=False, comment="crowd or operator"),
    Column("source", String(16), nullable=False, comment="invitation, proxy or panel"),
    Column("link", Integer, nullable=False, comment="number of the invitation that is valid; older ones are void"),
    Column("invited_at", DateTime, nullable=False),
    Column("seen_at", DateTime, comment="when the person came first"),
    Column("revoked_at", DateTime, comment="since when the person is let in no more"),
    Column("paused_at", DateTime, comment="since when the person is given nothing to judge"),
    Column("paused_why", Text, nullable=False, server_default=""),
    Column("panel", Text, nullable=False, server_default="", comment="study and session of a panel, as JSON"),
)
consents = Table(
    "desk_consents",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("version", String(32), primary_key=True, comment="hash of the text that was agreed to"),
    Column("agreed_at", DateTime, nullable=False),
)
drafts = Table(
    "desk_drafts",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("subject", String(128), primary_key=True),
    Column("fields", Text, nullable=False, comment="of the form, as JSON"),
    Column("saved_at", DateTime, nullable=False),
)
sent = Table(
    "desk_sent",
    metadata,
    Column("event_id", String(128), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject", String(128), nullable=False, comment="comparison, lot, or free: a prompt of the writer's own"),
    Column(
        "text", String(64), nullable=False, comment="keyed hash of what was written, or of the pair that was judged"
    ),
    Column("event", Text, comment="the line of feedback; null once it lies in the inbox"),
    Column("sent_at", DateTime, nullable=False),
    Column("seconds", Float, comment="from the page that was opened to the form that was sent"),
    Column("batch", String(64), comment="name of the file in the inbox"),
    Column("written_at", DateTime, comment="when the file lay in the inbox"),
    Column("share", Float, comment="part of one judgement, of a pair of a ranking; null: a whole one"),
    Index("desk_sent_by_name", "name", "kind"),
    Index("desk_sent_by_batch", "batch"),
    Index("desk_sent_by_subject", "kind", "subject"),
)
skips = Table(
    "desk_skips",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("subject", String(128), primary_key=True),
    Column("skipped_at", DateTime, nullable=False),
)
seats = Table(
    "desk_seats",
    metadata,
    Column("published", String(64), primary_key=True, comment="name of the file of assignments"),
    Column("seat", Integer, primary_key=True),
    Column("name", String(128), nullable=False, comment="the newcomer whose seat it is"),
)
appeals = Table(
    "desk_appeals",
    metadata,
    Column("appeal_id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("reference", String(256), nullable=False, comment="event, or empty: anything else"),
    Column("text", Text, nullable=False),
    Column("sent_at", DateTime, nullable=False),
    Column("answer", Text, nullable=False, server_default=""),
    Column("answered_at", DateTime),
    Index("desk_appeals_by_name", "name"),
)
erasures = Table(
    "desk_erasures",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("asked_at", DateTime, nullable=False),
    Column("done_at", DateTime),
)
