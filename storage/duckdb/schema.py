"""The tables of the embedded store, and its version."""
# ruff: noqa: S608  (the parts put together are names and expressions of ours; values are parameters)

from __future__ import annotations

VERSION = 1

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
-- Rows of closed periods, sorted by (point, observed_at). `digits` says how the value is kept, the same for
-- all rows of a point in a period: see SEALED_VALUE.
CREATE TABLE sealed (
    point INTEGER NOT NULL, observed_at BIGINT NOT NULL, digits TINYINT NOT NULL, ticks BIGINT,
    raw DOUBLE, quality UTINYINT NOT NULL, origin INTEGER NOT NULL
);
CREATE TABLE period (start_at BIGINT NOT NULL, end_at BIGINT NOT NULL, sealed_rows BIGINT NOT NULL);
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
CREATE TABLE measure (
    id INTEGER NOT NULL, site VARCHAR NOT NULL, scope VARCHAR NOT NULL, node VARCHAR NOT NULL,
    name VARCHAR NOT NULL, unit VARCHAR NOT NULL
);
"""

RAW = -1  # digits: the value stands in `raw`
SINGLE = 32  # digits + 32: the value is the single-precision float nearest to ticks / 10^digits

# ticks / 10^digits is one correctly rounded division of two exact doubles: it gives back the very double that
# was stored, which sealing has checked row by row. Integers pack by their differences, doubles do not.
SEALED_VALUE = f"""CASE WHEN digits = {RAW} THEN raw
    WHEN digits < {SINGLE} THEN ticks::DOUBLE / pow(10.0, digits)
    ELSE (ticks::DOUBLE / pow(10.0, digits - {SINGLE}))::FLOAT::DOUBLE END"""

VIEWS = f"""
CREATE OR REPLACE VIEW reading AS
    SELECT point, observed_at, value, quality, origin FROM hot
    UNION ALL
    SELECT point, observed_at, {SEALED_VALUE} AS value, quality, origin FROM sealed;
CREATE OR REPLACE VIEW sealed_reading AS
    SELECT point, observed_at, {SEALED_VALUE} AS value, quality, origin, rowid AS sealed_row FROM sealed;
"""

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
