"""Values as they arrive, to any number of listeners, without ever waiting for one of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from metering.explain import ExplainedError
from metering.reading import Point


class LiveValue(NamedTuple):
    """The newest value of a point: observed_at [us since 1970], value [the quantity's unit], quality."""

    at: int
    value: float
    quality: int


class TooManyListeners(ExplainedError):
    """The feed has as many listeners as it may."""


class Subscription:
    """One listener: the newest value of each of its points since it last looked.

    Conflated per point, so its memory is bounded by the number of its points however slow it is.
    """

    def __init__(self, points: frozenset[Point] | None, loop: asyncio.AbstractEventLoop) -> None:
        self._points = points
        self._loop = loop
        self._news = asyncio.Event()
        self._pending: dict[Point, LiveValue] = {}
        self._lock = threading.Lock()
        self._woken = False
        self._ended = False

    def offer(self, changes: dict[Point, LiveValue]) -> None:
        """Take what concerns this listener; from any thread, never blocks on the listener."""
        with self._lock:
            for point, new in changes.items():
                if self._points is not None and point not in self._points:
                    continue
                old = self._pending.get(point)
                if old is None or new.at >= old.at:
                    self._pending[point] = new
            wake = bool(self._pending) and not self._woken
            self._woken = self._woken or wake
        if wake:
            try:
                self._loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:  # the listener's loop has ended; its subscription ends with it
                return

    def _take(self) -> dict[Point, LiveValue]:
        with self._lock:
            taken, self._pending = self._pending, {}
            self._woken = False
            self._news.clear()
        return taken

    def end(self) -> None:
        """No more changes: the listener's loop over them ends."""
        self._ended = True
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # its loop has ended before
            return

    async def changes(self, period_s: float, heartbeat_s: float) -> AsyncIterator[dict[Point, LiveValue]]:
        """What changed, at most once a period; an empty dict as heartbeat when nothing did."""
        while True:
            try:
                await asyncio.wait_for(self._news.wait(), heartbeat_s)
            except TimeoutError:
                yield {}
                continue
            if self._ended:
                return
            yield self._take()
            await asyncio.sleep(period_s)


class LiveFeed:
    """Publish from any thread; each listener gets the newest value of its points."""

    def __init__(self, listeners_at_most: int = 64) -> None:
        self._listeners_at_most = listeners_at_most
        self._listeners: tuple[Subscription, ...] = ()
        self._lock = threading.Lock()

    @property
    def listeners(self) -> int:
        """How many listen; while nobody does, a publisher need not even gather rows."""
        return len(self._listeners)

    def close(self) -> None:
        """End every subscription and take no more: the server stops."""
        with self._lock:
            self._listeners_at_most = 0
            listeners = self._listeners
        for subscription in listeners:
            subscription.end()

    def check_room(self) -> None:
        """Raise TooManyListeners if the feed is full."""
        if len(self._listeners) >= self._listeners_at_most:
            raise TooManyListeners(
                "live feed", f"has {self._listeners_at_most} listeners", "close a page, or try again later"
            )

    @contextmanager
    def listen(self, points: Iterable[Point] | None) -> Iterator[Subscription]:
        """A subscription to some points, or to all; call it in a running event loop.

        Raises
        ------
        TooManyListeners
            If the feed is full.
        """
        wanted = None if points is None else frozenset(points)
        subscription = Subscription(wanted, asyncio.get_running_loop())
        with self._lock:
            self.check_room()
            self._listeners = (*self._listeners, subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not subscription)

    def publish(self, rows: Sequence[tuple[Point, int, float, int]]) -> None:
        """Offer (point, observed_at [us], value, quality) rows to every listener; any thread, never waits."""
        listeners = self._listeners
        if not listeners:
            return
        changes: dict[Point, LiveValue] = {}
        for point, at, value, quality in rows:
            old = changes.get(point)
            if old is None or at >= old.at:
                changes[point] = LiveValue(at, value, quality)
        for subscription in listeners:
            subscription.offer(changes)
