"""Temperature of weather stations from a service on the network: asked now and then, stored as readings like any other.

What the service does not know stays a gap; what lies in the future is a forecast, and no reading.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from devices.stations import Fetch
from devices.units import conversion
from metering.clock import DAY_US, from_us, now_us, to_us
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES
from metering.reading import Point
from metering.site import Installation, Meter
from storage.store import Store

log = logging.getLogger("meterhall")

QUANTITY = "outdoor_temperature"
TIMEOUT_S = 30.0
MOST_BYTES = 16 << 20
AT_ONCE_DAYS = 400  # asked for in one request
AGAIN_DAYS = 2  # asked for once more: services mend their last days
FIRST_S, LOOK_S = 20.0, 60.0
Row = tuple[Point, int, float]


class Fetched(NamedTuple):
    """What a service knew: readings; hours without a value, in the future, and refused as impossible."""

    rows: list[Row]
    empty: int
    future: int
    refused: int


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def point_of(installation: Installation, fetch: Fetch) -> Point:
    """The point that a station's temperature is stored at."""
    meter = installation.by_id[fetch.station]
    assert isinstance(meter, Meter)
    return Point(meter.site, meter.id, QUANTITY)


def fetch_days(installation: Installation, fetch: Fetch, first: date, last: date, now: int) -> Fetched:
    """The temperature of the days [first, last], both included, as the service knows it.

    Raises
    ------
    ExplainedError
        If the service does not answer, or not what was expected; the key is never shown.
    """
    where = installation.position_of(fetch.station)
    shown: dict[str, Any] = {
        "latitude": where.latitude if where else "", "longitude": where.longitude if where else "",
        "first": first.isoformat(), "last": last.isoformat(),
    }  # fmt: skip
    named = fetch.url.format(**shown, key="***")
    request = urllib.request.Request(  # noqa: S310
        fetch.url.format(**shown, key=quote(fetch.key.reveal(), safe="")), headers={"User-Agent": "meterhall"}
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as reply:
            body = reply.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise ExplainedError(named, f"answers {error.code}", "look at url in weather.toml") from None
    except (urllib.error.URLError, TimeoutError, OSError, ValueError) as error:
        said = getattr(error, "reason", error)
        raise ExplainedError(named, f"does not answer: {said}", "is the network up? it is tried again") from None
    if len(body) > MOST_BYTES:
        raise ExplainedError(named, "answers more than 16 MB", "ask for fewer days, or fewer quantities")
    try:
        document = json.loads(body)
    except ValueError:
        raise ExplainedError(named, "answers no JSON", "look at url in weather.toml") from None
    return readings_of(document, point_of(installation, fetch), fetch, now, named)


def readings_of(document: Any, point: Point, fetch: Fetch, now: int, named: str) -> Fetched:
    """The readings of a reply.

    Raises
    ------
    ExplainedError
        If the two lists are not where they should be, or not of one length, or a time cannot be read.
    """
    times, values = (_list_at(document, path, named) for path in (fetch.times, fetch.temperatures))
    if len(times) != len(values):
        raise ExplainedError(named, f"has {len(times)} times and {len(values)} values", "look at the two paths")
    numerator, denominator, offset = conversion(QUANTITY, fetch.unit, "unit")
    zone, of = ZoneInfo(fetch.timezone), QUANTITIES[QUANTITY]
    out = Fetched([], 0, 0, 0)
    rows, empty, future, refused = out.rows, 0, 0, 0
    for said, value in zip(times, values, strict=True):
        at = _instant(said, zone, named)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            empty += 1
        elif at > now:
            future += 1
        elif not of.lowest <= (degc := value * numerator / denominator + offset) <= of.highest:
            refused += 1
        else:
            rows.append((point, at, degc))
    return Fetched(rows, empty, future, refused)


def _list_at(document: Any, path: str, named: str) -> list[Any]:
    found = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, list):
        known = ", ".join(document) if isinstance(document, dict) else type(document).__name__
        raise ExplainedError(named, f'has no list at "{path}"', f"it has: {known[:200]}")
    return found


def _instant(said: Any, zone: ZoneInfo, named: str) -> int:
    try:
        if isinstance(said, int | float) and not isinstance(said, bool):
            return to_us(datetime.fromtimestamp(said, UTC))
        at = datetime.fromisoformat(said)
        return to_us(at if at.tzinfo else at.replace(tzinfo=zone))
    except (TypeError, ValueError, OverflowError, OSError):
        raise ExplainedError(
            named, f"has the time {said!r:.60}", "ask it for ISO 8601, or seconds since 1970"
        ) from None


def days_due(store: Store, point: Point, fetch: Fetch, now: int) -> Iterator[tuple[date, date]]:
    """The days to ask for, in parts: from the newest reading on and two days back, else from `days` ago."""
    newest = store.latest([point]).get(point)
    since = now - fetch.days * DAY_US
    if newest is not None:
        since = to_us(newest.observed_at) - AGAIN_DAYS * DAY_US
    first, last = from_us(since).date(), from_us(now).date()
    while first <= last:
        until = min(first + timedelta(days=AT_ONCE_DAYS - 1), last)
        yield first, until
        first = until + timedelta(days=1)


class StationFetcher:
    """Asks the services in the background.

    Parameters
    ----------
    take : stores rows durably, through the collector
    """

    def __init__(
        self,
        installation: Installation,
        store: Store,
        fetches: Sequence[Fetch],
        take: Callable[[list[Row]], None],
        now: Callable[[], int] = now_us,
    ) -> None:
        self._installation, self._store, self._fetches, self._take = installation, store, fetches, take
        self._now = now
        self._asked: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stations", daemon=True)

    def start(self) -> None:
        """Begin, where there is something to fetch."""
        if self._fetches:
            self._thread.start()

    def stop(self) -> None:
        """Finish the request under way and stop."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(TIMEOUT_S + 5)

    def _run(self) -> None:
        self._stop.wait(FIRST_S)
        while not self._stop.is_set():
            for fetch in self._fetches:
                if time.monotonic() - self._asked.get(fetch.station, -math.inf) >= fetch.every_h * 3600:
                    self._asked[fetch.station] = time.monotonic()
                    self._fetch(fetch)
            self._stop.wait(LOOK_S)

    def _fetch(self, fetch: Fetch) -> None:
        try:
            count = self.fetch(fetch)
            log.info("weather of %s: %d readings", fetch.station, count)
        except ExplainedError as problem:
            log.warning("weather of %s is fetched again later: %s", fetch.station, problem)
        except Exception:
            log.exception("weather of %s could not be fetched", fetch.station)

    def fetch(self, fetch: Fetch) -> int:
        """Fetch what is due of a station now; returns how many readings came."""
        point, count = point_of(self._installation, fetch), 0
        for first, last in days_due(self._store, point, fetch, self._now()):
            if self._stop.is_set():
                break
            found = fetch_days(self._installation, fetch, first, last, self._now())
            if found.refused:
                log.warning("weather of %s: %d impossible values refused", fetch.station, found.refused)
            if found.rows:
                self._take(found.rows)
                count += len(found.rows)
        return count
