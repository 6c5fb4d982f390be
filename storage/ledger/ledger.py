"""The ledger: what is decided and found out about the readings, beside whichever store holds them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from metering.explain import ExplainedError
from metering.site import Name
from storage.ledger.access import AccessTables
from storage.ledger.baselines import Baselines
from storage.ledger.engines import LedgerBusy, make_engine, parse_url, shown
from storage.ledger.incidents import Incidents
from storage.ledger.savings import SavingsTables
from storage.ledger.tables import HEAD, events, metadata
from storage.sqlite import damage_of, private, readable_rows, set_aside
from storage.store import StoreUnavailable

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that needs somebody, while it lasts and after.

    id : 0 as long as it is not in the ledger
    kind : silent, stuck, out_of_range, dead_unit, water_at_night, night_load, spool_damaged, ...
    node : id of the meter, vehicle, building, line or broker; an open event is identified by kind and node
    since, until : [us since 1970]; `until` is None while it lasts
    severity : info, warning or broken
    data : JSON: the figures behind the text
    """

    kind: str
    node: str
    text: Name
    since: int
    site: str = ""
    severity: str = "warning"
    data: Mapping[str, Any] = field(default_factory=dict)
    until: int | None = None
    id: int = 0
    updated_at: int = 0

    @property
    def subject(self) -> str:
        """The node."""
        return self.node


@dataclass(frozen=True, slots=True)
class Synced:
    """What `sync_events` did."""

    opened: int
    updated: int
    closed: int


class Ledger:
    """Durable when a call returns. May be used from any thread."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use `Ledger.open`."""
        self._engine = engine
        self._writing = threading.Lock()
        self.note = ""  # what was damaged at the start, in words
        self.baselines = Baselines(self._begin, self._writing)
        self.incidents = Incidents(self._begin, self._writing)
        self.access = AccessTables(self._begin, self._writing)
        self.savings = SavingsTables(self._begin, self._writing)

    @classmethod
    def open(cls, url: str, password: str = "") -> Ledger:
        """Open the ledger of a URL (`sqlite:////data/ledger.sqlite`, `postgresql://user@host/database`); migrate it.

        It is made if it is not there. A damaged SQLite file is set aside, and what can be read of it taken over.
        On PostgreSQL one process at a time may have it open.

        Raises
        ------
        ExplainedError
            If a newer version of Meterhall wrote it, another one uses it, or it cannot be opened.
        """
        parsed = parse_url(url, password)
        note, rescued = "", dict[sa.Table, list[tuple[Any, ...]]]()
        if parsed.get_backend_name() == "sqlite":
            path = Path(parsed.database or "ledger.sqlite")
            damage = damage_of(path)
            if damage:
                aside = set_aside(path)
                tables = metadata.sorted_tables
                rescued = {table: readable_rows(aside, table.name, tuple(table.c.keys())) for table in tables}
                read = ", ".join(f"{len(rows)} {table.name}" for table, rows in rescued.items())
                note = f"the ledger was damaged ({damage}): {read} were read, the file is kept as {aside}"
                log.error(note)
            private(path)
        engine = make_engine(parsed)
        try:
            _migrate(engine, shown(parsed))
        except BaseException:
            engine.dispose()
            raise
        ledger = cls(engine)
        ledger.note = note
        for table, rows in rescued.items():
            ledger._take_over(table, rows)
        return ledger

    def _take_over(self, table: sa.Table, rows: list[tuple[Any, ...]]) -> None:
        """Put rows of a damaged file into the new one; JSON columns are text there."""
        if not rows:
            return
        names = list(table.c.keys())
        marks = ", ".join(f":{name}" for name in names)
        insert = sa.text(f"INSERT OR IGNORE INTO {table.name} ({', '.join(names)}) VALUES ({marks})")  # noqa: S608
        with self._begin() as con:
            con.execute(insert, [dict(zip(names, row, strict=True)) for row in rows])

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as con:
                yield con
        except sa.exc.DataError as error:
            raise ExplainedError(
                "the ledger", f"does not take a text: {error.orig}", "leave out control characters"
            ) from None
        except sa.exc.DatabaseError as error:
            if isinstance(error, sa.exc.IntegrityError):
                raise
            raise StoreUnavailable(f"the ledger cannot be used now: {error.orig}") from error
        except (LedgerBusy, sa.exc.TimeoutError) as error:
            raise StoreUnavailable(f"the ledger cannot be used now: {error}") from error

    def sync_events(self, current: Sequence[Event], now: int, *, kinds: Collection[str] | None = None) -> Synced:
        """Make the open events those that hold now, in one transaction: open, update, close.

        Parameters
        ----------
        current : what holds; of an event that is open already, `since` stays, the rest is taken over
        now : `until` of those that no longer hold [us since 1970]
        kinds : only open events of these kinds are closed; None: of every kind. So each finder minds its own.

        Raises
        ------
        StoreUnavailable
            If nothing was changed (disk full, server away).
        """
        wanted = {(event.kind, event.node): event for event in current}
        opened, updated = list[dict[str, Any]](), 0
        with self._writing, self._begin() as con:
            found = con.execute(sa.select(events).where(events.c.until.is_(None))).mappings().all()
            standing = {(row["kind"], row["node"]): row for row in found}
            for key, event in wanted.items():
                row, values = standing.get(key), _values(event)
                if row is None:
                    opened.append({**values, "since": event.since, "until": None, "updated_at": now})
                elif any(row[name] != value for name, value in values.items()):
                    con.execute(sa.update(events).where(events.c.id == row["id"]).values(**values, updated_at=now))
                    updated += 1
            if opened:
                con.execute(sa.insert(events), opened)
            over = [row for key, row in standing.items() if key not in wanted and (kinds is None or key[0] in kinds)]
            for row in over:
                until = max(now, row["since"])
                con.execute(sa.update(events).where(events.c.id == row["id"]).values(until=until, updated_at=now))
        return Synced(len(opened), updated, len(over))

    def open_events(self, site: str | None = None) -> list[Event]:
        """What holds now, of one site or all, newest first."""
        return self.events(open_only=True, site=site)

    def events(
        self,
        start: int | None = None,
        end: int | None = None,
        *,
        site: str | None = None,
        node: str | None = None,
        kind: str | None = None,
        open_only: bool = False,
        limit: int = 1000,
    ) -> list[Event]:
        """Events that overlap [start, end) [us since 1970], newest first."""
        query = sa.select(events).order_by(events.c.since.desc(), events.c.id.desc()).limit(limit)
        if start is not None:
            query = query.where(events.c.until.is_(None) | (events.c.until > start))
        if end is not None:
            query = query.where(events.c.since < end)
        if open_only:
            query = query.where(events.c.until.is_(None))
        for column, value in ((events.c.site, site), (events.c.node, node), (events.c.kind, kind)):
            if value is not None:
                query = query.where(column == value)
        with self._begin() as con:
            return [_event(row) for row in con.execute(query).mappings()]

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _values(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "site": event.site,
        "node": event.node,
        "severity": event.severity,
        "text_en": event.text.en,
        "text_zh": event.text.zh,
        "data": dict(event.data),
    }


