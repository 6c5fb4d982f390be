"""What goes over the wire, as JSON: times are ISO 8601 with offset, amounts are thousandths of the unit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Iso = Annotated[str, Field(description="ISO 8601 with offset", examples=["2026-11-24T08:00:00+08:00"])]
Thousandths = Annotated[int, Field(description="thousandths of the unit, exact")]
Share = Annotated[float, Field(ge=0, description="share [1]")]


class Model(BaseModel):
    """Strict on the way out as on the way in."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | None = None
    where: str | None = None
    what: str | None = None
    mend: str | None = None
    errors: list[dict[str, Any]] | None = None


class NameOut(Model):
    """A name in both languages."""

    en: str
    zh: str


class DatedOut(Model):
    """A value and the date from which it holds."""

    value: float
    valid_from: Iso | None


class SiteOut(Model):
    """A site."""

    id: str
    name: NameOut
    timezone: str
    country: str
    latitude: float | None
    longitude: float | None


class BuildingOut(Model):
    """A building; areas in m2, persons as they were dated."""

    id: str
    site: str
    name: NameOut
    use: str
    floor_area: list[DatedOut]
    persons: list[DatedOut]
    opens: str
    closes: str
    in_charge: str


class FactOut(Model):
    """A dated fact of a meter, applied on the way out."""

    kind: Literal["ratio", "sign", "rescale", "swap"]
    valid_from: Iso | None
    factor: float
    offset: float
    quantity: str
    last: float | None
    first: float | None
    reason: str


class MeterOut(Model):
    """A meter and its place in the tree; what it is asked over is without secrets."""

    id: str
    site: str
    building: str
    name: NameOut
    carrier: str
    role: str
    profile: str
    unit_id: int | None
    parent: str
    parts: list[str]
    end_use: str
    facts: list[FactOut]
    points: list[str]
    simulated: bool
    replayed: bool


class VehicleOut(Model):
    """A vehicle, what it does and when it was last heard."""

    id: str
    site: str
    building: str
    name: NameOut
    drive: str
    plate: str
    profile: str
    battery_kwh: float | None
    tank_l: float | None
    activity: Literal["driving", "charging", "parked", "silent", "unknown"]
    last_seen: Iso | None
    state_of_charge: float | None = Field(description="[%]")
    fuel_level: float | None = Field(description="[%]")
    odometer: float | None = Field(description="[km]")
    points: list[str]
    simulated: bool


class TripOut(Model):
    """A stretch in which the odometer rose."""

    start: Iso = Field(description="the last reading at rest")
    end: Iso = Field(description="the first reading at rest again, or the newest")
    distance: float = Field(description="[km]")
    certain: bool = Field(description="false: readings were missing; it lies somewhere between start and end")
    fuel: float | None = Field(description="[l]")
    charge_before: float | None = Field(description="[%]")
    charge_after: float | None = Field(description="[%]")


class ChargeOut(Model):
    """A stretch in which the charged energy rose."""

    start: Iso
    end: Iso
    energy: float = Field(description="[kWh]")
    certain: bool
    charge_before: float | None = Field(description="[%]")
    charge_after: float | None = Field(description="[%]")


class RefuellingOut(Model):
    """A rise of the fuel gauge, between two readings."""

    after: Iso
    before: Iso
    fuel: float | None = Field(description="[l], by gauge and tank")
    level_before: float = Field(description="[%]")
    level_after: float = Field(description="[%]")


class JourneysOut(Model):
    """What a vehicle did that ended in [start, end)."""

    vehicle: str
    start: Iso
    end: Iso
    trips: list[TripOut]
    charges: list[ChargeOut]
    refuellings: list[RefuellingOut]


class DeviceOut(Model):
    """How a meter or vehicle does."""

    id: str
    kind: Literal["meter", "vehicle"]
    site: str
    line: str
    state: Literal["ok", "silent", "never", "broken", "degraded"]
    last_seen: Iso | None
    offline_since: Iso | None
    errors: dict[str, int]
    note: str


