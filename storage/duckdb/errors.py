"""Whose fault an error of the engine is."""

from __future__ import annotations

import re

import duckdb

# Faults of ours show themselves; anything else is what the machine or the file can cause. (A damaged block is
# reported as the bare `duckdb.Error`.)
_OURS = (duckdb.ProgrammingError, duckdb.DataError, duckdb.IntegrityError, duckdb.NotSupportedError)
_DAMAGE = re.compile("corrupt|could not read enough bytes", re.IGNORECASE)


def is_ours(error: BaseException) -> bool:
    """Whether an error is a fault in this program, not of the machine or the file."""
    return isinstance(error, _OURS)


def is_damage(error: BaseException) -> bool:
    """Whether an error tells of a file that is not as it was written."""
    return isinstance(error, duckdb.SerializationException | duckdb.InternalException) or (
        isinstance(error, duckdb.Error) and bool(_DAMAGE.search(str(error)))
    )


def first_line(error: BaseException) -> str:
    """The error's words without the engine's stack and statement."""
    return str(error).split("\n", 1)[0]
