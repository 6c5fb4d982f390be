"""Users, their sessions and one-time links, API keys, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def text(*names: str, unique: bool = False) -> list[sa.Column]:
    """Columns of text that are never NULL."""
    return [sa.Column(name, sa.String, nullable=False, unique=unique or None) for name in names]


def whole(*names: str, optional: bool = False) -> list[sa.Column]:
    """Columns of integers."""
    return [sa.Column(name, sa.BigInteger, nullable=optional) for name in names]


def upgrade() -> None:
    """Make the five tables."""
    op.create_table(
        "users",
        sa.Column("id", ID, primary_key=True),
        *text("name", unique=True),
        *text("right", "password"),
        *whole("created_at"),
        *whole("disabled_at", "seen_at", optional=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "links",
        sa.Column("id", ID, primary_key=True),
        *text("hash", unique=True),
        *whole("user", optional=True),
        *whole("expires_at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sessions",
        sa.Column("id", ID, primary_key=True),
        *text("hash", unique=True),
        *whole("user", "created_at", "seen_at", "expires_at"),
        sqlite_autoincrement=True,
    )
    op.create_index("sessions_user", "sessions", ["user"])
    op.create_table(
        "api_keys",
        sa.Column("id", ID, primary_key=True),
        *text("name", "prefix", unique=True),
        *text("hash"),
        sa.Column("scopes", sa.JSON, nullable=False),
        *whole("created_at"),
        *whole("expires_at", "used_at", "revoked_at", optional=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, primary_key=True),
        *whole("at"),
        *text("who", "address", "what", "subject"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_at", "audit", ["at"])
