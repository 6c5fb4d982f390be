"""A ledger moved from one database to another: every row of every table, in one transaction."""

from __future__ import annotations

import sqlalchemy as sa

from metering.explain import ExplainedError
from storage.ledger.ledger import Ledger
from storage.ledger.tables import metadata

AT_ONCE = 500  # rows


def move_ledger(source: Ledger, target: Ledger) -> dict[str, int]:
    """Copy all rows into an empty ledger, ids and all; returns how many of each table. The source is not changed.

    Raises
    ------
    ExplainedError
        If the target holds something, or a count differs afterwards: nothing was written then.
    StoreUnavailable
        If one of them cannot be used now.
    """
    moved: dict[str, int] = {}
    with source._begin() as here, target._begin() as there:
        for table in metadata.sorted_tables:
            if _count(there, table):
                raise ExplainedError("the new ledger", f"holds {table.name} already", "give a database of its own")
            rows = here.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings()
            for chunk in rows.partitions(AT_ONCE):
                there.execute(sa.insert(table), [dict(row) for row in chunk])
            moved[table.name] = _count(here, table)
            if _count(there, table) != moved[table.name]:
                raise ExplainedError(
                    "the new ledger", f"holds {_count(there, table)} of {moved[table.name]} {table.name}", "try again"
                )
            _go_on_counting(there, table)
    return moved


def _count(con: sa.Connection, table: sa.Table) -> int:
    return int(con.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _go_on_counting(con: sa.Connection, table: sa.Table) -> None:
    """New rows get ids above those that were brought along; SQLite does so by itself."""
    key = next(iter(table.primary_key.columns))
    if con.dialect.name != "postgresql" or not isinstance(key.type, sa.Integer) or len(table.primary_key) != 1:
        return
    sequence = con.execute(sa.select(sa.func.pg_get_serial_sequence(table.name, key.name))).scalar()
    highest = con.execute(sa.select(sa.func.max(key))).scalar()
    if sequence and highest:
        con.execute(sa.select(sa.func.setval(sequence, highest)))
