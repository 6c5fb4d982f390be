"""The ledger's tables as they are now; `migrations/` leads there from every released version."""

from __future__ import annotations

import sqlalchemy as sa

HEAD = "0004"  # the newest migration

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

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# What is usual for a meter, building or site: at most one of a measure is the one in use, the others are superseded.
baselines = sa.Table(
    "baselines",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("site", sa.String, nullable=False),
    sa.Column("scope", sa.String, nullable=False),
    sa.Column("node", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("unit", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),  # hourly, daily, monthly, or none: refused
    sa.Column("period_start", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Column("period_end", sa.BigInteger, nullable=False),
    sa.Column("fitted_at", sa.BigInteger, nullable=False),
    sa.Column("superseded_at", sa.BigInteger),  # NULL for the one in use
    sa.Column("history", sa.String, nullable=False),  # fingerprint of what was learnt from
    sa.Column("quality", sa.JSON, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("learnt_from", sa.JSON, nullable=False),  # temperature, intervals left out, alarm budget
    sa.Column("body", sa.LargeBinary),  # model and habits as JSON, deflated; NULL of old ones
    sa.Index(
        "baselines_in_use",
        "site",
        "scope",
        "node",
        "name",
        "unit",
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

# Something a meter does not usually do: one cause, with its size.
incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("site", sa.String, nullable=False),
    sa.Column("node", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),  # the counter's quantity
    sa.Column("unit", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("family", sa.String, nullable=False),  # what stays while the kind is looked at again
    sa.Column("since", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Column("until", sa.BigInteger),  # NULL while it lasts
    sa.Column("detected", sa.BigInteger, nullable=False),
    sa.Column("size", sa.Float, nullable=False),  # beyond what was expected [unit]
    sa.Column("rate", sa.Float, nullable=False),  # [unit/h]
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("text_en", sa.String, nullable=False),
    sa.Column("text_zh", sa.String, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("baseline", sa.BigInteger, nullable=False),  # id of the baseline it was judged by
    sa.Column("part_of", sa.BigInteger),  # id of the incident that is its cause, below it in the tree
    sa.Column("feedback", sa.String, nullable=False),  # the last word: confirmed, false_alarm, planned, or ""
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Index("incidents_since", "since"),
    sa.Index("incidents_node", "node", "since"),
    sqlite_autoincrement=True,
)

# What people said of incidents; nothing is overwritten, the last word counts.
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("incident", sa.BigInteger, nullable=False),
    sa.Column("feedback", sa.String, nullable=False),  # confirmed, false_alarm, planned
    sa.Column("note", sa.String, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Index("feedback_incident", "incident"),
    sqlite_autoincrement=True,
)

# How a meter is watched, where that differs from the default; the last row of a measure counts.
watches = sa.Table(
    "watches",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("site", sa.String, nullable=False),
    sa.Column("node", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("alarms_per_month", sa.Float, nullable=False),  # 0: not watched
    sa.Column("author", sa.String, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),  # [us since 1970]
    sqlite_autoincrement=True,
)

# Measurement and verification projects; a mended one is a new row of the same project, the last counts.
projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("name_en", sa.String, nullable=False),
    sa.Column("name_zh", sa.String, nullable=False),
    sa.Column("option", sa.String, nullable=False),  # of IPMVP: B or C
    sa.Column("measures", sa.JSON, nullable=False),  # whose sum is looked at
    sa.Column("baseline_start", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Column("baseline_end", sa.BigInteger, nullable=False),
    sa.Column("retrofit", sa.BigInteger, nullable=False),
    sa.Column("reporting_start", sa.BigInteger, nullable=False),
    sa.Column("reporting_end", sa.BigInteger),  # NULL: it goes on
    sa.Column("what_en", sa.String, nullable=False),  # what was done
    sa.Column("what_zh", sa.String, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Index("projects_project", "project"),
    sqlite_autoincrement=True,
)

# Non-routine adjustments of projects; a mended one is a new row that names the one it stands for.
adjustments = sa.Table(
    "adjustments",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Column("end", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.Float, nullable=False),  # [unit]; 0 takes one back
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("corrects", sa.BigInteger),  # id of the row it stands for
    sa.Index("adjustments_project", "project"),
    sqlite_autoincrement=True,
)

# The baselines projects are judged by; the last of a project counts.
savings_models = sa.Table(
    "savings_models",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("project_row", sa.BigInteger, nullable=False),  # id of the project's row it was fitted for
    sa.Column("kind", sa.String, nullable=False),  # hourly, daily, monthly, or none: refused
    sa.Column("fitted_at", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Column("history", sa.String, nullable=False),  # fingerprint of what was learnt from
    sa.Column("quality", sa.JSON, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("learnt_from", sa.JSON, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # the model as JSON, deflated
    sa.Index("savings_models_project", "project"),
    sqlite_autoincrement=True,
)

# People who may sign in.
users = sa.Table(
    "users",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),  # lower case
    sa.Column("right", sa.String, nullable=False),  # read, or admin: everything
    sa.Column("password", sa.String, nullable=False),  # argon2id; "" until its owner has chosen one
    sa.Column("created_at", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Column("disabled_at", sa.BigInteger),  # NULL while they may sign in
    sa.Column("seen_at", sa.BigInteger),  # the last sign-in
    sqlite_autoincrement=True,
)

# One-time links by which somebody chooses a password: the first account, a new one, a reset.
links = sa.Table(
    "links",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("hash", sa.String, nullable=False, unique=True),  # SHA-256 of the code
    sa.Column("user", sa.BigInteger),  # NULL: whoever holds it makes the first account
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Who is signed in at the page.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("hash", sa.String, nullable=False, unique=True),  # SHA-256 of the cookie
    sa.Column("user", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Index("sessions_user", "user"),
    sqlite_autoincrement=True,
)

# What programs show instead of signing in.
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("prefix", sa.String, nullable=False, unique=True),  # its visible beginning
    sa.Column("hash", sa.String, nullable=False),  # SHA-256 of the whole key
    sa.Column("scopes", sa.JSON, nullable=False),  # the rights that routes name
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),  # NULL: never
    sa.Column("used_at", sa.BigInteger),  # the last use, to the minute
    sa.Column("revoked_at", sa.BigInteger),
    sqlite_autoincrement=True,
)

# Who did what; rows are only ever added.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),  # [us since 1970]
    sa.Column("who", sa.String, nullable=False),  # user anna, key gateway, token admin.token, command line
    sa.Column("address", sa.String, nullable=False),  # of the network; "" at the machine itself
    sa.Column("what", sa.String, nullable=False),  # sign_in, sign_in_refused, user_added, key_revoked, POST /api/...
    sa.Column("subject", sa.String, nullable=False),
    sa.Index("audit_at", "at"),
    sqlite_autoincrement=True,
)