class BranchOut(Model):
    """A meter in the tree with a period's figures."""

    meter: str
    name: NameOut
    quantity: str
    unit: str
    amount: Thousandths | None
    coverage: Share
    estimated: Thousandths
    share: float | None = Field(description="of its parent [1]")
    rest: Thousandths | None = Field(description="what its parts leave unexplained")
    parts: list[BranchOut]


class TreeOut(Model):
    """The meters of a node of one carrier."""

    node: str
    carrier: str
    start: Iso
    end: Iso
    tops: list[BranchOut]


class SampleOut(Model):
    """One reading."""

    at: Iso
    value: float
    quality: int = Field(description="0 measured, 1 suspect (kept as the meter said it), 2 manual")


class StepOut(Model):
    """Minimum, mean and maximum of a gauge in a step."""

    start: Iso
    lowest: float
    mean: float
    highest: float
    count: int


class SeriesOut(Model):
    """Readings of a point, or a gauge's steps; a missing value makes no row."""

    point: str
    unit: str
    kind: Literal["gauge", "counter", "state"]
    tz: str
    aggregate: Literal["raw", "1min", "15min", "hour", "day"]
    facts_applied: bool = Field(description="dated facts (ratio, sign, rescale) are in the values")
    start: Iso
    end: Iso
    rows: list[SampleOut] | list[StepOut]
    next: str | None = Field(description="give it as `cursor` for the next page; null: this is the last one")


class FactorOut(Model):
    """A dated, sourced factor."""

    id: str
    value: float
    unit: str
    valid_from: Iso | None
    valid_to: Iso | None
    scope: str
    source: str
    status: Literal["verified", "unverified"]


class ConvertedOut(Model):
    """Money, CO2 or standard coal of the whole period, and the factor rows it was made with."""

    value: float
    unit: str
    factors: list[FactorOut]


class IntervalOut(Model):
    """What was used in an interval."""

    start: Iso
    end: Iso
    amount: Thousandths
    estimated: Thousandths = Field(description="the part that was spread over gaps")
    coverage: Share = Field(description="share of the interval outside gaps [1]")


class ConsumptionOut(Model):
    """Consumption by interval; an interval of which nothing is known is absent, and not zero."""

    node: str
    scope: Literal["meter", "building", "site"]
    name: str = Field(description="the carrier, or the meter's counter")
    unit: str
    tz: str
    resolution: Literal["15min", "hour", "day", "month", "year", "total"]
    estimates: Literal["include", "exclude"]
    start: Iso
    end: Iso
    total: Thousandths | None = Field(description="null: nothing is known")
    estimated: Thousandths
    coverage: Share
    rows: list[IntervalOut]
    converted: dict[str, ConvertedOut] = Field(description="price, co2, kgce: where a factor covers all of it")


class LatestOut(Model):
    """The newest reading of a point, facts applied."""

    point: str
    unit: str
    at: Iso
    received_at: Iso
    value: float
    quality: int
    age_s: float


class EventOut(Model):
    """Something that needs somebody."""

    id: int | str
    kind: str
    severity: str
    subject: str
    since: Iso
    until: Iso | None
    text: NameOut
    data: dict[str, Any]


class QuarantineOut(Model):
    """A rejected payload."""

    id: int
    source: str
    key: str
    received_at: Iso
    reason: str
    detail: str
    position: str
    size: int = Field(description="of the whole payload [bytes]")
    replayed: bool


class QuarantinedPayload(QuarantineOut):
    """A rejected payload with what it held (the first 4 KiB)."""

    text: str | None = Field(description="if it is UTF-8")
    hex: str


class QuarantinePage(Model):
    """Rejected payloads, newest first."""

    total: int
    rows: list[QuarantineOut]
    next: int | None = Field(description="give it as `before` for the next page")


class ReplayIn(Model):
    """Which quarantined payloads to try again."""

    ids: list[Annotated[int, Field(ge=0, le=2**62)]] = Field(min_length=1, max_length=10_000)


