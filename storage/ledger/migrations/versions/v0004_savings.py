"""Measurement and verification: projects, non-routine adjustments, the baselines they are judged by."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def text(*names: str) -> list[sa.Column]:
    """Columns of text that are never NULL."""
    return [sa.Column(name, sa.String, nullable=False) for name in names]


def whole(*names: str) -> list[sa.Column]:
    """Columns of integers that are never NULL."""
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "projects",
        sa.Column("id", ID, primary_key=True),
        *text("project", "name_en", "name_zh", "option"),
        sa.Column("measures", sa.JSON, nullable=False),
        *whole("baseline_start", "baseline_end", "retrofit", "reporting_start"),
        sa.Column("reporting_end", sa.BigInteger),
        *text("what_en", "what_zh", "author"),
        *whole("at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "adjustments",
        sa.Column("id", ID, primary_key=True),
        *text("project"),
        *whole("start", "end"),
        sa.Column("amount", sa.Float, nullable=False),
        *text("reason", "author"),
        *whole("at"),
        sa.Column("corrects", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "savings_models",
        sa.Column("id", ID, primary_key=True),
        *text("project"),
        *whole("project_row"),
        *text("kind"),
        *whole("fitted_at"),
        *text("history"),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ("quality", "findings", "learnt_from")),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    for table in ("projects", "adjustments", "savings_models"):
        op.create_index(f"{table}_project", table, ["project"])
