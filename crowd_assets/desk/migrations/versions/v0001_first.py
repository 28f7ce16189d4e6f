"""The tables that the desk began with."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "desk_people",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("link", sa.Integer, nullable=False),
        sa.Column("invited_at", sa.DateTime, nullable=False),
        sa.Column("seen_at", sa.DateTime),
        sa.Column("revoked_at", sa.DateTime),
        sa.Column("paused_at", sa.DateTime),
        sa.Column("paused_why", sa.Text, nullable=False, server_default=""),
        sa.Column("panel", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "desk_consents",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("version", sa.String(32), primary_key=True),
        sa.Column("agreed_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "desk_drafts",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("subject", sa.String(128), primary_key=True),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("saved_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "desk_sent",
        sa.Column("event_id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("text", sa.String(64), nullable=False),
        sa.Column("event", sa.Text),
        sa.Column("sent_at", sa.DateTime, nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("batch", sa.String(64)),
        sa.Column("written_at", sa.DateTime),
    )
    op.create_index("desk_sent_by_name", "desk_sent", ["name", "kind"])
    op.create_index("desk_sent_by_batch", "desk_sent", ["batch"])
    op.create_index("desk_sent_by_subject", "desk_sent", ["kind", "subject"])
    op.create_table(
        "desk_skips",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("subject", sa.String(128), primary_key=True),
        sa.Column("skipped_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "desk_seats",
        sa.Column("published", sa.String(64), primary_key=True),
        sa.Column("seat", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
    )
    op.create_table(
        "desk_appeals",
        sa.Column("appeal_id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("reference", sa.String(256), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("sent_at", sa.DateTime, nullable=False),
        sa.Column("answer", sa.Text, nullable=False, server_default=""),
        sa.Column("answered_at", sa.DateTime),
    )
    op.create_index("desk_appeals_by_name", "desk_appeals", ["name"])
    op.create_table(
        "desk_erasures",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("asked_at", sa.DateTime, nullable=False),
        sa.Column("done_at", sa.DateTime),
    )
