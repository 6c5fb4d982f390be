"""Events: what needs somebody."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table of events."""
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("site", sa.String, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("severity", sa.String, nullable=False),
        sa.Column("text_en", sa.String, nullable=False),
        sa.Column("text_zh", sa.String, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    is_open = sa.text("until IS NULL")
    op.create_index(
        "events_open", "events", ["kind", "node"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index("events_since", "events", ["since"])
