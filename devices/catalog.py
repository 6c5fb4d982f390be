"""The only reader of configuration: settings, site, factors; everything valid, or every mistake named."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from zoneinfo import available_timezones

from devices.calendars import check_countries, read_timetable
from devices.reach import file_of, read_server
from devices.settings import (
    BrokerSettings,
    Limits,
    LogSettings,
    ModbusSettings,
    Retention,
    Secret,
    Settings,
    Thresholds,
)
from devices.stations import read_fetches
from devices.tables import Document, Table, split_url, without_password
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Carrier
from metering.site import IMPORTED, Building, Dated, Fact, Factor, Installation, Meter, Name, Site, Vehicle

ROLES = ("grid", "generation", "storage", "load", "vehicle", "sensor")
DRIVES = ("electric", "plug_in_hybrid", "petrol", "diesel")
FACTS = ("ratio", "sign", "rescale", "swap")
LEAST_RAW_DAYS = 92  # late readings of a quarter can still be worked in
MODBUS_SCHEMES = ("modbus-tcp", "modbus-rtu-tcp", "modbus-rtu")


class ConfigurationError(Exception):
    """A configuration that cannot be used; holds every mistake found."""

    def __init__(self, problems: list[ExplainedError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load_settings(folder: Path, *, profile_ids: Callable[[Path], dict[str, str]] | None = None) -> Settings:
    """Read and validate a configuration folder.

    Parameters
    ----------
    folder : holds meterhall.toml and site.toml; factors.toml and profiles/ if wanted
    profile_ids : gives each known profile's id and protocol ("modbus" or "mqtt") for a folder of
        own profiles; None leaves profiles unchecked

    Raises
    ------
    ConfigurationError
        With every mistake: file, line, key, value found, mend.
    """
    problems: list[ExplainedError] = []
    main = Document(folder / "meterhall.toml", problems)
    main.only(("data", "server", "store", "ledger", "broker", "modbus", "limits", "retention", "thresholds", "log"))
    installation = _installation(folder, problems)
    settings = _settings(folder, main, installation)
    if profile_ids is not None:
        try:
            _check_profiles(folder, settings, profile_ids(folder / "profiles"), problems)
        except ExplainedError as problem:
            problems.append(problem)
    if problems:
        raise ConfigurationError(problems)
    return settings


def load_installation(folder: Path) -> Installation:
    """The installation of a folder's site.toml and factors.toml.

    Raises
    ------
    ConfigurationError
        With every mistake: file, line, key, value found, mend.
    """
    problems: list[ExplainedError] = []
    installation = _installation(folder, problems)
    if problems:
        raise ConfigurationError(problems)
    return installation


def _settings(folder: Path, main: Document, installation: Installation) -> Settings:
    data = main.table("data")
    data_folder = data.text("folder", "data")
    data.done()
    server = main.table("server")
    host = server.text("host", "127.0.0.1")
    port = server.number("port", 8420, low=0, high=65535, whole=True)
    reached = read_server(folder, server, host)
    store = main.table("store")
    store_url = store.text("url", "")
    store.done()
    ledger_url, ledger_password = _ledger(folder, main.table("ledger"))
    modbus = main.table("modbus")
    modbus_settings = ModbusSettings(timeout_s=modbus.number("timeout_s", 1.0, low=0.05, high=30))
    modbus.done()
    brokers = tuple(_broker(folder, table) for table in main.tables("broker"))
    seen: set[str] = set()
    for broker, table in zip(brokers, main.tables("broker"), strict=True):
        if broker.id in seen:
            table.wrong("id", f'"{broker.id}" is used twice', "give each broker an id of its own")
        seen.add(broker.id)
    return Settings(
        folder=folder,
        data=(folder / data_folder).resolve() if not os.path.isabs(data_folder) else Path(data_folder),
        installation=installation,
        host=host,
        port=port,
        server=reached,
        store_url=store_url,
        ledger_url=ledger_url,
        ledger_password=ledger_password,
        brokers=brokers,
        modbus=modbus_settings,
        limits=_limits(main.table("limits")),
        retention=_retention(main.table("retention")),
        thresholds=_thresholds(main.table("thresholds")),
        log=_log(folder, main.table("log")),
        timetable=read_timetable(folder, installation, main.problems),
        fetches=read_fetches(folder, installation, main.problems, _secret),
    )


def _ledger(folder: Path, table: Table) -> tuple[str, Secret]:
    url = table.text("url", "")
    parts = split_url(url)
    if url and (parts is None or parts.scheme != "postgresql" or not parts.path.strip("/")):
        table.wrong("url", f'is "{without_password(url)}"', 'write "postgresql://user@host:5432/database", or leave it')
    if parts is not None and parts.password:
        table.wrong("url", "holds a password", "put it into password_file or password_env")
    password = _secret(folder, table, "password")
    table.done()
    return url, password


def _limits(table: Table) -> Limits:
    default = Limits()
    limits = Limits(
        spool_bytes=table.number("spool_bytes", default.spool_bytes, low=1 << 20, whole=True),
        payload_bytes=table.number("payload_bytes", default.payload_bytes, low=1024, high=64 << 20, whole=True),
        quarantine_rows=table.number("quarantine_rows", default.quarantine_rows, low=10, high=10**7, whole=True),
        store_memory_mb=table.number("store_memory_mb", default.store_memory_mb, low=64, high=1 << 20, whole=True),
    )
    table.done()
    return limits


def _retention(table: Table) -> Retention:
    raw = table.number("raw_days", 0, low=0, high=36_500, whole=True)
    if 0 < raw < LEAST_RAW_DAYS:
        table.wrong("raw_days", f"is {raw}", f"keep {LEAST_RAW_DAYS} days or more, or 0 for ever")
    retention = Retention(raw, table.number("position_days", 90, low=0, high=36_500, whole=True))
    table.done()
    return retention


def _thresholds(table: Table) -> Thresholds:
    default = dataclasses.asdict(Thresholds())
    found = {
        name: table.number(name, value, low=0, high=1e9 if name == "waiting" else 100)
        for name, value in default.items()
    }
    table.done()
    return Thresholds(**found)


def _log(folder: Path, table: Table) -> LogSettings:
    default = LogSettings()
    file = table.text("file", "")
    log = LogSettings(
        file=str(folder / file) if file else "",
        level=table.choice("level", ("debug", "info", "warning", "error"), default.level),
        format=table.choice("format", ("text", "json"), default.format),
        max_mb=table.number("max_mb", default.max_mb, low=1, high=10_000, whole=True),
        keep=table.number("keep", default.keep, low=0, high=1000, whole=True),
    )
    table.done()
    return log


def _broker(folder: Path, table: Table) -> BrokerSettings:
    url = table.text("url", words='an address: url = "mqtt://host:1883"')
    parts = split_url(url)
    if url and (parts is None or parts.scheme not in ("mqtt", "mqtts") or not parts.hostname):
        table.wrong("url", f'is "{without_password(url)}"', 'write "mqtt://host:1883", or "mqtts://host:8883" with TLS')
    if parts is not None and parts.password:
        table.wrong("url", "holds a password", "put it into password_file or password_env, and the user into username")
    broker = BrokerSettings(
        id=table.identifier(),
        url=url,
        client_id=table.text("client_id", "meterhall"),
        username=table.text("username", ""),
        password=_secret(folder, table, "password"),
        ca_file=file_of(folder, table, "ca_file"),
        cert_file=file_of(folder, table, "cert_file"),
        key_file=file_of(folder, table, "key_file"),
        topics=table.texts("topics"),
        share_group=table.text("share_group", ""),
        client=table.choice("client", ("meterhall", "paho"), "meterhall"),
    )
    table.done()
    return broker


def _secret(folder: Path, table: Table, key: str) -> Secret:
    """A secret from `<key>_file` or `<key>_env`; never written into the configuration itself."""
    variable = table.text(f"{key}_env", "")
    file = file_of(folder, table, f"{key}_file")
    if table.has(key):
        table.wrong(key, "is written in the file", f"put it into {key}_file (mode 0600) or {key}_env")
        table.pass_over(key)
    if variable:
        if not os.environ.get(variable):
            table.wrong(f"{key}_env", f"names {variable}, which is not set or empty", f"export {variable}=...")
        return Secret(os.environ.get(variable, ""))
    if file and Path(file).is_file():
        if Path(file).stat().st_mode & stat.S_IROTH:
            table.wrong(f"{key}_file", f"{file} can be read by everybody", f"chmod 600 {file}")
        text = Path(file).read_text(encoding="utf-8").strip()
        if not text:
            table.wrong(f"{key}_file", f"{file} is empty", "write the secret into it")
        return Secret(text)
    return Secret("")


def _installation(folder: Path, problems: list[ExplainedError]) -> Installation:
    document = Document(folder / "site.toml", problems)
    document.only(("site", "building", "meter", "vehicle"))
    sites = tuple(_site(table) for table in document.tables("site"))
    check_countries(document, sites)
    if not sites and document.root:
        document.wrong("site", "is missing", 'add [[site]] with id, name and timezone = "Asia/Shanghai"')
    zones = {site.id: site.timezone for site in sites}
    only = sites[0].id if len(sites) == 1 else ""
    first_zone = sites[0].timezone if sites else "UTC"

    def zone(table: Table) -> tuple[str, str]:
        site = table.text("site", only) if only else table.text("site")
        return site, zones.get(site, first_zone)

    buildings = tuple(_building(table, *zone(table)) for table in document.tables("building"))
    homes = {building.id: building.site for building in buildings}

    def home(table: Table) -> tuple[str, str]:
        own = table.values.get("building")
        site = table.text("site", homes.get(own, only) if isinstance(own, str) else only)
        return site, zones.get(site, first_zone)

    meters = tuple(_meter(table, *home(table)) for table in document.tables("meter"))
    vehicles = tuple(_vehicle(table, *home(table)) for table in document.tables("vehicle"))
    factors: tuple[Factor, ...] = ()
    if (folder / "factors.toml").exists():
        sheet = Document(folder / "factors.toml", problems)
        sheet.only(("factor",))
        factors = tuple(_factor(table, first_zone) for table in sheet.tables("factor"))
    if problems:
        return Installation()
    try:
        return Installation(sites, buildings, meters, vehicles, factors)
    except ExplainedError as problem:
        named = re.search(r'"([^"]+)"(?:\.(\w+))?', problem.where)
        line = document.line_of_id(named[1], named[2] or "id") if named else None
        document.wrong(problem.where, problem.what, problem.mend, line=line)
        return Installation()


def _name(table: Table) -> Name:
    return Name(table.text("name"), table.text("name_zh", ""))


def _site(table: Table) -> Site:
    zone = table.text("timezone", words='an IANA zone: timezone = "Asia/Shanghai"')
    if zone and zone not in available_timezones():
        table.wrong("timezone", f'is "{zone}"', 'use an IANA zone such as "Asia/Shanghai" or "Europe/London"')
        zone = "UTC"
    site = Site(
        id=table.identifier(),
        name=_name(table),
        timezone=zone or "UTC",
        latitude=table.number("latitude", None, low=-90, high=90),
        longitude=table.number("longitude", None, low=-180, high=180),
        country=table.text("country", "CN"),
    )
    table.done()
    return site


def _dated(table: Table, key: str, zone: str) -> tuple[Dated, ...]:
    if isinstance(table.values.get(key), list):
        rows = []
        for row in table.tables(key):
            rows.append(Dated(row.number("value", low=0), row.instant("from", zone)))
            row.done()
        return tuple(sorted(rows, key=lambda row: row.valid_from))
    value = table.number(key, None, low=0)
    return () if value is None else (Dated(float(value), -(1 << 62)),)


def _building(table: Table, site: str, zone: str) -> Building:
    building = Building(
        id=table.identifier(),
        site=site,
        name=_name(table),
        use=table.text("use", "office"),
        floor_area=_dated(table, "floor_area", zone),
        persons=_dated(table, "persons", zone),
        opens=table.clock("opens", "08:30"),
        closes=table.clock("closes", "17:30"),
        in_charge=table.text("in_charge", ""),
    )
    table.text("site", "")
    table.done()
    return building


def _facts(table: Table, zone: str) -> tuple[Fact, ...]:
    facts = []
    for row in table.tables("fact"):
        kind = row.choice("kind", FACTS)
        name = row.text("quantity", "")
        if name and name not in QUANTITIES:
            row.wrong("quantity", f'is "{name}"', "name a quantity of docs/glossary.md")
        fact = Fact(
            kind=cast(Any, kind),
            valid_from=row.instant("from", zone),
            factor=float(row.number("factor", 1.0, low=-1e9, high=1e9)),
            offset=float(row.number("offset", 0.0)),
            quantity=name,
            last=row.number("last", None),
            first=row.number("first", None),
            reason=row.text("reason", ""),
            author=row.text("author", ""),
        )
        if kind == "swap" and (fact.last is None or fact.first is None or not fact.quantity):
            row.wrong(
                "",
                "is a swap without last, first or quantity",
                "give the old counter's last and the new one's first value",
            )
        if kind == "sign" and fact.factor not in (-1.0, 1.0):
            row.wrong("factor", f"is {fact.factor:g}", "a sign is 1 or -1")
        if kind in ("ratio", "rescale") and fact.factor <= 0:
            row.wrong(
                "factor", f"is {fact.factor:g}", 'use a factor above 0; for a clamp put on backwards: kind = "sign"'
            )
        row.done()
        facts.append(fact)
    return tuple(sorted(facts, key=lambda fact: fact.valid_from))


def _connection(table: Table) -> tuple[str, int | None]:
    url = table.text("connection", words='an address: "modbus-tcp://host:502" or "mqtt://<broker id>/<base topic>"')
    parts = split_url(url)
    unit: int | None = table.number("unit_id", None, low=0, high=255, whole=True)
    if not url:
        return url, unit
    if parts is None:
        table.wrong("connection", f'is "{without_password(url)}"', 'write "modbus-tcp://host:502"')
        return url, unit
    if parts.scheme in ("modbus-tcp", "modbus-rtu-tcp"):
        if not parts.hostname:
            table.wrong("connection", f'is "{without_password(url)}"', f'write "{parts.scheme}://host:502"')
    elif parts.scheme == "modbus-rtu":
        if not parts.path:
            table.wrong("connection", f'is "{without_password(url)}"', 'write "modbus-rtu:///dev/ttyUSB0?baud=9600"')
    elif parts.scheme == "import":
        pass
    elif parts.scheme == "mqtt":
        topic = url.removeprefix("mqtt://").partition("/")[2]
        if not parts.netloc or not topic or set(topic) & {"+", "#"}:
            table.wrong(
                "connection",
                f'is "{without_password(url)}"',
                'write "mqtt://<broker id>/<base topic>", without + and #',
            )
    else:
        table.wrong(
            "connection",
            f'is "{without_password(url)}"',
            "begin with modbus-tcp://, modbus-rtu-tcp://, modbus-rtu://, mqtt://; or import://: values are imported",
        )
    if parts.scheme in MODBUS_SCHEMES and unit is None:
        table.wrong("unit_id", "is missing", "add unit_id = 1 (the device's Modbus address)")
    return url, unit


def _meter(table: Table, site: str, zone: str) -> Meter:
    connection, unit = _connection(table)
    meter = Meter(
        id=table.identifier(),
        site=site,
        building=table.text("building", ""),
        name=_name(table),
        carrier=Carrier(table.choice("carrier", [c.value for c in Carrier if c != Carrier.VEHICLE])),
        role=cast(Any, table.choice("role", ROLES, "load")),
        profile=table.text("profile", "imported") if connection.startswith(IMPORTED) else table.text("profile"),
        connection=connection,
        unit_id=unit,
        parent=table.text("parent", ""),
        end_use=table.text("end_use", ""),
        poll_s=float(table.number("poll_s", 60.0, low=0.1, high=86_400)),
        cadence_s=table.number("cadence_s", None, low=0.1, high=31 * 86_400),
        rated_power_w=table.number("rated_power_w", None, low=0, high=1e12),
        facts=_facts(table, zone),
        simulated=table.flag("simulated"),
        replayed=table.flag("replayed"),
        latitude=table.number("latitude", None, low=-90, high=90),
        longitude=table.number("longitude", None, low=-180, high=180),
    )
    table.done()
    return meter


def _vehicle(table: Table, site: str, zone: str) -> Vehicle:
    connection, _ = _connection(table)
    vehicle = Vehicle(
        id=table.identifier(),
        site=site,
        name=_name(table),
        drive=cast(Any, table.choice("drive", DRIVES)),
        profile=table.text("profile"),
        connection=connection,
        building=table.text("building", ""),
        plate=table.text("plate", ""),
        battery_kwh=table.number("battery_kwh", None, low=0, high=10_000),
        tank_l=table.number("tank_l", None, low=0, high=10_000),
        position=table.flag("position"),
        cadence_s=table.number("cadence_s", None, low=0.1, high=31 * 86_400),
        facts=_facts(table, zone),
        simulated=table.flag("simulated"),
    )
    table.done()
    return vehicle


def _factor(table: Table, zone: str) -> Factor:
    factor = Factor(
        id=table.text("id"),
        value=float(table.number("value") or 0.0),
        unit=table.text("unit"),
        valid_from=table.instant("from", zone, -(1 << 62)),
        valid_to=table.instant("to", zone) if table.has("to") else None,
        scope=table.text("scope", "national"),
        source=table.text("source", ""),
        status=cast(Any, table.choice("status", ("verified", "unverified"), "unverified")),
    )
    if not factor.source:
        table.wrong("source", "is missing", "say where the figure stands: a document, a contract, a bill")
    table.done()
    return factor


def _check_profiles(folder: Path, settings: Settings, known: dict[str, str], problems: list[ExplainedError]) -> None:
    """Each device names a known profile of the protocol its connection speaks, and a known broker."""
    import difflib

    brokers = {broker.id for broker in settings.brokers}
    document = Document(folder / "site.toml", [])
    for kind in ("meter", "vehicle"):
        for table in document.tables(kind):
            device = settings.installation.by_id.get(table.values.get("id", ""))
            if not isinstance(device, (Meter, Vehicle)) or device.connection.startswith(IMPORTED):
                continue
            scheme = "modbus" if device.connection.startswith("modbus") else "mqtt"
            if device.profile not in known:
                near = difflib.get_close_matches(device.profile, known, n=3)
                table.wrong(
                    "profile",
                    f'is "{device.profile}", which is not known',
                    f"did you mean {' or '.join(near)}?" if near else "see `meterhall profiles`, or write your own",
                )
            elif known[device.profile] != scheme:
                table.wrong(
                    "profile",
                    f'is "{device.profile}", which speaks {known[device.profile]}, but the connection is {scheme}',
                    f"choose a profile of {scheme}, or change the connection",
                )
            if scheme == "mqtt":
                broker = device.connection.removeprefix("mqtt://").partition("/")[0]
                if broker not in brokers:
                    table.wrong(
                        "connection",
                        f'names the broker "{broker}"',
                        f'add [[broker]] id = "{broker}" to meterhall.toml; there: {", ".join(sorted(brokers)) or "-"}',
                    )
    problems.extend(document.problems)
