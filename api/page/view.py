"""What every page needs: the address, the words, the site, the clock, and figures ready to be set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from api import figures
from api.facts import applied_at
from api.figures import Amount, Scope, newest_end
from api.page.numbers import Typeset, percent, share, typeset
from api.page.period import Filters
from api.page.times import ago, clock, day_said, full, lasted, said
from api.page.wording import Words
from api.periods import Period, local_date, shifted, zone_of
from api.services import Services
from metering.clock import MINUTE_US, from_us, to_us
from metering.health import LineHealth
from metering.quantity import Carrier
from metering.reading import Measure, Point
from metering.site import Building, Meter, Site, Vehicle

LEAST_COVERAGE = 0.95  # below it, the coverage is said beside the figure
INTERVAL_STALE_US = 35 * MINUTE_US
STOPPED_US = 60 * MINUTE_US  # figures that end so long ago say where they end


class Figure(NamedTuple):
    """One number on the page.

    why : the reason when it is not known; note : what a reader has to know about it, or ""
    """

    set: Typeset
    why: str = ""
    note: str = ""
    href: str = ""


class Clause(NamedTuple):
    """A part of a page's sentence, and where it leads."""

    text: str
    href: str = ""


class Moment(NamedTuple):
    """A time as people say it, with the full time for hover and the ISO form for machines."""

    text: str
    full: str
    iso: str


class Now(NamedTuple):
    """What flows at this moment.

    value : None when no meter has said anything yet [W]
    at : the oldest of the readings it is made of [us since 1970]
    stale : whether any of them is older than it should be
    """

    value: float | None
    at: int | None
    stale: bool


class Need(NamedTuple):
    """Something that needs a person: state `needs` or `broken`, what, about which thing, where to look."""

    state: str
    subject: str
    text: str
    since: str
    href: str
    where: str
    node: str
    building: str


@dataclass(frozen=True)
class View:
    """One request's surroundings."""

    services: Services
    site: Site | None
    filters: Filters
    words: Words
    now: int
    memo: dict[str, Any] = field(default_factory=dict, compare=False)  # read once a request

    @property
    def language(self) -> str:
        """`en` or `zh`."""
        return self.words.language

    @property
    def zone(self) -> str:
        """The IANA zone in which this page's times are told."""
        return self.filters.zone

    def name(self, thing: Site | Building | Meter | Vehicle) -> str:
        """A thing's name for a person."""
        return thing.name.in_language(self.language) or thing.id

    def moment(self, at: int, *, relative: bool = False) -> Moment:
        """An instant in words."""
        text = ago(at, self.now, self.language) if relative else said(at, self.now, self.zone, self.language)
        return Moment(text, full(at, self.zone, self.language), from_us(at).isoformat(timespec="seconds"))

    def day(self, at: int, zone: ZoneInfo) -> Clause:
        """The local day an instant lies in, with the link that opens it."""
        day = local_date(at, zone)
        return Clause(day_said(day, self.language), day.isoformat())

    def set(self, value: float | None, unit: str) -> Typeset:
        """A bare value ready to be set."""
        return typeset(value, unit)

    def curve_title(self, carrier: str) -> str:
        """What the main chart shows: a load curve, or consumption by step."""
        short = self.filters.span.days <= 8
        return self.words("today.curve" if carrier == "electricity" and short else "chart.use")

    def now_note(self, now: Now) -> str:
        """What is said beside the figure of this moment: "now", or since when there is no news."""
        if now.value is None or now.at is None:
            return self.words("now.unknown")
        if not now.stale:
            return self.words("now.as_of")
        return self.words("now.stale", since=self.moment(now.at).text, ago=ago(now.at, self.now, self.language))

    def clock(self, at: int) -> str:
        """`14:07` in the site's zone."""
        return clock(at, self.zone)

    def lasted(self, us: int) -> str:
        """A duration in words."""
        return lasted(us, self.language)

    def link(self, path: str, **changes: str | None) -> str:
        """A path that keeps the address's filters."""
        return self.filters.link(path, **changes)

    def path_of(self, thing: Site | Building | Meter | Vehicle) -> str:
        """A thing's page, without filters."""
        kind = "buildings" if isinstance(thing, Building) else "vehicles" if isinstance(thing, Vehicle) else "meters"
        return "/" if isinstance(thing, Site) else f"/{kind}/{quote(thing.id, safe='')}"

    def href_of(self, thing: Site | Building | Meter | Vehicle) -> str:
        """A thing's page."""
        return self.link(self.path_of(thing))

    @property
    def is_long(self) -> bool:
        """Whether the period is longer than a week: then it has no usual, and is compared with another period."""
        return self.filters.span.days > 8

    @property
    def deviation_title(self) -> str:
        """What the buildings' deviation is from."""
        if not self.is_long:
            return self.words("column.own_usual")
        label = self.filters.compared_label(self.words)
        return self.words("column.against", that=label) if label else self.words("column.own_usual")

    def percent(self, ratio: float | None) -> str:
        """A ratio as whole per cent, without sign."""
        return percent(ratio, self.language)

    def share(self, ratio: float | None) -> str:
        """A share as per cent that never rounds up to 100."""
        return share(ratio, self.language)

    def figure(self, amount: Amount, href: str = "") -> Figure:
        """An amount ready to be set, with what limits it."""
        if amount.value is None:
            return Figure(typeset(None, ""), self.words("why.nothing_arrived"), "", href)
        return Figure(typeset(amount.in_units, amount.unit), "", self.quality_note(amount), href)

    def quality_note(self, amount: Amount) -> str:
        """What has to be said beside a figure: how much of the time was observed, how much is estimated."""
        if amount.value is None:
            return ""
        if amount.estimated_share > 0.05:
            return self.words("quality.estimated", share=self.share(amount.estimated_share))
        if amount.coverage < LEAST_COVERAGE:
            return self.words("quality.coverage", share=self.share(amount.coverage))
        return ""

    def elapsed(self, measures: Sequence[Measure]) -> tuple[Period, Period | None]:
        """The period shown as far as it has passed, and the one compared with, cut at the same clock hour."""
        span, compared = self.filters.span, self.filters.compared
        if not self.filters.is_now:
            return span.period, compared.period if compared else None
        stop = max(
            max((newest_end(self.services, m, span.period) for m in measures[:1]), default=span.start), span.start
        )
        this = Period(span.start, max(stop, span.start + 1))
        if compared is None:
            return this, None
        shift = (span.first - compared.first).days
        until = shifted(stop, zone_of(self.zone), -shift)
        return this, Period(compared.start, max(compared.start + 1, min(compared.end, until)))

    def stopped_at(self, period: Period) -> str:
        """The clock time at which the figures of a running period end, when that is not now; else nothing."""
        late = self.filters.is_now and period.length > 1 and self.now - period.end > STOPPED_US
        return said(period.end, self.now, self.zone, self.language) if late else ""

    def changed(self, ratio: float | None, that: str, period: Period) -> str:
        """Like ", 8 % less than last Tuesday by this hour"; nothing where nothing can be said."""
        if ratio is None:
            return ""
        key = "same" if abs(ratio) < 0.01 else "less" if ratio < 0 else "more"
        suffix = "" if not self.filters.is_now else "_by_then" if self.stopped_at(period) else "_by_now"
        return self.words(f"change.{key}{suffix}", percent=self.percent(ratio), that=that)