def _event(row: Mapping[Any, Any]) -> Event:
    return Event(
        kind=row["kind"],
        node=row["node"],
        text=Name(row["text_en"], row["text_zh"]),
        since=row["since"],
        site=row["site"],
        severity=row["severity"],
        data=row["data"],
        until=row["until"],
        id=row["id"],
        updated_at=row["updated_at"],
    )


def _migrate(engine: sa.Engine, name: str) -> None:
    """Bring the tables to `HEAD`; Alembic is loaded only when there is something to do."""
    try:
        with engine.connect() as con:
            version = _version_of(con)
    except LedgerBusy as error:
        raise ExplainedError(
            f"ledger {name}", str(error), "stop that one, or give this one a database of its own"
        ) from None
    except sa.exc.DatabaseError as error:
        raise _cannot_be_opened(name, error) from None
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise ExplainedError(
            f"ledger {name}",
            f"has format {version}, and this Meterhall knows formats up to {HEAD}",
            "run the newer Meterhall that wrote it, or restore a backup of its time",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("version_locations", str(MIGRATIONS / "versions").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as con:
        config.attributes["connection"] = con
        command.upgrade(config, "head")


def look_at_ledger(url: str, password: str = "") -> tuple[str, str | None]:
    """What a ledger's database is called, and the format of what is in it; nothing is changed or claimed.

    Raises
    ------
    ExplainedError
        If it does not let us in.
    """
    parsed = parse_url(url, password)
    engine = make_engine(parsed, claim=False)
    try:
        with engine.connect() as con:
            return shown(parsed), _version_of(con)
    except sa.exc.DatabaseError as error:
        raise _cannot_be_opened(shown(parsed), error) from None
    finally:
        engine.dispose()


def _cannot_be_opened(name: str, error: sa.exc.DatabaseError) -> ExplainedError:
    return ExplainedError(f"ledger {name}", f"cannot be opened ({error.orig})", "check the address and the rights")


def _version_of(con: sa.Connection) -> str | None:
    if not sa.inspect(con).has_table("alembic_version"):
        return None
    return con.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
