"""Looks at an installation, running or stopped, and says what to do: changes nothing."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError

from api.disk import disk_of
from devices.catalog import ConfigurationError
from devices.settings import Settings
from meterhall.brokerdoctor import check_brokers, rates
from meterhall.configuring import read_settings
from meterhall.remarks import Remark, broken, ok, warning
from meterhall.running import ask, is_running
from meterhall.timekeeping import check_clock, check_device_clocks
from meterhall.workcalendar import official
from metering.clock import from_us, now_us
from metering.explain import ExplainedError
from storage.ledger.ledger import look_at_ledger
from storage.looking import Seen, look_at
from storage.sqlite import damage_of

FULL_SOON_DAYS, FULL_NOW_BYTES = 60, 512 << 20


def examine(folder: Path, now: Callable[[], int] = now_us) -> Iterator[Remark]:
    """Every remark on the installation of a configuration folder."""
    try:
        settings = read_settings(folder)
    except ConfigurationError as error:
        for problem in error.problems:
            yield broken(problem.where, problem.what, problem.mend)
        return
    found = settings.installation
    yield ok("configuration", f"valid: {len(found.meters)} meters, {len(found.vehicles)} vehicles, all profiles known")
    running, messages_a_day = is_running(settings), dict[str, float]()
    yield from check_rights(settings)
    if not settings.data.is_dir():
        yield warning("data folder", f"{settings.data} is not there", "nothing has run on this configuration yet")
    elif running:
        yield from check_running(settings, messages_a_day)
    else:
        yield from check_stopped(settings, messages_a_day)
    yield from check_leftovers(settings)
    yield from check_clock(settings, now)
    yield from check_brokers(settings, messages_a_day)
    yield from check_calendar(settings, now)
    yield from check_zones(settings, now)


def check_rights(settings: Settings) -> Iterator[Remark]:
    """The data folder and secrets are for their owner alone."""
    wrong = list[str]()
    paths = [settings.data, *settings.data.rglob("*")] if settings.data.is_dir() else []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a segment that went meanwhile
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & 0o077:
                wrong.append(f"{path} is {stat.S_IMODE(mode):04o}")
    if wrong:
        yield broken(
            "rights",
            f"others may read or change what is stored: {wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''}",
            f"chmod -R go= {settings.data}",
        )
    elif paths:
        yield ok("rights", f"{settings.data} is for its owner alone")
    if paths and settings.data.stat().st_uid != os.geteuid():
        yield warning(
            "rights",
            f"{settings.data} belongs to another user (id {settings.data.stat().st_uid})",
            "run this as the user that Meterhall runs as",
        )
    elif paths and not os.access(settings.data, os.W_OK):
        yield broken("rights", f"{settings.data} cannot be written", f"chmod 700 {settings.data}")
    for broker in settings.brokers:
        for file in (broker.key_file, broker.cert_file):
            if file and file == broker.key_file and Path(file).stat().st_mode & 0o077:
                yield broken("rights", f"{file}, a private key, can be read by others", f"chmod 600 {file}")


def check_running(settings: Settings, messages_a_day: dict[str, float]) -> Iterator[Remark]:
    """What the running server says of itself; `messages_a_day` of each source is noted."""
    try:
        ready = ask(settings, "GET", "/health/ready")
        books = ask(settings, "GET", "/api/v1/books")
        disk = ask(settings, "GET", "/api/v1/disk")
        latest = ask(settings, "GET", "/api/v1/latest")
    except ExplainedError as problem:
        yield broken("server", f"holds the data folder, and {problem.what}", problem.mend)
        return
    for reason in ready["reasons"]:
        make = broken if ready["status"] == "broken" else warning
        yield make("server", reason, "see the Collector page, and the log")
    if not ready["reasons"]:
        yield ok("server", f"runs (version {ready['version']}), all ways in are well")
    spool = books["spool"] or {}
    yield from _damage(spool.get("damaged", []))
    yield from _balance(books, spool.get("pending_messages", 0))
    yield from say_disk(disk["free_bytes"], disk["days_until_full"], disk["readings_a_day"])
    yield from check_device_clocks(latest)
    messages_a_day |= rates(books, disk["readings_a_day"])


def check_stopped(settings: Settings, messages_a_day: dict[str, float]) -> Iterator[Remark]:
    """What the next start would find; nothing is mended here. `messages_a_day` of each source is noted."""
    yield ok("server", "is stopped")
    seen = look_at(settings.data)
    for problem in seen.problems:
        yield broken("data folder", problem, "see docs/reliability.md")
    yield from _store(settings, seen)
    yield from _damage(seen.spool_damage)
    if settings.ledger_url:
        yield from _ledger(settings)
    for name in ("quarantine.sqlite",) if settings.ledger_url else ("quarantine.sqlite", "ledger.sqlite"):
        damage = damage_of(settings.data / name)
        if damage:
            yield warning(
                name, f"is damaged ({damage})", "the next start takes over what can be read, and keeps the file"
            )
    if seen.books is not None:
        waiting = f", {seen.pending} messages wait and are stored at the next start" if seen.pending else ""
        wrong = seen.books.balance()
        for words in wrong:
            yield broken("books", words, "keep the data folder and the log, and report it")
        if not wrong:
            yield ok("books", f"balance{waiting}")
    disk = disk_of(settings.data, seen.store)
    yield from say_disk(disk.free_bytes, disk.days_until_full, disk.readings_a_day)
    if seen.books is not None:
        messages_a_day |= rates(seen.books.snapshot(), disk.readings_a_day)


def _ledger(settings: Settings) -> Iterator[Remark]:
    try:
        where, found = look_at_ledger(settings.ledger_url, settings.ledger_password.reveal())
    except ExplainedError as problem:
        yield broken("ledger", f"{problem.where} {problem.what}", problem.mend)
        return
    yield ok("ledger", f"{where} answers; " + (f"format {found}" if found else "nothing is in it yet"))


def _store(settings: Settings, seen: Seen) -> Iterator[Remark]:
    if settings.store_url:
        yield ok("store", "is not in the data folder")
    elif not seen.store:
        yield warning("store", "is not there", "a new one is made at the next start; restore a backup if there was one")
    elif "problem" in seen.store:
        yield broken(
            "store",
            f"cannot be read as it is: {seen.store['problem']}",
            "the next start mends or sets it aside, and replays the spool; or restore a backup",
        )
    else:
        yield ok("store", f"{seen.store['rows']:,} readings")


def _damage(damaged: list[str]) -> Iterator[Remark]:
    for words in damaged:
        yield warning("spool", words, "kept in spool/damaged/; nothing to do, what is gone is counted in the books")
    if not damaged:
        yield ok("spool", "whole")


def _balance(books: dict[str, Any], pending: int) -> Iterator[Remark]:
    wrong = []
    for book, left in (("messages", "received"), ("readings", "decoded")):
        for source, row in books.get(book, {}).items():
            right = sum(_total(n) for key, n in row.items() if key != left)
            if row[left] != right or row["pending"] < 0:
                wrong.append(f"{book} of {source}: {row[left]} {left}, {right} accounted for")
    for words in wrong:
        yield broken("books", words, "keep the data folder and the log, and report it")
    if not wrong:
        yield ok("books", f"balance, {pending} messages wait")


def _total(entry: Any) -> int:
    return sum(entry.values()) if isinstance(entry, dict) else int(entry)


def say_disk(free: int, days: float | None, rate: float | None) -> Iterator[Remark]:
    """The room on the disk, and how long it lasts."""
    room = f"{free / 1e9:.1f} GB free"
    if days is not None and rate is not None:
        room += f", enough for {days:,.0f} days at {rate:,.0f} readings a day"
    mend = "make room, or give the data folder a larger disk; [retention] raw_days bounds what is kept"
    if free < FULL_NOW_BYTES:
        yield broken("disk", room, mend)
    elif days is not None and days < FULL_SOON_DAYS:
        yield warning("disk", room, mend)
    else:
        yield ok("disk", room)


def check_leftovers(settings: Settings) -> Iterator[Remark]:
    """Backups and replaced data that stay in the data folder until somebody takes them away."""
    if not settings.data.is_dir():
        return
    for folder in sorted([*settings.data.glob("replaced-*"), *settings.data.glob("backups/*")]):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        kind = "a backup" if folder.parent.name == "backups" else "what a restore replaced"
        yield warning("data folder", f"{folder.name}: {kind}, {size / 1e6:,.1f} MB", f"move {folder} to another disk")


def check_calendar(settings: Settings, now: Callable[[], int]) -> Iterator[Remark]:
    """Work days are known for this year and the next."""
    own = settings.timetable.complete_years
    today = from_us(now())
    for country in sorted({site.country.upper() for site in settings.installation.sites}):
        known = official(country).workdays.known_years | own
        missing = [year for year in (today.year, today.year + 1) if year not in known]
        if not missing:
            yield ok("calendar", f"{country}: work days of {today.year} and {today.year + 1} are known")
        elif country != "CN":
            words = f"{country}: days of {' and '.join(map(str, missing))} are not fixed yet, and marked provisional"
            yield ok("calendar", words)
        else:
            shown = " and ".join(map(str, missing))
            make = warning if today.year in missing or today.month == 12 else ok
            words = f"CN: no official work days of {shown} yet: Monday to Friday, marked provisional"
            mend = "they are published in November: upgrade Meterhall, or write calendar.toml"
            yield make("calendar", words, mend) if make is warning else ok("calendar", f"{words}; {mend}")


def check_zones(settings: Settings, now: Callable[[], int]) -> Iterator[Remark]:
    """Every site's time zone is there, from data that is not old."""
    for site in settings.installation.sites:
        try:
            ZoneInfo(site.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            yield broken("time zones", f"{site.timezone} of {site.id}: {error}", "install the package tzdata")
    try:
        package = version("tzdata")
    except PackageNotFoundError:
        yield warning("time zones", "the package tzdata is not installed", "install Meterhall with its packages")
        return
    system = any((Path(folder) / "UTC").exists() for folder in TZPATH)
    words = f"tzdata {package}" + (", and the system's own before it" if system else "")
    if from_us(now()).year - int(package.partition(".")[0]) > 1:
        yield warning("time zones", f"{words}: older than a year", "upgrade Meterhall: zones change now and then")
    else:
        yield ok("time zones", words)
