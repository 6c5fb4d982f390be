"""Opens the store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from metering.explain import ExplainedError
from storage.store import Store

_FORM = "write duckdb:///folder/file.duckdb (an absolute path)"


def open_store(url: str, **settings: Any) -> Store:
    """The store of a URL: `duckdb:///folder/file.duckdb`, which is made if it is not there.

    `settings` are the store's own: see `storage.duckdb.store.DuckDBStore`.

    Raises
    ------
    ExplainedError
        If the URL names no known store, or the store cannot be opened: held by another process,
        not readable, written by a newer version.
    """
    parts = urlsplit(url)
    if parts.scheme != "duckdb":
        raise ExplainedError("store", f'is "{url}", which names no known kind of store', _FORM)
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute() or path.is_dir() or not path.name:
        raise ExplainedError("store", f'is "{url}", which names no file', _FORM)
    from storage.duckdb.store import DuckDBStore  # the engine takes its time to import: only who opens one pays

    return DuckDBStore(path, **settings)


def duckdb_url(path: Path) -> str:
    """The URL of a database file."""
    return f"duckdb://{quote(str(path.absolute()))}"
