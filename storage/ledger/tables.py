"""The ledger's tables as they are now; `migrations/` leads there from every released version."""

from __future__ import annotations

import sqlalchemy as sa

HEAD = "0001"  # the newest migration

metadata = sa.MetaData()

# Something that needs somebody. At most one event of a kind is open at a node.
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("site", sa.String, nullable=False),
    sa.Column("node", sa.String, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Column("until", sa.BigInteger),  # NULL while it lasts
    sa.Column("severity", sa.String, nullable=False),
    sa.Column("text_en", sa.String, nullable=False),
    sa.Column("text_zh", sa.String, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Index(
        "events_open",
        "kind",
        "node",
        unique=True,
        sqlite_where=sa.text("until IS NULL"),
        postgresql_where=sa.text("until IS NULL"),
    ),
    sa.Index("events_since", "since"),
    sqlite_autoincrement=True,
)
