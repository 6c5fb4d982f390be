"""What needs a person, from readings alone. Pure: arrays and `now` in, findings out.

Delays within which a fault is found: silent, dead unit: three cadences, at least 10 minutes; stuck with its
flow shown: an hour, else longer than its own longest rest; above rated: two quarter hours; water at night:
two nights; night load: two nights; a reset: three readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metering.clock import HOUR_US, MINUTE_US
from metering.site import Name

Kind = Literal[
    "silent", "dead_unit", "stuck", "out_of_range", "water_at_night", "night_load", "counter_reset",
]  # fmt: skip
Severity = Literal["needs_you", "broken"]
F64 = NDArray[np.float64]
SILENT_CADENCES, SILENT_LEAST_US = 3, 10 * MINUTE_US
NIGHTS = 2  # as many nights in a row, before a rise is believed
LONGEST_RUN = 28  # nights; what lasts longer has become usual
FEWEST_NIGHTS = 10  # nights to compare with
TOGETHER_US = 15 * MINUTE_US  # meters of a line that fall silent within this have one cause


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that needs a person.

    Attributes
    ----------
    node : id of the meter, vehicle or line it is about
    since, until : [us since 1970]; until is None while it lasts
    severity : `broken` where data are missing, else `needs_you`
    size, unit : how much, in its unit
    text : where, what, since when, how much, what to do
    data : the figures behind the text
    """

    kind: Kind
    site: str
    building: str
    node: str
    since: int
    until: int | None
    severity: Severity
    size: float
    unit: str
    text: Name
    data: Mapping[str, Any] = field(default_factory=dict)


class Rise(NamedTuple):
    """Nights above their own usual, up to the last one.

    first : index of the first such night; -1: no rise
    rise, usual : how much more, and what was usual [the values' unit]
    """

    first: NDArray[np.int64]
    rise: F64
    usual: F64


def silent_since(latest: NDArray[np.int64], cadence: NDArray[np.int64], now: int, watching: int) -> NDArray[np.bool_]:
    """Which points are silent; bool (n,).

    latest : int64 (n,) last reading [us since 1970]; cadence : int64 (n,) expected spacing [us]
    watching : since when readings could have come in (the collector's start); time before says nothing
    """
    waited = now - np.maximum(latest, watching)
    return np.asarray(waited > np.maximum(SILENT_CADENCES * cadence, SILENT_LEAST_US), np.bool_)


def lines_silent(
    line: Sequence[str], silent: NDArray[np.bool_], since: NDArray[np.int64], share: float = 0.8
) -> dict[str, NDArray[np.int64]]:
    """Lines whose meters fell silent together, with the indices of these meters.

    A line is one cause if two or more of its meters are silent, at least `share` of all on it, and all of these
    since about the same time.
    """
    out: dict[str, NDArray[np.int64]] = {}
    names = np.array(line, np.str_)
    for name in dict.fromkeys(line):
        here = np.flatnonzero(names == name)
        quiet = here[silent[here]]
        if len(quiet) < 2 or len(quiet) < share * len(here):
            continue
        if since[quiet].max() - since[quiet].min() <= TOGETHER_US:
            out[name] = quiet.astype(np.int64)
    return out


def rises(
    nights: F64,
    least: F64,
    share: float,
    kind: NDArray[np.bool_] | None = None,
    outdoor: F64 | None = None,
) -> Rise:
    """Which meters stand above their own usual night, for two nights or more up to the last one.

    Parameters
    ----------
    nights : float64 (meters, days), one value a night, NaN where it was not observed; the last column is the newest
    least : float64 (meters,), a rise smaller than this is nothing [the values' unit]
    share : a rise smaller than this share of the usual is nothing [1]
    kind : bool (days,), compare a night with nights of its own kind, where there are enough of them
    outdoor : float64 (days,), temperature of each night [degC]. Where a run begins on nights hotter or colder than
        the nights it is compared with, the rise must be as large as the usual itself: it may be the weather's.

    Notes
    -----
    A night is above the usual if it exceeds all but one in twenty of the nights before the run, and their
    median by four robust deviations, both with a margin. So a meter that is irregular at night asks for more
    than one that is steady. A run may be `LONGEST_RUN` nights long; nights without data end none.
    """
    meters, days = nights.shape
    first = np.full(meters, -1, np.int64)
    rise, usual = np.zeros(meters), np.full(meters, np.nan)
    kinds = np.zeros(days, np.bool_) if kind is None else kind
    open_ = np.flatnonzero(_may_rise(nights, least))
    for start in range(max(days - LONGEST_RUN, FEWEST_NIGHTS), days - NIGHTS + 1):
        if not len(open_):
            break
        asked = max(share, 1.0) if outdoor is not None and _extreme(outdoor, start) else share
        base, bar = _base_and_bar(nights[open_][:, :start], kinds[:start], kinds[start:], least[open_], asked)
        run = nights[open_][:, start:]
        known = np.isfinite(run)
        above = np.all(~known | (run > bar), axis=1) & (known.sum(axis=1) >= NIGHTS)
        above &= known[:, 0] & known[:, -7:].any(axis=1)
        found = open_[above]
        first[found] = start
        if len(found):
            rise[found] = np.nanmedian((run - base)[above], axis=1)
            usual[found] = np.nanmedian(base[above], axis=1)
            open_ = open_[~above]
    return Rise(first, rise, usual)


