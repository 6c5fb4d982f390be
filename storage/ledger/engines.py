"""Opens the database that a ledger's URL names: a file of SQLite, or PostgreSQL."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from metering.explain import ExplainedError

FORM = "write postgresql://user@host:5432/database, or leave url empty for a file in the data folder"
CLAIM = 0x4D45_5445_5248_414C  # "METERHAL": the advisory lock that one Meterhall holds on a database
CLAIM_S = 20.0  # a process that was cut off from its database is forgotten there within this time
AGAIN_S = 1.0  # later on nobody waits so long: it is tried again with the next question
BUSY = "another Meterhall uses this ledger"

# A line that was cut is noticed on both ends within half a minute.
_CLIENT = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "meterhall",
}
_SESSION = (
    "SET synchronous_commit = on",  # durable when a call returns, whatever the server's default
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 3",
    "SET tcp_keepalives_count = 3",
    "SET lock_timeout = '10s'",
    "SET statement_timeout = '60s'",
)


def parse_url(url: str, password: str = "") -> sa.URL:
    """The URL of a ledger, with the password in it (which is never shown).

    Raises
    ------
    ExplainedError
        If it is no URL, holds a password, or names another kind of database. The URL is not repeated.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ExplainedError("ledger.url", "is no address", FORM) from None
    backend = parsed.get_backend_name()
    if parsed.password or "password" in parsed.query:
        raise ExplainedError("ledger.url", "holds a password", "put it into password_file or password_env of [ledger]")
    if backend == "sqlite":
        return parsed
    if backend != "postgresql" or parsed.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ExplainedError("ledger.url", f"names {parsed.drivername}", FORM)
    if not parsed.database or parsed.query.keys() & {"dbname", "user", "options"}:
        raise ExplainedError("ledger.url", "names no database", FORM)
    return parsed.set(drivername="postgresql+psycopg", password=password or None)


def make_engine(url: sa.URL, *, claim: bool = True) -> sa.Engine:
    """An engine that is durable when a transaction ends.

    PostgreSQL gets one connection, which holds the database's lock: as long as it lives, no other Meterhall writes
    there, and after a break it is taken again before anything is read or written. `claim=False` only looks.

    Raises
    ------
    ExplainedError
        If the driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url)
        _make_durable(engine)
        return engine
    arguments = {key: value for key, value in _CLIENT.items() if key not in url.query}
    try:
        engine = sa.create_engine(
            url, connect_args=arguments, pool_size=1, max_overflow=0, pool_timeout=15, pool_pre_ping=True
        )
    except ModuleNotFoundError:
        raise ExplainedError(
            "ledger.url", "names PostgreSQL, whose driver is not installed", 'pip install "psycopg[binary]"'
        ) from None
    if not claim:
        return engine
    patience = [CLAIM_S]

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        _claim(connection, patience[0])
        patience[0] = AGAIN_S

    return engine


def shown(url: sa.URL) -> str:
    """A URL for people: without password and options."""
    return sa.URL.create(
        url.get_backend_name(), url.username, None, url.host, url.port, url.database
    ).render_as_string()


def _make_durable(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own transactions leave out the making of tables
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")


def _claim(connection: Any, patience_s: float) -> None:
    """Set the session up, and take the database for this process alone; one that has just ended is waited for."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in _SESSION:
            cursor.execute(statement)
        deadline = time.monotonic() + patience_s
        while not cursor.execute("SELECT pg_try_advisory_lock(%s)", (CLAIM,)).fetchone()[0]:
            if time.monotonic() > deadline:
                connection.close()
                raise LedgerBusy(BUSY)
            time.sleep(0.1)
    connection.autocommit = False


class LedgerBusy(Exception):
    """Another process holds the ledger's database."""
