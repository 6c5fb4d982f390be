"""The job behind "needs you": reads what is stored and known of the collector, returns what needs a person now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics import wording
from analytics.attention import (
    Attention,
    Kind,
    Severity,
    lines_silent,
    lowest_in_tree,
    onset,
    resting,
    rises,
    silent_since,
)
from analytics.counters import SWAP_SLACK_US
from analytics.edges import day_start, hours_of_day, local_date, local_days
from analytics.facts import gauge_values
from analytics.verdicts import TICK
from analytics.workdays import Workdays
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US, to_us
from metering.explain import Finding
from metering.health import LineHealth
from metering.quantity import CONSUMPTION, QUANTITIES, Carrier, Quality
from metering.reading import IntervalSeries, Measure, Point, Reading
from metering.site import Building, Device, Installation, Meter, Name, Site, Vehicle
from storage.store import Store

HISTORY_DAYS = 84  # nights and rests that a meter is compared with
FRESH_DAYS = 3  # read anew each time, for late data
VEHICLE_SILENT_US = DAY_US  # a parked vehicle sleeps
NEVER_US = 1 << 60  # nobody waits for imported values, unless a cadence is configured
DEAD_LEAST_US = 2 * MINUTE_US
LONG_AGO_US = HOUR_US
NEVER_ANSWERED = 2  # time-outs of a unit that has said nothing since we began to ask
ABOVE_RATED, ABOVE_RATED_QUARTERS = 1.1, 2
FINDING_DAYS = 7
RESET_CODES = ("counter.reset", "counter.step_back", "counter.jump")
FLOW = {
    "active_energy_import": "active_power",
    "water_volume": "water_flow",
    "gas_volume": "gas_flow",
    "heat_energy": "heat_power",
    "cooling_energy": "cooling_power",
}
PER_HOUR = {"W": 1e-3, "m3/h": 1.0}  # counter units an hour of one unit of flow


class _Night(NamedTuple):
    """A window of the local night and what is asked of it."""

    first: int  # local hour
    last: int
    least: float  # a smaller rise is nothing [unit/h]
    share: float
    hourly_least: bool  # the least hour of the window counts, else its mean


WATER = _Night(2, 4, 0.05, 0.5, True)
POWER = _Night(0, 5, 0.5, 0.3, False)


def line_of(device: Device) -> str:
    """The line or broker a device speaks through."""
    scheme, _, rest = device.connection.partition("://")
    return f"{scheme}://{rest.split('/')[0]}"


def _is_down(offline_since: int, line_works: bool, now: int, heard: int) -> bool:
    """Has a unit that does not answer been away long enough to say so?

    At once where its line works and its last reading is old: it was dead before we began to ask.
    """
    return now - offline_since > DEAD_LEAST_US or (line_works and now - heard > LONG_AGO_US)


class Attender:
    """Finds what needs a person.

    Parameters
    ----------
    installation, store : as elsewhere
    calendar_of : the work days of a site, by its id; default Monday to Friday
    started_at : since when this process listens; silence before it says nothing [us since 1970]
    """

    def __init__(
        self,
        installation: Installation,
        store: Store,
        *,
        calendar_of: Callable[[str], Workdays] | None = None,
        started_at: int = 0,
    ) -> None:
        self.installation, self.store, self.started_at = installation, store, started_at
        self._calendar_of = calendar_of or (lambda site: Workdays())
        self._nights: dict[Measure, dict[int, float]] = defaultdict(dict)
        self._longest: dict[Measure, tuple[int, int]] = {}  # longest rest, intervals it was found in
        self._degc: dict[str, dict[int, float]] = {}  # nights' temperatures of each site
        self._read_at: int | None = None  # when the whole history was read

    def current(
        self,
        now: int,
        lines: Iterable[LineHealth] = (),
        findings: Iterable[tuple[Measure, Finding]] = (),
    ) -> list[Attention]:
        """What needs a person at `now`, broken things first, then the newest.

        lines : the collector's lines with their units; findings : `Deriver.findings()`
        """
        latest = self.store.latest()
        heard: dict[str, int] = {}
        for point, reading in latest.items():
            heard[point.meter] = max(heard.get(point.meter, 0), to_us(reading.observed_at))
        quiet = self._quiet(now, heard, lines)
        mute = {node for row in quiet for node in row.data.get("meters", (row.node,))}
        recent = self._recent(now)
        out = [*quiet, *self._leaks(now), *self._night_loads(now)]
        out += self._stuck(now, recent, latest, mute)
        out += self._out_of_range(now, recent, latest, mute)
        out += self._resets(now, findings)
        return sorted(out, key=lambda row: (row.severity != "broken", -row.since, row.node))

    # Silence

    def _quiet(self, now: int, heard: dict[str, int], lines: Iterable[LineHealth]) -> list[Attention]:
        """Silent meters, dead units, and lines whose meters are silent together."""
        devices = list(self.installation.devices())
        if not devices:
            return []
        began = self.started_at or now
        latest = np.array([heard.get(device.id, began) for device in devices], np.int64)
        cadence = np.array([_cadence(device) for device in devices], np.int64)
        silent = silent_since(latest, cadence, now, self.started_at)
        dead = {
            unit.device: (unit.offline_since or now, line.state != "broken")
            for line in lines
            for unit in line.units
            if (unit.offline_since is not None and (unit.breaker != "closed" or unit.state == "broken"))
            or (unit.good == 0 and unit.errors.get("timeout", 0) >= NEVER_ANSWERED)
        }
        down = np.array(
            [device.id in dead and _is_down(*dead[device.id], now, heard.get(device.id, now)) for device in devices]
        )
        meters = [i for i, device in enumerate(devices) if isinstance(device, Meter)]
        gone = np.array([bool(silent[i] or down[i]) for i in meters], np.bool_)
        groups = lines_silent([line_of(devices[i]) for i in meters], gone, latest[meters])
        out, done = [], set()
        for line, rows in groups.items():
            found = [devices[meters[int(k)]] for k in rows]
            done |= {device.id for device in found}
            since = int(min(latest[meters[int(k)]] for k in rows))
            site = found[0].site
            when = wording.moment(since, now, self.installation.timezone_of(site))
            text = wording.silent_line(line.partition("://")[2], len(found), tuple(d.name for d in found), when)
            data = {"meters": tuple(device.id for device in found)}
            out.append(Attention("silent", site, "", line, since, None, "broken", len(found), "", text, data))
        for i, device in enumerate(devices):
            if device.id in done or not (silent[i] or down[i]):
                continue
            since = int(latest[i]) if device.id in heard or not down[i] else dead[device.id][0]
            when = wording.moment(since, now, self.installation.timezone_of(device.id))
            if down[i]:
                text = wording.dead_unit(self._place(device), device.name, when)
            else:
                text = wording.silent(self._place(device), device.name, when, device.connection.startswith("mqtt"))
            hours = (now - since) / HOUR_US
            kind: Kind = "dead_unit" if down[i] else "silent"
            severity: Severity = "needs_you" if isinstance(device, Vehicle) else "broken"
            row = Attention(kind, device.site, device.building, device.id, since, None, severity, hours, "h", text)
            out.append(row)
        return out

    # Nights

    def _recent(self, now: int) -> dict[Measure, IntervalSeries]:
        """The quarters of the last days of all meters; once a day the whole history behind them is read too."""
        known = set(self.store.measures())
        measures = [
            Measure(m.site, "meter", m.id, name, QUANTITIES[name].unit)
            for m in self.installation.meters
            for name in ((*CONSUMPTION.get(m.carrier, ()), "active_energy_export"))
        ]
        measures = [measure for measure in measures if measure in known]
        whole = self._read_at is None or now - self._read_at > DAY_US or now < self._read_at
        days = HISTORY_DAYS if whole else FRESH_DAYS
        begin = (now - days * DAY_US) // DAY_US * DAY_US
        recent: dict[Measure, IntervalSeries] = {}
        for lo in range(0, len(measures), 256):
            for series in self.store.intervals(measures[lo : lo + 256], "15min", begin, now):
                self._learn(series, whole, now)
                recent[series.measure] = series
        if whole:
            self._read_at = now
            self._degc = {site.id: self._night_temperatures(site, now) for site in self.installation.sites}
        return recent

    def _night_temperatures(self, site: Site, now: int) -> dict[int, float]:
        """Mean outdoor temperature of each night [degC], by local day since 1970; empty without a thermometer."""
        for point in self.store.points():
            if point.site == site.id and point.quantity == "outdoor_temperature":
                rollup = self.store.rollup(point, (now - HISTORY_DAYS * DAY_US) // HOUR_US * HOUR_US, now, HOUR_US)
                use = hours_of_day(site.timezone, rollup.start) < POWER.last
                days, place = np.unique(local_days(site.timezone, rollup.start[use]), return_inverse=True)
                mean = np.bincount(place, rollup.mean[use]) / np.maximum(np.bincount(place), 1)
                return dict(zip(days.tolist(), mean.tolist(), strict=True))
        return {}

    def _outdoor(self, site: str, days: NDArray[np.int64]) -> NDArray[np.float64] | None:
        known = self._degc.get(site)
        return np.array([known.get(int(day), np.nan) for day in days]) if known else None

    def _learn(self, series: IntervalSeries, whole: bool, now: int) -> None:
        measure = series.measure
        carrier = QUANTITIES[measure.name].carrier
        night = WATER if carrier is Carrier.WATER else POWER if measure.name == "active_energy_import" else None
        if night:
            if whole:
                self._nights[measure].clear()
            self._nights[measure].update(_night_values(series, self.installation.timezone_of(measure.node), night, now))
        if whole:
            before = series.start < now - DAY_US
            _, longest = resting(series.amount[before], series.coverage[before] > 0)
            self._longest[measure] = (longest, int(before.sum()))

    def _matrix(
        self, measures: Sequence[Measure], zone: str, now: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """float64 (measures, days) of night values up to the last night that has passed, and the days."""
        today = (local_date(zone, now) - date(1970, 1, 1)).days
        days = np.arange(today - HISTORY_DAYS, today + 1)
        out = np.full((len(measures), len(days)), np.nan)
        for row, measure in enumerate(measures):
            for day, value in self._nights[measure].items():
                if days[0] <= day <= days[-1]:
                    out[row, day - days[0]] = value
        if not np.isfinite(out[:, -1]).any():  # tonight is not over
            out, days = out[:, :-1], days[:-1]
        return out, days

    def _rises(
        self, now: int, night: _Night, wanted: Callable[[Meter, Measure], bool]
    ) -> list[tuple[Meter, float, float, int, str]]:
        """(meter, rise, usual [unit/h], since, zone) of meters above their usual nights, the lowest of each branch."""
        out = []
        for site in self.installation.sites:
            zone, calendar = site.timezone, self._calendar_of(site.id)
            own = [m for m in self._nights if m.site == site.id and wanted(self._meter(m.node), m)]
            if not own:
                continue
            nights, days = self._matrix(own, zone, now)
            kind = None if night.hourly_least else calendar.of_days(days - 1)
            least = np.array([max(night.least, self._least(m)) for m in own])
            outdoor = None if night.hourly_least else self._outdoor(site.id, days)
            found = rises(nights, least, night.share, kind, outdoor)
            rows: dict[str, tuple[float, int]] = {}
            usual: dict[str, float] = {}
            for k in np.flatnonzero(found.first >= 0):
                day = date(1970, 1, 1) + timedelta(days=int(days[found.first[k]]))
                began = self._began(own[k], zone, day, night, float(found.usual[k]), float(found.rise[k]))
                rows[own[k].node] = (float(found.rise[k]), began)
                usual[own[k].node] = float(found.usual[k])
            parent = {m.id: m.parent for m in self.installation.meters}
            for node, (rise, since) in lowest_in_tree(rows, parent, 2 * DAY_US).items():
                out.append((self._meter(node), rise, usual[node], since, zone))
        return out

    def _least(self, measure: Measure) -> float:
        """One per cent of what a meter is made for [kW]."""
        rated = self._meter(measure.node).rated_power_w
        return 0.01 * rated / 1000.0 if rated and measure.unit == "kWh" else 0.0

    def _began(self, measure: Measure, zone: str, day: date, night: _Night, usual: float, rise: float) -> int:
        """When the rise of the night of `day` began, to the hour."""
        window = day_start(zone, day) + night.first * HOUR_US
        (series,) = self.store.intervals([measure], "15min", window - DAY_US, window)
        hours = np.unique(series.start // HOUR_US) * HOUR_US
        flow = np.full(len(hours), np.nan)
        for i, hour in enumerate(hours.tolist()):
            lo, hi = np.searchsorted(series.start, [hour, hour + HOUR_US])
            if hi - lo == 4 and not series.estimated[lo:hi].any():
                flow[i] = float(series.amount[lo:hi].sum()) / 1000.0
        began = onset(hours, flow, window, usual, rise)
        if night.hourly_least:
            return began
        closes = self._closes(self._meter(measure.node))
        hour, minute = (int(part) for part in closes.split(":"))
        evening = day_start(zone, day - timedelta(days=1)) + hour * HOUR_US + minute * MINUTE_US
        return max(began, evening)

    def _leaks(self, now: int) -> list[Attention]:
        out = []
        for meter, rise, usual, since, zone in self._rises(
            now, WATER, lambda meter, measure: measure.name == "water_volume"
        ):
            when = wording.moment(since, now, zone)
            text = wording.water_at_night(self._place(meter), meter.name, rise, when, self._closes(meter))
            data = {"usual": usual, "per_day": rise * 24}
            out.append(
                Attention("water_at_night", meter.site, meter.building, meter.id, since, None, "needs_you", rise,
                          "m3/h", text, data)
            )  # fmt: skip
        return out

    def _night_loads(self, now: int) -> list[Attention]:
        def wanted(meter: Meter, measure: Measure) -> bool:
            return measure.name == "active_energy_import" and meter.role not in ("generation", "storage")

        out = []
        for meter, rise, usual, since, zone in self._rises(now, POWER, wanted):
            when = wording.moment(since, now, zone)
            text = wording.night_load(self._place(meter), meter.name, rise, usual, when, self._closes(meter))
            out.append(
                Attention("night_load", meter.site, meter.building, meter.id, since, None, "needs_you", rise, "kW",
                          text, {"usual": usual})
            )  # fmt: skip
        return out

    # Counters and values

    def _stuck(
        self, now: int, recent: dict[Measure, IntervalSeries], latest: dict[Point, Reading], mute: set[str]
    ) -> list[Attention]:
        out = []
        for measure, series in recent.items():
            if measure.node in mute or not len(series) or now - int(series.end[-1]) > 2 * HOUR_US:
                continue
            rest, _ = resting(series.amount, series.coverage > 0)
            if rest < 4 or series.coverage[-1] == 0:
                continue
            since, meter = int(series.start[len(series) - rest]), self._meter(measure.node)
            gauge = Point(measure.site, measure.node, FLOW.get(measure.name, ""))
            if gauge in latest:
                flow = self._least_flow(meter, gauge, since, now)
                moved = series.amount[series.amount > 0]
                step = max(TICK, float(moved.min()) / 1000.0 if len(moved) else 0.0)  # no finer than its counter
                if flow is None or flow * (now - since) / HOUR_US < 5 * step:
                    continue
                unit = gauge.of.unit
                kilo = unit == "W"
                shown = f"{wording.figure(flow)} {'kW' if kilo else 'm³/h'}"
            else:
                longest, of = self._longest.get(measure, (0, 0))
                daily = measure.name in ("active_energy_import", "water_volume")  # gas and heat rest for a season
                if not daily or of < 14 * 96 or longest > 120:
                    continue
                if rest < max(24, longest + max(8, longest)):
                    continue
                shown = ""
            when = wording.moment(since, now, self.installation.timezone_of(meter.id))
            text = wording.stuck(self._place(meter), meter.name, when, shown)
            hours = (now - since) / HOUR_US
            out.append(
                Attention("stuck", meter.site, meter.building, meter.id, since, None, "broken", hours, "h", text)
            )
        for meter in self.installation.meters:
            if meter.role == "sensor" and meter.id not in mute:
                out += self._stuck_sensor(meter, latest, now)
        return out

    def _least_flow(self, meter: Meter, gauge: Point, since: int, now: int) -> float | None:
        """The least flow that the meter showed in each hour since, in counter units an hour; None: it showed none."""
        rollup = self.store.rollup(gauge, since // HOUR_US * HOUR_US + HOUR_US, now, HOUR_US)
        if not len(rollup.start):
            rollup = self.store.rollup(gauge, since // HOUR_US * HOUR_US, now, HOUR_US)
        if not len(rollup.start):
            return None
        values = gauge_values(meter.facts, gauge.quantity, rollup.start, rollup.lowest)
        return float(values.min()) * PER_HOUR.get(gauge.of.unit, 1.0)

    def _stuck_sensor(self, meter: Meter, latest: dict[Point, Reading], now: int) -> list[Attention]:
        """A thermometer outdoors that repeats one value for longer than it ever did in the two weeks before."""
        point = Point(meter.site, meter.id, "outdoor_temperature")
        if point not in latest:
            return []
        rollup = self.store.rollup(point, (now - 15 * DAY_US) // HOUR_US * HOUR_US, now, HOUR_US)
        value, still = latest[point].value, (rollup.lowest == rollup.highest)
        if len(still) < 10 * 24:
            return []
        same = still & (rollup.mean == value)
        moves = np.flatnonzero(~same)
        rest = len(same) - 1 - int(moves[-1]) if len(moves) else len(same)
        # hours at one value, of any value, before
        begins = np.concatenate([[True], ~still[1:] | (rollup.mean[1:] != rollup.mean[:-1])])[: len(still) - rest]
        longest = int(np.diff(np.append(np.flatnonzero(begins), len(begins))).max(initial=0))
        if rest < max(12, 2 * longest):
            return []
        since = int(rollup.start[len(same) - rest])
        when = wording.moment(since, now, self.installation.timezone_of(meter.id))
        shown = f"{wording.figure(value)} °C"
        text = wording.stuck_gauge(self._place(meter), meter.name, when, shown)
        hours = (now - since) / HOUR_US
        return [Attention("stuck", meter.site, meter.building, meter.id, since, None, "broken", hours, "h", text)]

    def _out_of_range(
        self, now: int, recent: dict[Measure, IntervalSeries], latest: dict[Point, Reading], mute: set[str]
    ) -> list[Attention]:
        out, done = [], set(mute)
        for point, reading in latest.items():
            if reading.quality != Quality.SUSPECT or point.meter in done or point.meter not in self.installation.by_id:
                continue
            samples = self.store.series(point, now - DAY_US, now + HOUR_US)
            good = np.flatnonzero(samples.quality != Quality.SUSPECT)
            first = int(good[-1]) + 1 if len(good) else 0
            if len(samples) - first < 2:
                continue  # one suspect value is a glitch
            since = int(samples.at[first])
            device = self.installation.by_id[point.meter]
            assert isinstance(device, Meter | Vehicle)
            done.add(point.meter)
            when = wording.moment(since, now, self.installation.timezone_of(device.id))
            shown = f"{wording.figure(reading.value)} {point.of.unit}"
            text = wording.suspect(self._place(device), device.name, shown, when)
            out.append(
                Attention("out_of_range", device.site, device.building, device.id, since, None, "needs_you",
                          reading.value, point.of.unit, text, {"quantity": point.quantity})
            )  # fmt: skip
        for measure, series in recent.items():
            meter = self._meter(measure.node)
            if measure.name != "active_energy_import" or not meter.rated_power_w or meter.id in done:
                continue
            use = series.start >= now - DAY_US
            power = series.amount[use] * 4 / 1000.0  # [kW], quarter hours
            sure = (series.coverage[use] >= 0.9) & (power > ABOVE_RATED * meter.rated_power_w / 1000.0)
            end = series.end[use]
            if len(end) and series.coverage[use][-1] < 0.9:  # the quarter that is not over
                sure, power, end = sure[:-1], power[:-1], end[:-1]
            under = np.flatnonzero(~sure)
            run = len(sure) - 1 - int(under[-1]) if len(under) else len(sure)
            if run < ABOVE_RATED_QUARTERS or now - int(end[-1]) > HOUR_US:
                continue
            since, size = int(end[len(end) - run]) - QUARTER_US, float(power[-run:].mean())
            when = wording.moment(since, now, self.installation.timezone_of(meter.id))
            text = wording.above_rated(self._place(meter), meter.name, size, meter.rated_power_w / 1000.0, when)
            out.append(
                Attention("out_of_range", meter.site, meter.building, meter.id, since, None, "needs_you", size, "kW",
                          text, {"rated": meter.rated_power_w / 1000.0})
            )  # fmt: skip
        return out

    def _resets(self, now: int, findings: Iterable[tuple[Measure, Finding]]) -> list[Attention]:
        newest: dict[str, tuple[Measure, Finding]] = {}
        for measure, finding in findings:
            at = int(finding.data.get("at", 0))
            device = self.installation.by_id.get(measure.node)
            if finding.code not in RESET_CODES or at < now - FINDING_DAYS * DAY_US or not isinstance(device, Meter):
                continue
            swapped = any(f.kind == "swap" and abs(f.valid_from - at) <= SWAP_SLACK_US for f in device.facts)
            if not swapped:
                newest[measure.node] = (measure, finding)
        out = []
        for node, (measure, finding) in newest.items():
            meter = self._meter(node)
            at, before, after = int(finding.data["at"]), float(finding.data["before"]), float(finding.data["after"])
            unit = "m³" if measure.unit == "m3" else measure.unit
            when = wording.moment(at, now, self.installation.timezone_of(node))
            figures = (f"{before:,.1f} {unit}", f"{after:,.1f} {unit}")
            text = wording.counter_reset(self._place(meter), meter.name, *figures, when, after > before)
            out.append(
                Attention("counter_reset", meter.site, meter.building, node, at, None, "needs_you",
                          abs(after - before), measure.unit, text, dict(finding.data))
            )  # fmt: skip
        return out

    # Names

    def _meter(self, meter_id: str) -> Meter:
        found = self.installation.by_id[meter_id]
        assert isinstance(found, Meter)
        return found

    def _building(self, device: Device) -> Building | None:
        found = self.installation.by_id.get(device.building)
        return found if isinstance(found, Building) else None

    def _place(self, device: Device) -> Name:
        building = self._building(device)
        return building.name if building else self.installation.site(device.site).name

    def _closes(self, device: Device) -> str:
        building = self._building(device)
        return building.closes if building else "18:00"


def _cadence(device: Device) -> int:
    """How often a device should be heard [us]: its poll period where we ask it, else its configured cadence."""
    if isinstance(device, Vehicle):
        return max(round((device.cadence_s or 0) * 1e6), VEHICLE_SILENT_US // 3)
    if device.connection.startswith("modbus"):
        return round(device.poll_s * 1e6)
    if device.imported and device.cadence_s is None:
        return NEVER_US
    return round((device.cadence_s or 900.0) * 1e6)


def _night_values(series: IntervalSeries, zone: str, night: _Night, now: int) -> dict[int, float]:
    """One value a night [unit/h], by local day since 1970; nights less than three quarters observed have none."""
    hours = hours_of_day(zone, series.start)
    use = np.flatnonzero((hours >= night.first) & (hours < night.last))
    if not len(use):
        return {}
    days = local_days(zone, series.start[use])
    slots = np.rint((hours[use] - night.first) * 4).astype(np.intp)
    known, row = np.unique(days, return_inverse=True)
    width = (night.last - night.first) * 4
    table = np.full((len(known), width), np.nan)
    good = (series.coverage[use] >= 0.5) & (series.estimated[use] == 0)
    table[row[good], slots[good]] = series.amount[use][good] / 1000.0
    share = np.isfinite(table).mean(axis=1)
    last = day_start(zone, local_date(zone, now)) + night.last * HOUR_US
    if now < last:
        share[known == (local_date(zone, now) - date(1970, 1, 1)).days] = 0.0
    if night.hourly_least:
        windows = np.lib.stride_tricks.sliding_window_view(table, 4, axis=1).sum(axis=2)
        value = np.where(np.isfinite(windows), windows, np.inf).min(axis=1)
    else:
        count = np.maximum(np.isfinite(table).sum(axis=1), 1)
        value = np.nansum(table, axis=1) / count * 4
    return {
        int(day): float(v)
        for day, v, s in zip(known.tolist(), value.tolist(), share.tolist(), strict=True)
        if s >= 0.75 and np.isfinite(v)
    }
