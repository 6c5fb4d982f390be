"""Reading weather.toml: stations whose temperature is fetched from a service that answers JSON over HTTPS."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from devices.settings import LOOPBACK, NO_SECRET, Secret
from devices.tables import Document, Table
from devices.units import conversion
from metering.explain import ExplainedError
from metering.quantity import Carrier
from metering.site import Installation, Meter

PLACES = ("latitude", "longitude", "first", "last", "key")
PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")


@dataclass(frozen=True, slots=True)
class Fetch:
    """A station's temperature from a service.

    Attributes
    ----------
    url : with {latitude}, {longitude}, {first}, {last} (dates, both included) and {key} where the service wants them
    times, temperatures : where the two lists stand in the reply, such as "hourly.time"
    timezone : of times without an offset; every_h : how often it is asked; days : how far back at the first time
    source : whose data it is, under which licence
    """

    station: str
    url: str
    times: str
    temperatures: str
    unit: str
    timezone: str
    every_h: float
    days: int
    source: str
    key: Secret = NO_SECRET


def read_fetches(
    folder: Path,
    installation: Installation,
    problems: list[ExplainedError],
    secret: Callable[[Path, Table, str], Secret],
) -> tuple[Fetch, ...]:
    """The fetches of a folder's weather.toml; none where there is no such file. Mistakes go to `problems`."""
    path = folder / "weather.toml"
    if not path.exists():
        return ()
    document = Document(path, problems)
    document.only(("fetch",))
    rows = [_fetch(folder, table, installation, secret) for table in document.tables("fetch")]
    for i, table in enumerate(document.tables("fetch")):
        if any(rows[i].station == other.station for other in rows[:i]):
            table.wrong("station", f'"{rows[i].station}" is fetched twice', "give a station one source")
    return tuple(rows)


def _fetch(
    folder: Path, table: Table, installation: Installation, secret: Callable[[Path, Table, str], Secret]
) -> Fetch:
    fetch = Fetch(
        station=table.text("station"),
        url=table.text("url", words='an address: url = "https://..."'),
        times=table.text("times", words='where the times stand in the reply: times = "hourly.time"'),
        temperatures=table.text("temperatures", words='where they stand: temperatures = "hourly.temperature_2m"'),
        unit=table.text("unit", "degC"),
        timezone=table.text("timezone", "UTC"),
        every_h=float(table.number("every_h", 6, low=1, high=24 * 31)),
        days=table.number("days", 400, low=1, high=3660, whole=True),
        source=table.text("source", words="a text in quotes: whose data it is, and under which licence"),
        key=secret(folder, table, "key"),
    )
    table.done()
    _check_station(table, fetch, installation)
    _check_url(table, fetch.url)
    for key in ("times", "temperatures"):
        if getattr(fetch, key) and not PATH.fullmatch(getattr(fetch, key)):
            table.wrong(key, f'is "{getattr(fetch, key)}"', 'write names joined by dots, such as "hourly.time"')
    if fetch.timezone not in available_timezones():
        table.wrong("timezone", f'is "{fetch.timezone}"', 'use an IANA zone such as "UTC" or "Asia/Shanghai"')
    try:
        conversion("outdoor_temperature", fetch.unit, "unit")
    except ExplainedError as problem:
        table.wrong("unit", problem.what, problem.mend)
    return fetch


def _check_station(table: Table, fetch: Fetch, installation: Installation) -> None:
    meter = installation.by_id.get(fetch.station)
    fits = isinstance(meter, Meter) and meter.carrier == Carrier.CLIMATE and meter.imported
    if fetch.station and installation.sites and not fits:
        table.wrong(
            "station", f'is "{fetch.station}"',
            'name a [[meter]] of site.toml with carrier = "climate", role = "sensor", connection = "import://"',
        )  # fmt: skip
    elif fits and "{latitude}" in fetch.url and installation.position_of(fetch.station) is None:
        table.wrong("url", "asks for the position", f'give "{fetch.station}" or its site latitude and longitude')


def _check_url(table: Table, url: str) -> None:
    try:
        names = {name for _, name, _, _ in Formatter().parse(url) if name is not None}
        parts = urlsplit(url)
        plain = parts.scheme == "http" and parts.hostname in LOOPBACK
    except ValueError:
        table.wrong("url", "cannot be read", 'write "https://host/path?latitude={latitude}"')
        return
    if url and parts.scheme != "https" and not plain:
        table.wrong("url", f'begins with "{parts.scheme}://"', "use https://; http:// only on this machine")
    if names - set(PLACES):
        table.wrong("url", f"has {{{min(names - set(PLACES))}}}", f"known: {', '.join(PLACES)}")
    if parts.password or re.search(r"(key|token)=(?!\{key\})[^&]+", parts.query or ""):
        table.wrong("url", "holds a key", "write {key} there, and the key into key_file or key_env")