def _may_rise(nights: F64, least: F64) -> NDArray[np.bool_]:
    """Quick refusal of most meters: a run's nights stand above the lowest tenth of all nights by the least rise."""
    days = nights.shape[1]
    ordered, count = np.sort(nights, axis=1), np.sum(np.isfinite(nights), axis=1)
    index = np.where(np.isfinite(nights), np.arange(days), -1)
    newest = np.sort(index, axis=1)[:, -NIGHTS:]
    last = np.take_along_axis(nights, np.maximum(newest, 0), axis=1).min(axis=1)
    may = (count >= FEWEST_NIGHTS + NIGHTS) & (newest[:, 0] >= 0)
    return np.asarray(may & (last > _quantile(ordered, count, 0.1) + least), np.bool_)


def _extreme(outdoor: F64, start: int) -> bool:
    """Are the first nights of a run hotter or colder than nearly all nights before it?"""
    begin, before = outdoor[start : start + NIGHTS], outdoor[:start]
    begin, before = begin[np.isfinite(begin)], before[np.isfinite(before)]
    if not len(begin) or len(before) < FEWEST_NIGHTS:
        return False
    low, high = np.percentile(before, [5, 95])
    return not low <= begin.mean() <= high


def _base_and_bar(
    before: F64, kinds_before: NDArray[np.bool_], kinds_run: NDArray[np.bool_], least: F64, share: float
) -> tuple[F64, F64]:
    """The usual, and the height above which a night is not usual, of each row and each night of the run."""
    base, bar = np.full((2, len(before), len(kinds_run)), np.nan)
    for value in np.unique(kinds_run):
        own = before[:, kinds_before == value]
        few = np.sum(np.isfinite(own), axis=1) < FEWEST_NIGHTS
        level, height = _bar(own, least, share)
        if few.any():
            level[few], height[few] = _bar(before[few], least[few], share)
        columns = kinds_run == value
        base[:, columns], bar[:, columns] = level[:, None], height[:, None]
    return base, bar


def _bar(before: F64, least: F64, share: float) -> tuple[F64, F64]:
    """(median, height above which a night is not usual) of each row; NaN where there are too few nights."""
    count = np.sum(np.isfinite(before), axis=1)
    ordered = np.sort(before, axis=1)
    middle, high = _quantile(ordered, count, 0.5), _quantile(ordered, count, 0.95)
    spread = 1.4826 * _quantile(np.sort(np.abs(before - middle[:, None]), axis=1), count, 0.5)
    margin = np.maximum(least, share * np.abs(middle))
    height = np.maximum(high + margin, middle + np.maximum(4 * spread, margin))
    few = count < FEWEST_NIGHTS
    middle[few], height[few] = np.nan, np.nan
    return middle, height


def _quantile(ordered: F64, count: NDArray[np.intp], q: float) -> F64:
    """Quantile of the first `count` values of each sorted row, between ranks in proportion; NaN of none."""
    rows = np.arange(len(ordered))
    if ordered.shape[1] == 0:
        return np.full(len(ordered), np.nan)
    rank = q * np.maximum(count - 1, 0)
    low = np.floor(rank).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    below = ordered[rows, low]
    return np.asarray(below + (ordered[rows, high] - below) * (rank - low), np.float64)


def onset(start: NDArray[np.int64], flow: F64, first_night: int, usual: float, rise: float) -> int:
    """When a rise began, to the hour: the first hour of the unbroken row of hours that carry it before its first night.

    Parameters
    ----------
    start, flow : the hours before, int64 (n,) [us since 1970] and float64 (n,); NaN is not observed
    first_night : start of the first night's window [us since 1970]
    usual, rise : of the nights [unit of flow]
    """
    began = first_night
    for i in range(int(np.searchsorted(start, first_night)) - 1, -1, -1):
        carries = bool(np.isfinite(flow[i])) and flow[i] >= usual + 0.7 * rise
        if not carries or began - int(start[i]) > HOUR_US:
            break
        began = int(start[i])
    return began


def resting(amount: NDArray[np.int64], observed: NDArray[np.bool_]) -> tuple[int, int]:
    """(length of the run of intervals without use at the end, longest such run before).

    amount : int64 (n,); observed : bool (n,), an interval that was not observed ends no run
    """
    still = (amount == 0) | ~observed
    if not len(still):
        return 0, 0
    moves = np.flatnonzero(~still)
    if not len(moves):
        return len(still), len(still)
    runs = np.diff(np.concatenate([[-1], moves])) - 1
    return len(still) - 1 - int(moves[-1]), int(runs.max())


def lowest_in_tree(
    found: Mapping[str, tuple[float, int]], parent: Mapping[str, str], together_us: int
) -> dict[str, tuple[float, int]]:
    """Of rises along one branch only the lowest meter's: a main sees what its sub-meters see.

    found : meter id -> (rise, since [us since 1970]); parent : meter id -> the meter above, or ""
    A main stays if at least half of its rise, net of the meters below it, is its own.
    """
    own = {meter: rise for meter, (rise, _) in found.items()}
    for meter, (rise, since) in found.items():
        above = parent.get(meter, "")
        while above:
            if above in found and abs(found[above][1] - since) <= together_us:
                own[above] -= rise
                break
            above = parent.get(above, "")
    return {meter: row for meter, row in found.items() if own[meter] >= 0.5 * row[0]}
