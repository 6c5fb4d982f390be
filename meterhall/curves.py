"""Curves of stored counters: as many readings as it takes to be certain, with the meter's facts applied."""

from __future__ import annotations

from collections.abc import Callable
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
        look = 2 * QUARTER_US + 24 * (known if isinstance(known, int) else QUARTER_US)
        while True:
            lo, hi = max(a - look, FIRST), min(b + look, LAST)
            series = self.store.series(point, lo, hi, margin=True)
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


def _floor(at: int) -> int:
    return at // QUARTER_US * QUARTER_US


def _ceil(at: int) -> int:
    return -(-at // QUARTER_US) * QUARTER_US