class ReplayOut(Model):
    """How many were taken."""

    taken: int


class ReloadOut(Model):
    """What a reload changed."""

    changed: list[str] = Field(description="in words; empty where the configuration is the same")


class BackupOut(Model):
    """A backup: a folder of that name in `backups/` of the data folder, whole when its state is done."""

    name: str
    state: Literal["running", "done", "failed"]
    done_bytes: int
    total_bytes: int
    note: str = Field(description="why it failed")
    readings: int | None = Field(description="how many are in it; null while it is not known")


class UnitOut(Model):
    """A unit on a line, or a device behind a broker."""

    device: str
    unit_id: int | None
    state: Literal["ok", "degraded", "broken", "unknown"]
    breaker: Literal["closed", "open", "probing"]
    last_answer: Iso | None
    offline_since: Iso | None
    polls: int
    good: int
    errors: dict[str, int]
    note: str


class LineOut(Model):
    """One way in."""

    id: str
    kind: Literal["modbus", "mqtt", "ingest"]
    address: str
    state: Literal["ok", "degraded", "broken", "unknown"]
    since: Iso | None
    note: str
    connects: int
    units: list[UnitOut]


class SpoolOut(Model):
    """What is durable and not yet stored."""

    pending_messages: int
    bytes: int
    segments: int
    oldest_pending: Iso | None
    damaged: list[str]
    accepting: bool
    note: str


class BooksOut(Model):
    """The two books, by source and in total; both balance."""

    messages: dict[str, dict[str, Any]]
    readings: dict[str, dict[str, Any]]
    total: dict[str, dict[str, Any]]
    spool: SpoolOut | None


class DiskOut(Model):
    """The disk of the data folder, and how long it lasts."""

    free_bytes: int
    total_bytes: int
    store_bytes: int
    readings: int
    readings_a_day: float | None = Field(description="null where less than an hour is there to tell")
    bytes_a_reading: float
    days_until_full: float | None = Field(description="at that rate; null where it is not known, or nothing comes")
    forgotten: int = Field(description="readings that [retention] deleted; 0 where all are kept")


class OriginOut(Model):
    """Where a reading came from."""

    source: str
    received_at: Iso
    profiles: str
    position: str


class ConflictOut(Model):
    """One of several values that arrived for a point and time."""

    point: str
    at: Iso
    value: float
    quality: int
    served: bool
    origin: OriginOut


class IntervalOfReading(Model):
    """The interval that a counter's reading fell into."""

    resolution: Literal["15min", "day"]
    name: str
    unit: str
    start: Iso
    end: Iso
    amount: Thousandths
    estimated: Thousandths
    coverage: Share
    quality: int


class ExplainOut(Model):
    """One reading, from the wire to the figures it is in."""

    point: str
    unit: str
    kind: str
    at: Iso
    value_as_the_meter_said: float
    value: float = Field(description="with the facts that hold at its time")
    quality: int
    origin: OriginOut | None
    conflicts: list[ConflictOut]
    facts: list[FactOut]
    intervals: list[IntervalOfReading]
    words: list[str] = Field(description="the same in sentences")


class RowIn(Model):
    """A row of a batch."""

    site: str
    meter: str = Field(description="a meter's or a vehicle's id")
    quantity: str
    phase: Literal["total", "l1", "l2", "l3", "n"] = "total"
    at: Iso
    value: float = Field(description="in the quantity's own unit, finite")


class RowRefused(Model):
    """A row that was not taken."""

    row: int = Field(description="its number in the batch, from 0")
    reason: str
    mend: str


class IngestOut(Model):
    """What became of a batch: accepted rows are durable."""

    received: int
    accepted: int
    rejected: list[RowRefused]
    position: str | None = Field(description="the spool position of the batch")
    repeated: bool = Field(description="this Idempotency-Key was taken before; nothing was taken twice")


class HealthOut(Model):
    """Alive."""

    status: Literal["ok"]


