"""Everything the routes and the page need, passed in once by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from analytics.anomaly.incident import Incident
from analytics.baseline.expected import Expected, Total
from analytics.daykinds import SiteCalendar
from api.access import Access
from api.known import KnownMeasures
from api.live import LiveFeed
from metering.clock import now_us
from metering.explain import ExplainedError, Finding
from metering.health import CollectorStatus
from metering.reading import Measure, Point
from metering.site import Installation, Name
from storage.ledger.baselines import BaselineRow
from storage.ledger.incidents import FeedbackRow, IncidentRow
from storage.ledger.savings import AdjustmentRow, ModelRow, ProjectRow
from storage.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEBIBYTE = 1024 * 1024


class IngestRow(NamedTuple):
    """One accepted row of a batch that came over HTTP."""

    row: int  # its number in the batch, from 0
    point: Point
    at: int  # observed_at [us since 1970]
    value: float  # [the quantity's unit]


class RejectedRow(NamedTuple):
    """One refused row of a batch: why, and what to do about it."""

    row: int
    reason: str  # as counted in the books, e.g. "out of range"
    mend: str


class Collector(CollectorStatus, Protocol):
    """What the API asks of the collector."""

    async def ingest(  # type: ignore[override]
        self, source: str, key: str, payload: bytes, rows: Sequence[IngestRow], rejected: Sequence[RejectedRow]
    ) -> str:
        """Take a batch; returns its spool position once it is durable (fdatasync done).

        `payload` is the body as received: the record that goes into the spool, with `key` as
        the record's key. `rows` and `rejected` are what `api.batches.read_batch` made of it.

        Raises
        ------
        ExplainedError
            If the spool takes nothing now; nothing of the batch was kept.
        """
        ...

    def replay(self, ids: Sequence[int]) -> int:
        """Put quarantined payloads back at the head of the way; returns how many were taken."""
        ...


class Event(Protocol):
    """Something that needs somebody: a row of the ledger's events."""

    id: int
    kind: str  # silent, stuck, out_of_range, dead_unit, water_at_night, night_load, ...
    severity: str
    subject: str  # id of the meter, vehicle, building or line
    since: int  # [us since 1970]
    until: int | None  # None while it lasts
    text: Name
    data: Mapping[str, Any]


class Ledger(Protocol):
    """What the API asks of the ledger."""

    def events(
        self,
        start: int | None = None,
        end: int | None = None,
        *,
        site: str | None = None,
        node: str | None = None,
        kind: str | None = None,
        open_only: bool = False,
        limit: int = 1000,
    ) -> Sequence[Event]:
        """Events that overlap [start, end) [us since 1970], newest first."""
        ...


