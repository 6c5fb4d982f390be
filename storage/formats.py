"""The format of each part of a data folder, kept in one small file: a newer folder is refused before it is touched."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

from metering.explain import ExplainedError
from storage import books, frame, quarantine
from storage.duckdb import schema
from storage.files import OS_FILES, write_file
from storage.ledger import tables

log = logging.getLogger(__name__)

FILE = "formats.json"
KNOWN: Mapping[str, int] = {
    "store": schema.VERSION,
    "spool": frame.VERSION,
    "state": books.STATE_VERSION,
    "quarantine": quarantine.FORMAT,
    "ledger": int(tables.HEAD),
}


def refuse_newer(folder: Path) -> None:
    """Look at the file of a data folder; one that is missing or damaged says nothing.

    Raises
    ------
    ExplainedError
        If a part has a format that this version does not know.
    """
    refuse_unknown(str(folder), _read(folder / FILE))


def refuse_unknown(where: str, formats: Mapping[str, int]) -> None:
    """Refuse formats that are newer than those known here; see `refuse_newer`."""
    for part, version in formats.items():
        if version > KNOWN.get(part, 0):
            raise ExplainedError(
                where,
                f"was written by a newer Meterhall (its {part} has format {version}, "
                f"this one knows formats up to {KNOWN.get(part, 0)}); nothing in it was touched",
                "run the newer Meterhall, or restore a backup that this version made: meterhall restore",
            )


def note_formats(folder: Path) -> None:
    """Write the file, if it does not say so already."""
    path = folder / FILE
    if _read(path) != dict(KNOWN):
        write_file(OS_FILES, path, encode(KNOWN))


def encode(formats: Mapping[str, int]) -> bytes:
    """What the file says: each part's format, and a checksum, so that a flipped bit does not make a newer one."""
    return json.dumps({"formats": dict(formats), "crc": _crc(formats)}).encode() + b"\n"


def _crc(formats: Mapping[str, int]) -> int:
    return crc32(json.dumps(formats, sort_keys=True).encode())


def _read(path: Path) -> dict[str, int]:
    """What the file says; empty if it is missing or damaged, which a log line tells of."""
    try:
        found = json.loads(path.read_bytes())
        formats = {str(part): int(version) for part, version in found["formats"].items()}
        if found["crc"] == _crc(formats):
            return formats
        why = "its checksum does not fit"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = repr(error)
    log.warning("%s is damaged (%s) and is written anew", path, why)
    return {}
