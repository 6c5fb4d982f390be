"""Curves of stored counters: as many readings as it takes to be certain, with the meter's facts applied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from analytics import facts as dated
from analytics.counters import SWAP_SLACK_US as SLACK
from analytics.counters import Cadence, Curve, cumulative, learned_cadence, limits
from analytics.facts import BEGIN, END
from analytics.verdicts import TICK, settled
from metering.clock import DAY_US, QUARTER_US
from metering.quantity import QUANTITIES, Carrier
from metering.reading import Point, Series
from metering.site import Device, Meter
from storage.store import Store

Range = tuple[int, int]
FIRST, LAST = 0, 7_258_118_400_000_000  # 1970 to 2200: every instant a store is asked for
UNKNOWN_CADENCE_US = QUARTER_US  # of a point that is read too rarely to learn from
TOGETHER = 128  # counters whose readings are held at a time
AHEAD_US = DAY_US  # spans of many points that lie in so much time are read together
PLAUSIBLE = 2.0  # a step of more than this times the rated power is a fault, not energy


class Window(NamedTuple):
    """Readings around a touched time, and the quarters in which they are the whole truth."""

    series: Series
    start: int  # what may have changed: [start, end), whole quarters
    end: int
    valid_from: int  # the curve of these readings is exact in [valid_from, valid_to)
    valid_to: int


def device_cadence(device: Device) -> int | None:
    """Configured cadence, else a Modbus meter's poll period [us]; None: learn it from the readings."""
    if device.cadence_s:
        return round(device.cadence_s * 1e6)
    if isinstance(device, Meter) and device.connection.startswith("modbus"):
        return round(device.poll_s * 1e6)
    return None


def device_largest_step(device: Device, quantity: str) -> float | None:
    """Most energy a second can bring [kWh/s], from the rated power; None: not known."""
    if not isinstance(device, Meter) or not device.rated_power_w or device.carrier != Carrier.ELECTRICITY:
        return None
    return PLAUSIBLE * device.rated_power_w / 3.6e6 if QUANTITIES[quantity].unit in ("kWh", "kvarh") else None