class Insights(Protocol):
    """Baselines and incidents: fitted and watched in the background, asked here."""

    waiting: int  # measures whose baseline is being fitted

    def baselines(self, site: str | None = None, node: str | None = None) -> Sequence[BaselineRow]:
        """The baselines in use."""
        ...

    def versions(self, measure: Measure) -> Sequence[BaselineRow]:
        """All baselines a measure has had, the newest first."""
        ...

    def usual(self, measure: Measure, start: int, end: int) -> Usual | None:
        """What is usual in the whole hours of [start, end) [us since 1970]; None where that is not known."""
        ...

    def totals(self, usual: Any, by: str) -> Total:
        """Sums of it by local day, week, month or all, each with its 90 % interval."""
        ...

    def outdoor(self, node: str, start: int, end: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Outdoor temperature of the hours of [start, end) [degC], NaN where unknown; and where it comes from."""
        ...

    def weather(self, node: str, start: int, end: int) -> Weather:
        """The same, with each thermometer's place, distance and share."""
        ...

    def incidents(
        self,
        start: int | None = None,
        end: int | None = None,
        *,
        site: str | None = None,
        node: str | None = None,
        kind: str | None = None,
        open_only: bool = False,
        causes_only: bool = True,
    ) -> Sequence[IncidentRow]:
        """Incidents that overlap [start, end), newest first; without those that are part of another."""
        ...

    def incident(self, number: int) -> IncidentRow | None:
        """One incident; None if there is none."""
        ...

    def parts(self, number: int) -> Sequence[IncidentRow]:
        """Those that have it as their cause: the same, seen by other meters."""
        ...

    def said_of(self, number: int) -> Sequence[FeedbackRow]:
        """What people said of it, oldest first."""
        ...

    def say(self, number: int, feedback: str, note: str, author: str) -> IncidentRow | None:
        """Keep what a person says of an incident; None if there is none."""
        ...

    def budget(self, measure: Measure) -> float:
        """How many incidents a month a meter may tell of that are none."""
        ...

    def watch(self, measure: Measure, alarms_per_month: float, author: str) -> None:
        """Set it."""
        ...

    def try_budget(self, measure: Measure, alarms_per_month: float) -> Tried:
        """What a meter's watch would have told of its last year with another one."""
        ...


class Thermometer(Protocol):
    """An outdoor thermometer, seen from a node; `distance_km` None where a position is not configured."""

    @property
    def point(self) -> Point: ...
    @property
    def place(self) -> Literal["building", "site", "elsewhere"]: ...
    @property
    def distance_km(self) -> float | None: ...


class Weather(Protocol):
    """Outdoor temperature of hours [degC], NaN where unknown; the thermometers it is of, each with its share [1]."""

    @property
    def degc(self) -> NDArray[np.float64]: ...
    @property
    def used(self) -> Sequence[tuple[Thermometer, float]]: ...


class Usual(Protocol):
    """What is usual in a row of hours."""

    @property
    def row(self) -> BaselineRow:
        """The baseline behind it."""
        ...

    @property
    def expected(self) -> Expected:
        """Amounts with their bands."""
        ...


class Tried(Protocol):
    """What a setting would have told: of [start, end) [us since 1970]; `missed` are incidents people had confirmed."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def incidents(self) -> Sequence[Incident]: ...
    @property
    def missed(self) -> Sequence[IncidentRow]: ...


class SavingReport(Protocol):
    """A project's saving as it stands now; see `meterhall.savings.Report`."""

    @property
    def project(self) -> ProjectRow: ...
    @property
    def model(self) -> ModelRow: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def savings(self) -> Mapping[str, Any] | None: ...
    @property
    def months(self) -> Mapping[str, list[Any]]: ...
    @property
    def days(self) -> Mapping[str, list[Any]]: ...
    @property
    def adjustments(self) -> Sequence[AdjustmentRow]: ...
    @property
    def in_force(self) -> Sequence[AdjustmentRow]: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def weather(self) -> Weather: ...
    @property
    def provisional_years(self) -> Sequence[int]: ...


class Savings(Protocol):
    """Projects of measurement and verification."""

    def projects(self) -> Sequence[ProjectRow]:
        """The projects as they stand now."""
        ...

    def adjustments(self, project: str) -> Sequence[AdjustmentRow]:
        """Every adjustment of a project, oldest first."""
        ...

    def report(self, project: str) -> SavingReport | None:
        """A project's saving; its baseline is fitted first if there is none. None if there is no such project."""
        ...

    def propose(self, row: ProjectRow) -> ProjectRow:
        """Add a project, or mend one; ExplainedError if it cannot be one."""
        ...

    def adjust(self, row: AdjustmentRow) -> AdjustmentRow:
        """Add a non-routine adjustment; ExplainedError if it corrects one that is not in force."""
        ...

    def fit(self, project: str) -> ModelRow | None:
        """Fit a project's baseline anew. None if there is no such project."""
        ...


class BackupState(Protocol):
    """A backup that is being made or was made, in a folder of its own inside the data folder."""

    name: str
    state: Literal["running", "done", "failed"]
    done_bytes: int
    total_bytes: int
    note: str  # why it failed
    readings: int | None


class Backups(Protocol):
    """Makes backups while everything runs."""

    def start(self) -> BackupState:
        """Begin one. ExplainedError if one is under way, or too many are kept."""
        ...

    def list(self) -> Sequence[BackupState]:
        """Those kept, newest first, and the one under way."""
        ...


class QuarantineEntry(Protocol):
    """One rejected payload, of which the first 4 KiB are kept."""

    id: int
    source: str
    key: str
    received_at: int
    reason: str
    detail: str
    position: str
    payload: bytes  # the first 4 KiB
    size: int  # of the whole [bytes]
    replayed: bool


class Quarantine(Protocol):
    """Rejected payloads, with their reason."""

    def entries(
        self, *, limit: int, before: int | None = None, source: str | None = None, reason: str | None = None
    ) -> Sequence[QuarantineEntry]:
        """Newest first, with ids below `before`."""
        ...

    def get(self, entry_id: int) -> QuarantineEntry | None:
        """One entry with its payload; None if there is none."""
        ...

    def count(self) -> int:
        """How many there are."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all together, may take."""

    body_bytes: int = MEBIBYTE
    ingest_bytes: int = 8 * MEBIBYTE
    ingest_rows: int = 100_000
    body_s: float = 10.0  # from the first byte of a request to the last
    send_s: float = 30.0  # a client that takes no byte for so long is dropped
    page_rows: int = 10_000  # JSON rows in a page
    steps: int = 50_000  # intervals or rollup steps in one reply
    stream_s: float = 600.0  # longest download
    stream_rows: int = 50_000_000
    expensive: int = 4  # expensive requests at once; more get 429
    live_clients: int = 64
    live_points: int = 2_000
    live_period_s: float = 0.5  # a client gets at most one message a period
    heartbeat_s: float = 15.0


@dataclass(frozen=True)
class Services:
    """Everything the routes need. Replaced as a whole when the configuration is reloaded.

    installation : what is configured
    store, ledger, quarantine : what lasts
    collector : the collector, in this process or far away; None where there is none
    live : the feed of values as they arrive
    admin_token : what changing routes ask for; never empty
    data_folder : where everything lies
    open_reading : reading needs no token (only when bound to loopback)
    allowed_hosts : names a Host header may carry, without port
    access : users, sessions and API keys; None where only the admin token opens what is not open
    public_url : where a proxy in front answers; "" without one
    proxies : networks of proxies whose word on the client's address is taken
    secure : browsers reach it by TLS alone
    simulated : the data is simulated or replayed, and every page says so
    reload : takes the configuration as it is on disk now; returns what is different. None where that is not possible
    insights : baselines and incidents; None where nothing is fitted
    savings : projects of measurement and verification; None where nothing is worked out
    backups : makes backups; None where nothing can be backed up
    calendar_of : the calendar of a site, by its id; Monday to Friday, provisional, where nobody gives one
    """

    installation: Installation
    store: Store
    ledger: Ledger
    quarantine: Quarantine
    collector: Collector | None
    live: LiveFeed
    admin_token: str
    data_folder: Path
    started_at: int
    now: Callable[[], int] = now_us
    open_reading: bool = True
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    access: Access | None = None
    public_url: str = ""
    proxies: tuple[str, ...] = ()
    secure: bool = False
    simulated: bool = False
    calendar_of: Callable[[str], SiteCalendar] = SiteCalendar
    backups: Backups | None = None
    reload: Callable[[], Sequence[str]] | None = None
    insights: Insights | None = None
    savings: Savings | None = None
    limits: Limits = field(default_factory=Limits)
    version: str = "0.1.0"
    known: KnownMeasures = field(default_factory=KnownMeasures, repr=False, compare=False)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.admin_token) < 16:
            raise ExplainedError(
                "admin token", "is empty or shorter than 16 characters", "delete admin.token and start again"
            )