class ReadyOut(Model):
    """Ready, or degraded with the reasons."""

    status: Literal["ok", "degraded", "broken"]
    reasons: list[str]
    simulated: bool
    version: str
    started_at: Iso


class FindingOut(Model):
    """A remark about data: `disqualifies` is why there is no baseline."""

    code: str
    severity: Literal["info", "warning", "disqualifies"]
    message: str
    data: dict[str, Any]


class QualityOut(Model):
    """How well a baseline fits; null where there is none.

    CV(RMSE) and NMBE as in ASHRAE Guideline 14 (n - p in the denominator), and the same of months held out of the
    fit, which the verdict goes by.
    """

    cvrmse: float | None = Field(description="in sample [1]")
    nmbe: float | None = Field(description="in sample [1]")
    cvrmse_out: float | None = Field(description="held-out months [1]")
    nmbe_out: float | None = Field(description="held-out months [1]")
    r2: float | None = Field(description="in sample [1]")
    n: int = Field(description="intervals learnt from")
    p: int = Field(description="coefficients solved for")
    coverage: float | None = Field(description="share of the period that was observed [1]")
    band_cover: float | None = Field(description="share of held-out values inside the 90 % band [1]")
    guideline14: Literal["pass", "fail", "none"]


class BaselineOut(Model):
    """What is usual for a meter, or for a carrier of a building or site."""

    id: int
    site: str
    scope: Literal["meter", "building", "site"]
    node: str
    name: str
    unit: str
    kind: Literal["hourly", "daily", "monthly", "none"]
    start: Iso = Field(description="of the baseline period")
    end: Iso
    fitted_at: Iso
    superseded_at: Iso | None = Field(description="null: in use")
    quality: QualityOut
    findings: list[FindingOut]
    temperature: list[str] = Field(description="points the outdoor temperature was taken from")
    hours_left_out: int = Field(description="hours of known incidents that were not learnt from")
    alarms_per_month: float = Field(description="alarm budget its thresholds were learnt with")


class BaselinesOut(Model):
    """Baselines, and how many are being fitted."""

    waiting: int
    rows: list[BaselineOut]


class ExpectedRow(Model):
    """What is expected in an interval, with its 90 % band, and what was observed there."""

    start: Iso
    end: Iso
    expected: Thousandths
    low: float = Field(description="[unit]")
    high: float = Field(description="[unit]")
    observed: int | None = Field(description="thousandths of the unit; null: nothing known")
    coverage: float = Field(description="share of the interval observed [1]")


class ExpectedOut(Model):
    """Expected amounts; their hours add up to days and months, exactly."""

    node: str
    scope: str
    name: str
    unit: str
    tz: str
    resolution: str
    start: Iso
    end: Iso
    total: Thousandths
    measured_temperature: Share = Field(description="of the hours; elsewhere the usual one of that season")
    provisional_years: list[int] = Field(description="years of the period without an official calendar")
    rows: list[ExpectedRow]
    baseline: BaselineOut


class MoneyOut(Model):
    """An amount by the dated factor that held when it began."""

    value: float
    unit: str
    factor: float
    source: str
    status: str


class AnomalyOut(Model):
    """An incident: what a meter does not usually do, one cause once."""

    id: int
    site: str
    building: str
    node: str
    name: str
    carrier: str
    unit: str
    kind: str
    since: Iso
    until: Iso | None = Field(description="null while it lasts")
    detected: Iso
    size: float = Field(description="beyond what was expected, negative below [unit]; 0 where the data are at fault")
    rate: float = Field(description="[unit/h]")
    confidence: float = Field(description="0.5 at this meter's own alarm threshold, near 1 far beyond it")
    cost: MoneyOut | None
    co2: MoneyOut | None
    text: NameOut
    feedback: Literal["confirmed", "false_alarm", "planned", ""]
    part_of: int | None = Field(description="the incident that is its cause")
    baseline: int


