"""Opens the store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from metering.explain import ExplainedError
from storage.store import Store

_FORM = "write duckdb:///folder/file.duckdb (an absolute path)"
_INFLUX = ("influxdb", "influxdbs")
LOCAL_NAME = "influx.sqlite"  # what an InfluxDB cannot keep of a collector


def open_store(url: str, *, folder: Path | None = None, **settings: Any) -> Store:
    """The store of a URL.

    `duckdb:///folder/file.duckdb`, which is made if it is not there; `influxdb://host:port/database?options`
    (`influxdbs` for TLS; see `storage.influx.address`), with `influx.sqlite` in `folder` unless the option `local`
    names another file. `settings` are the embedded store's: see `storage.duckdb.store.DuckDBStore`.

    Raises
    ------
    ExplainedError
        If the URL names no known store, or the store cannot be opened: held by another process,
        not readable, written by a newer version.
    """
    parts = urlsplit(url)
    if parts.scheme in _INFLUX:
        return _open_influx(url, folder)
    if parts.scheme != "duckdb":
        raise ExplainedError(
            "store", f'is "{url}", which names no known kind of store', f"{_FORM}, or influxdb://host:8086/database"
        )
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute() or path.is_dir() or not path.name:
        raise ExplainedError("store", f'is "{url}", which names no file', _FORM)
    from storage.duckdb.store import DuckDBStore  # the engine takes its time to import: only who opens one pays

    return DuckDBStore(path, **settings)


def _open_influx(url: str, folder: Path | None) -> Store:
    from storage.influx.address import FORM, parse_address
    from storage.influx.store import InfluxStore

    address = parse_address(url)
    if not address.local and folder is None:
        raise ExplainedError("store.url", "names no file for what the server cannot keep", f"add ?local=; {FORM}")
    return InfluxStore(address, Path(address.local) if address.local else Path(folder or ".") / LOCAL_NAME)


def duckdb_url(path: Path) -> str:
    """The URL of a database file."""
    return f"duckdb://{quote(str(path.absolute()))}"
