"""The tables of the embedded store, and its version."""

from __future__ import annotations

VERSION = 1
# What makes a store of a version one of the next, for every released version: {1: "ALTER TABLE ..."}.
UPGRADES: dict[int, str] = {}

# `observed_at` throughout: int64 [us since 1970]. No primary keys: they cost 63 bytes a row and halve the
# rate of writing; identity is kept by `arrivals`, which looks up what is not newer than all before it.
TABLES = """
CREATE TABLE meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL);
CREATE TABLE state (blob BLOB);
CREATE TABLE point (
    id INTEGER NOT NULL, site VARCHAR NOT NULL, meter VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL, phase VARCHAR NOT NULL
);
CREATE TABLE origin (
    id INTEGER NOT NULL, source VARCHAR NOT NULL, received_at BIGINT NOT NULL,
    profiles VARCHAR NOT NULL, position VARCHAR NOT NULL
);
-- Rows as they came.
CREATE TABLE hot (
    point INTEGER NOT NULL, observed_at BIGINT NOT NULL, value DOUBLE NOT NULL,
    quality UTINYINT NOT NULL, origin INTEGER NOT NULL
);
-- Rows of closed periods, sorted by point and time, kept as integers that rise steadily from row to row, over
-- the seam between two points too: see SEALED_READING and `sealing`. Columns that are the same for a run of rows
-- cost next to nothing.
CREATE TABLE sealed (
    starts BIGINT NOT NULL, ends BIGINT NOT NULL, point INTEGER NOT NULL,
    step BIGINT NOT NULL, step_us BIGINT NOT NULL, step_shift BIGINT NOT NULL,
    ticks BIGINT, scale DOUBLE NOT NULL, single BOOLEAN NOT NULL, tick_shift BIGINT NOT NULL, raw DOUBLE,
    quality UTINYINT NOT NULL, origin BIGINT NOT NULL, origin_shift BIGINT NOT NULL
);
CREATE TABLE period (starts BIGINT NOT NULL, ends BIGINT NOT NULL, sealed_rows BIGINT NOT NULL);
-- Per point what `sealed` holds, so that opening need not read it.
CREATE TABLE sealed_point (
    point INTEGER NOT NULL, sealed_rows BIGINT NOT NULL, observed_at BIGINT NOT NULL, value DOUBLE NOT NULL,
    quality UTINYINT NOT NULL, origin INTEGER NOT NULL
);
-- Every value of a point and time that has more than one, in order of arrival; the last is the one served.
CREATE TABLE conflict (
    arrival BIGINT NOT NULL, point INTEGER NOT NULL, observed_at BIGINT NOT NULL, value DOUBLE NOT NULL,
    quality UTINYINT NOT NULL, origin INTEGER NOT NULL
);
-- Months (their start) of interval_15min that were written to since they were last sorted by measure.
CREATE TABLE unsorted_month (starts BIGINT NOT NULL);
CREATE TABLE measure (
    id INTEGER NOT NULL, site VARCHAR NOT NULL, scope VARCHAR NOT NULL, node VARCHAR NOT NULL,
    name VARCHAR NOT NULL, unit VARCHAR NOT NULL
);
"""

# An integer divided by a power of ten is one correctly rounded division of two exact doubles: it gives back the
# very double that was stored, which sealing has checked row by row. What is no such quotient stands in `raw`.
SEALED_READING = """
    SELECT starts, ends, point, step * step_us - step_shift AS observed_at,
           CASE WHEN scale = 0 THEN raw
                WHEN single THEN ((ticks - tick_shift)::DOUBLE / scale)::FLOAT::DOUBLE
                ELSE (ticks - tick_shift)::DOUBLE / scale END AS value,
           quality, (origin - origin_shift)::INTEGER AS origin, rowid AS sealed_row
    FROM sealed"""

VIEWS = f"CREATE OR REPLACE VIEW sealed_reading AS {SEALED_READING};"

RESOLUTIONS = ("15min", "day")


def interval_table(resolution: str) -> str:
    """The table of a resolution; ValueError if there is no such resolution."""
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution is {resolution!r}; use one of {', '.join(RESOLUTIONS)}")
    return f"interval_{resolution}"


INTERVAL_TABLES = "".join(
    f"""
CREATE TABLE {interval_table(resolution)} (
    measure INTEGER NOT NULL, start_at BIGINT NOT NULL, length BIGINT NOT NULL, amount BIGINT NOT NULL,
    coverage DOUBLE NOT NULL, estimated BIGINT NOT NULL, quality UTINYINT NOT NULL
);"""
    for resolution in RESOLUTIONS
)