class AnomaliesOut(Model):
    """Incidents, the dearest first."""

    total: int
    open: int
    rows: list[AnomalyOut]


class FeedbackOut(Model):
    """What a person said of an incident."""

    feedback: Literal["confirmed", "false_alarm", "planned"]
    note: str
    author: str
    at: Iso


class EvidenceRow(Model):
    """An hour around an incident; null where nothing is known."""

    start: Iso
    observed: float | None
    expected: float | None
    low: float | None
    high: float | None
    outdoor: float | None = Field(description="[degC]")


class AnomalyDetail(AnomalyOut):
    """An incident with what speaks for it."""

    evidence: dict[str, Any]
    series: list[EvidenceRow]
    parts: list[AnomalyOut] = Field(description="the same cause, seen by other meters")
    said: list[FeedbackOut]
    judged_by: BaselineOut | None


class FeedbackIn(Model):
    """What a person says of an incident."""

    feedback: Literal["confirmed", "false_alarm", "planned"]
    note: Annotated[str, Field(max_length=2_000)] = ""
    author: Annotated[str, Field(min_length=1, max_length=128)]


class TriedRow(Model):
    """An incident that a setting would have told."""

    kind: str
    since: Iso
    until: Iso | None
    size: float
    text: NameOut


class TriedOut(Model):
    """What a meter's watch would have told of its baseline period with another alarm budget."""

    node: str
    name: str
    unit: str
    alarms_per_month: float
    in_use: float = Field(description="the alarm budget of now")
    start: Iso
    end: Iso
    incidents: int
    per_month: float
    days: list[str] = Field(description="local days on which they began")
    rows: list[TriedRow]
    missed: list[AnomalyOut] = Field(description="incidents people had confirmed that it would not find")


class WatchIn(Model):
    """A meter's alarm budget: incidents a month that are none; 0: the meter is not watched."""

    node: Annotated[str, Field(max_length=128)]
    quantity: Annotated[str | None, Field(max_length=64)] = None
    alarms_per_month: Annotated[float, Field(ge=0, le=30, allow_inf_nan=False)]
    author: Annotated[str, Field(min_length=1, max_length=128)]


class WatchOut(Model):
    """The alarm budget that holds now; the meter's thresholds are learnt anew within minutes."""

    node: str
    name: str
    alarms_per_month: float


class KeyIn(Model):
    """A key to make."""

    name: Annotated[str, Field(min_length=1, max_length=64, description="letters a to z, digits and . _ @ -")]
    scopes: Annotated[list[Literal["read", "write:ingest", "admin"]], Field(min_length=1, max_length=3)]
    expires_at: Annotated[AwareDatetime | None, Field(description="ISO 8601 with offset; null: never")] = None


class KeyOut(Model):
    """A key, without the key itself."""

    name: str
    prefix: str = Field(description="its visible beginning")
    scopes: list[str] = Field(description="the rights that routes name; admin is all of them")
    created_at: Iso
    expires_at: Iso | None
    used_at: Iso | None = Field(description="to the minute")
    revoked_at: Iso | None


class NewKeyOut(KeyOut):
    """A new key, shown once."""

    key: str


class AuditOut(Model):
    """Something that was done, or refused."""

    id: int
    at: Iso
    who: str = Field(examples=["user anna", "key gateway", "token admin.token", "nobody"])
    address: str = Field(description="of the network; empty at the machine itself")
    what: str
    subject: str


class UserIn(Model):
    """A user to add."""

    name: Annotated[str, Field(min_length=1, max_length=64, description="letters a to z, digits and . _ @ -")]
    right: Literal["read", "admin"]


class UserOut(Model):
    """A person who may sign in."""

    name: str
    right: Literal["read", "admin"]
    state: Literal["active", "disabled", "no password yet"]
    created_at: Iso
    seen_at: Iso | None = Field(description="the last sign-in")


class LinkOut(Model):
    """What opens /set-up once, for a day: the part of the link behind the #."""

    name: str
    code: str
