"""Whether the clocks can be trusted: this machine's, and those of the devices that send a time of their own."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from devices.settings import Settings
from meterhall.remarks import Remark, broken, ok, warning
from metering.clock import SECOND_US, from_us

BUILT = date(2026, 1, 1)  # a clock before this is wrong: it is older than the program
AHEAD_S = 300.0
UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2): nobody sets the kernel's clock
MEND = "let NTP keep it: timedatectl set-ntp true, or install chrony"


def check_clock(settings: Settings, now: Callable[[], int]) -> Iterator[Remark]:
    """The wall clock against the program's own age and the times of the files, and whether anybody keeps it."""
    clock = now()
    if clock < time.mktime(BUILT.timetuple()) * SECOND_US:
        yield broken(
            "clock", f"says {from_us(clock):%Y-%m-%d %H:%M} UTC, which is before this program was made", "set it: NTP"
        )
        return
    newest, name = 0.0, ""
    paths = settings.data.rglob("*") if settings.data.is_dir() else ()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if (changed := path.lstat().st_mtime) > newest:
                newest, name = changed, path.name
    ahead = newest - clock / SECOND_US
    if ahead > AHEAD_S:
        yield broken(
            "clock",
            f"has gone back: {name} was written {ahead / 60:,.0f} min after the present time",
            f"set the clock, and {MEND}",
        )
    elif synchronised() is False:
        yield warning("clock", "nobody keeps it right, by the kernel's own account: it drifts by seconds a day", MEND)
    else:
        yield ok("clock", f"{from_us(clock):%Y-%m-%d %H:%M:%S} UTC, no file is younger")


def synchronised() -> bool | None:
    """Whether the kernel's clock is kept by NTP or the like; None where the system does not say."""
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, AttributeError):
        nothing_to_change = ctypes.create_string_buffer(512)  # struct timex, longer than any of its forms; modes = 0
        state = ctypes.CDLL(None).adjtimex(nothing_to_change)
        return None if state < 0 else state != UNSYNCHRONISED
    return None


def check_device_clocks(latest: Iterable[Mapping[str, Any]]) -> Iterator[Remark]:
    """Devices whose newest reading is of the future: `latest` as of `/api/v1/latest`."""
    ahead: dict[str, float] = {}
    for row in latest:
        if -row["age_s"] > AHEAD_S:
            device = "/".join(row["point"].split("/")[:2])
            ahead[device] = max(ahead.get(device, 0.0), -row["age_s"])
    if not ahead:
        yield ok("device clocks", "no device is ahead of this machine")
        return
    worst = max(ahead, key=ahead.__getitem__)
    more = f", and {len(ahead) - 1} more devices are ahead" if len(ahead) > 1 else ""
    yield warning(
        "device clocks",
        f"the newest reading of {worst} is {ahead[worst] / 60:,.0f} min ahead of this machine{more}",
        "set the clock and the time zone of the device; what it says of the future is kept, marked suspect",
    )
