"""Baselines, incidents, what people said of them, and how meters are watched."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def text(*names: str) -> list[sa.Column]:
    """Columns of text that are never NULL."""
    return [sa.Column(name, sa.String, nullable=False) for name in names]


def whole(*names: str) -> list[sa.Column]:
    """Columns of integers that are never NULL."""
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    """Make the four tables."""
    op.create_table(
        "baselines",
        sa.Column("id", ID, primary_key=True),
        *text("site", "scope", "node", "name", "unit", "kind"),
        *whole("period_start", "period_end", "fitted_at"),
        sa.Column("superseded_at", sa.BigInteger),
        *text("history"),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ("quality", "findings", "learnt_from")),
        sa.Column("body", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    in_use = sa.text("superseded_at IS NULL")
    op.create_index(
        "baselines_in_use",
        "baselines",
        ["site", "scope", "node", "name", "unit"],
        unique=True,
        sqlite_where=in_use,
        postgresql_where=in_use,
    )
    op.create_table(
        "incidents",
        sa.Column("id", ID, primary_key=True),
        *text("site", "node", "name", "unit", "kind", "family"),
        *whole("since"),
        sa.Column("until", sa.BigInteger),
        *whole("detected"),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("size", "rate", "confidence")),
        *text("text_en", "text_zh"),
        sa.Column("evidence", sa.JSON, nullable=False),
        *whole("baseline"),
        sa.Column("part_of", sa.BigInteger),
        *text("feedback"),
        *whole("updated_at"),
        sqlite_autoincrement=True,
    )
    op.create_index("incidents_since", "incidents", ["since"])
    op.create_index("incidents_node", "incidents", ["node", "since"])
    op.create_table(
        "feedback",
        sa.Column("id", ID, primary_key=True),
        *whole("incident"),
        *text("feedback", "note", "author"),
        *whole("at"),
        sqlite_autoincrement=True,
    )
    op.create_index("feedback_incident", "feedback", ["incident"])
    op.create_table(
        "watches",
        sa.Column("id", ID, primary_key=True),
        *text("site", "node", "name"),
        sa.Column("alarms_per_month", sa.Float, nullable=False),
        *text("author"),
        *whole("at"),
        sqlite_autoincrement=True,
    )