class Curves:
    """The curves of a store's counters; arguments as those of `meterhall.derive.Deriver`."""

    def __init__(
        self,
        store: Store,
        rollover_of: Callable[[Point], float | None] | None = None,
        cadence_of: Callable[[Point], Cadence | None] | None = None,
        tick_of: Callable[[Point], float] | None = None,
    ) -> None:
        self.store = store
        self._rollover_of = rollover_of or (lambda point: None)
        self._cadence_of = cadence_of or (lambda point: None)
        self._tick_of = tick_of or (lambda point: TICK)
        self._ahead: dict[Point, tuple[int, int, Series]] = {}  # (start, end, samples with margin), read ahead

    @contextmanager
    def reading_ahead(self, spans: Iterable[tuple[Device, Point, Range]]) -> Iterator[None]:
        """Inside, what `window` needs for these points around these spans is there, read at once if the store can."""
        many = getattr(self.store, "many_series", None)
        groups: dict[int, dict[Point, Range]] = defaultdict(dict)
        for device, point, (a, b) in spans if many else ():
            known = self._cadence_of(point) or device_cadence(device)
            look = _look(known) * (1 if known else 4)  # of an unknown cadence whole days are read
            lo, hi = groups[look].get(point, (a, b))
            groups[look][point] = min(lo, a), max(hi, b)
        for look, touched in groups.items():
            lo = max(min(a for a, _ in touched.values()) - look, FIRST)
            hi = min(max(b for _, b in touched.values()) + look, LAST)
            if many and len(touched) > 1 and hi - lo <= 2 * look + AHEAD_US:
                for series in many(list(touched), lo, hi):
                    self._ahead[series.point] = lo, hi, series
        try:
            yield
        finally:
            self._ahead = {}

    def many(self, points: Sequence[tuple[Device, Point]], start: int) -> Iterator[tuple[Device, Series]]:
        """The samples of each point from `start` on, with margin; a few hundred points are held at a time."""
        read = getattr(self.store, "many_series", None)
        for some in (points[i : i + TOGETHER] for i in range(0, len(points), TOGETHER)):
            if read is None:
                found = [self.store.series(point, start, LAST, margin=True) for _, point in some]
            else:
                found = read([point for _, point in some], start, LAST)
            yield from zip((device for device, _ in some), found, strict=True)

    def _series(self, point: Point, start: int, end: int) -> Series:
        """Samples in [start, end) with margin."""
        lo, hi, series = self._ahead.get(point, (LAST, FIRST, None))
        if series is None or start < lo or hi < end:
            return self.store.series(point, start, end, margin=True)
        first, last = np.searchsorted(series.at, [start, end])
        cut = slice(max(int(first) - 1, 0), int(last) + 1)
        return Series(point, series.at[cut], series.value[cut], series.quality[cut])

    def curve(self, device: Device, series: Series) -> Curve:
        """The cumulative curve of these readings."""
        point = series.point
        return cumulative(
            series,
            cadence_us=self._cadence(device, point, series.at),
            scales=dated.scales(device.facts, point.quantity),
            facts=device.facts,
            rollover=self._rollover_of(point),
            largest_step_per_s=device_largest_step(device, point.quantity),
            tick=self._tick_of(point),
        )

    def _cadence(self, device: Device, point: Point, at: np.ndarray) -> Cadence:
        known = self._cadence_of(point) or device_cadence(device)
        return known or learned_cadence(at, DAY_US, UNKNOWN_CADENCE_US)

    def window(self, device: Device, point: Point, a: int, b: int) -> Window:
        """Readings around [a, b], far enough to be certain of every quarter that readings there can have changed."""
        tick = self._tick_of(point)
        known = self._cadence_of(point) or device_cadence(device)
        scales = dated.scales(device.facts, point.quantity)
        step = device_largest_step(device, point.quantity)
        swapped = [
            (fact.valid_from - SLACK, fact.valid_from + SLACK) for fact in dated.swaps(device.facts, point.quantity)
        ]
        look = _look(known)
        while True:
            lo, hi = max(a - look, FIRST), min(b + look, LAST)
            series = self._series(point, lo, hi)
            at = series.at
            begins = not len(at) or at[0] >= lo or lo == FIRST
            ends = not len(at) or at[-1] < hi or hi == LAST
            if not len(at):
                return Window(series, _floor(a), _ceil(b + 1), BEGIN, END)
            sure = np.zeros(len(at), np.bool_)
            limit = limits(at, scales, step)
            ia, ib = int(np.searchsorted(at, a)), int(np.searchsorted(at, b, side="right"))
            sure[settled(at[:ia], series.value[:ia], limit[:ia], tick)] = True
            sure[ib + settled(at[ib:], series.value[ib:], limit[ib:], tick)] = True
            for first, last in swapped:
                sure[(at >= first) & (at <= last)] = False
            times = at[sure]
            start = _floor(min(a, int(at[0]))) if begins else None
            end = _ceil(max(b, int(at[-1])) + 1) if ends else None
            left, right = times[times < a], times[times > b]
            if len(left):
                start = _floor(int(left[-1]))
            if len(right):
                end = _ceil(int(right[0]) + 1)
            if start is not None and end is not None:
                near = [span for span in swapped if span[0] < end and start < span[1]]
                wider = min(a, *(span[0] for span in near), a), max(b, *(span[1] for span in near), b)
                if wider != (a, b):  # the moment of a swap may move with these readings
                    a, b = wider
                    continue
                sure_from, sure_to = times, int(times[-1]) if len(times) else BEGIN
                if known is None:  # whole days, for their cadence
                    start, end = self._learned_span(at, start, end)
                    sure_from = times[times >= -(-int(at[0]) // DAY_US) * DAY_US]
                    sure_to = min(sure_to, int(at[-1]) // DAY_US * DAY_US)
                valid_from = BEGIN if begins else int(sure_from[0]) if len(sure_from) else END
                valid_to = END if ends else sure_to
                if valid_from <= start and end <= valid_to:
                    return Window(series, start, end, valid_from, valid_to)
            look *= 4

    @staticmethod
    def _learned_span(at: np.ndarray, start: int, end: int) -> Range:
        """The UTC days of a span, whose learned cadence may change, to the end of the last step begun in them."""
        start, end = start // DAY_US * DAY_US, -(-end // DAY_US) * DAY_US
        beyond = at[at >= end]
        if len(beyond) and np.any((at >= end - DAY_US) & (at < end)):
            end = max(end, _ceil(int(beyond[0])))
        return start, end


def _look(cadence: Cadence | None) -> int:
    """How far around a touched time it is looked at first [us]."""
    return 2 * QUARTER_US + 24 * (cadence if isinstance(cadence, int) else QUARTER_US)


def _floor(at: int) -> int:
    return at // QUARTER_US * QUARTER_US


def _ceil(at: int) -> int:
    return -(-at // QUARTER_US) * QUARTER_US
