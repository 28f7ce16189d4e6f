"""Which part of one judgement each pair of a ranking is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; whatever was sent before is a whole one."""
    op.add_column("desk_sent", sa.Column("share", sa.Float))