def line_name(view: View, line: LineHealth) -> str:
    """A line's name for a person: what it serves; a broker keeps the name it was given."""
    if line.kind != "modbus":
        return line.id
    by_id = view.services.installation.by_id
    homes: dict[str, None] = {}
    for unit in line.units:
        device = by_id.get(unit.device)
        building = by_id.get(device.building) if isinstance(device, Meter | Vehicle) else None
        home = building if isinstance(building, Building) else view.site
        homes[view.name(home) if home else ""] = None
    names = [name for name in homes if name]
    return view.words.joined(names) if 0 < len(names) <= 2 else line.id if not names else names[0] + " …"


def source_name(view: View, source: str) -> str:
    """A book's source for a person."""
    if source in ("history", "ingest", "import"):
        return view.words(f"source.{source}")
    status = view.services.collector
    line = next((each for each in status.lines() if each.id == source), None) if status else None
    return line_name(view, line) if line else source


def power_points(view: View, scope: Scope, node: str) -> list[tuple[Meter, int, Point]]:
    """The meters whose power adds up to what a node uses now, each with its sign."""
    installation = view.services.installation
    thing = installation.by_id[node]
    if isinstance(thing, Meter):
        signed = [(thing, 1)] if thing.carrier == Carrier.ELECTRICITY else []
    else:
        signed = [
            (meter, sign)
            for meter, sign in installation.contributions(scope, node, Carrier.ELECTRICITY)
            if meter.role != "generation"
        ]
        signed += [
            (meter, -1)
            for meter in installation.meters
            if meter.role == "generation" and node in (meter.building, meter.site)
        ]
    return [(meter, sign, Point(meter.site, meter.id, "active_power")) for meter, sign in signed]


def power_now(view: View, scope: Scope, node: str) -> Now:
    """What a node uses now; where nothing fresh is known, the last that was, marked stale."""
    found = figures.power_now(view.services, node)
    if found.basis == "readings":
        return Now(found.value_w, found.at, False)
    if found.basis == "interval" and found.at is not None and view.now - found.at <= INTERVAL_STALE_US:
        return Now(found.value_w, found.at, False)
    return _last_known(view, scope, node)


def _last_known(view: View, scope: Scope, node: str) -> Now:
    wanted = power_points(view, scope, node)
    latest = view.services.store.latest([point for _, _, point in wanted])
    total, oldest = 0.0, None
    for meter, sign, point in wanted:
        reading = latest.get(point)
        if reading is None:
            continue
        at = to_us(reading.observed_at)
        total += sign * applied_at(meter, "active_power", at, reading.value)
        oldest = at if oldest is None else min(oldest, at)
    return Now(None if oldest is None else total, oldest, True)
