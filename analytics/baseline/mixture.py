"""Members of the hourly ladder, each seen out of fold by month blocks, and the mix of them that errs least."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.baseline import boosting, daily, linear
from analytics.baseline.conditions import DAY_FEATURES, Conditions

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
MEMBERS = ("profile", "temperature", "temperature_boosted", "profile_boosted", "degree_days")
PRIOR = np.array([0.0, 0.15, 0.3, 0.5, 0.05])
PRIOR_LED = np.array([0.0, 0.35, 0.25, 0.0, 0.4])
PRIOR_PLAIN = np.array([0.2, 0.6, 0.0, 0.0, 0.2])
PRIOR_WEIGHT = 0.4  # of the mean square error of the best member
DAY_WEIGHT = 1.0  # an error of the day's mean weighs as much as that of the hour
MEMORIES = (0.0, 0.35, 0.7)
WEATHER_LED = 0.4  # less than this of the days' squares is left once the temperature is known
SEASON = [DAY_FEATURES.index(name) for name in ("day_of_year", "winter", "spring", "half_year_on")]


class Members(NamedTuple):
    """What the members know; `boost_*` is None where data were too few to boost."""

    profile: linear.Linear
    temperature: linear.Linear
    boost_temperature: boosting.Trees | None
    boost_profile: boosting.Trees | None
    degree_days: daily.DegreeDays
    shape: F64  # float64 (2, 2, 24), constant [unit] and slope [1] on the day's mean, by days off and work days, hour


class Fitted(NamedTuple):
    """members; weights : float64 (5,), sum 1; held_out, inside : float64 (n,), expected out of fold, and in sample."""

    members: Members
    weights: F64
    held_out: F64
    inside: F64
    errors: F64  # float64 (5,), root mean square error of each member out of fold [unit]


def fit(
    c: Conditions, value: F64, weight: F64, block: I64, fold_of: I64, seed: int, growth: boosting.Growth | None
) -> Fitted:
    """Fit all members and mix them.

    Parameters
    ----------
    value : float64 (n,) [unit]; weight : float64 (n,), 0 for hours that are not learnt from
    block : int64 (n,), 0..b-1; fold_of : int64 (b,), fold of each block, 0..folds-1
    growth : None leaves boosting out
    """
    y = np.where(weight > 0, value, 0.0)
    folds = int(fold_of.max()) + 1
    use = np.concatenate([(fold_of[None, :] != np.arange(folds)[:, None]), np.ones((1, len(fold_of)), np.bool_)])
    using = use.astype(np.float64)  # (folds + 1, b)
    busy = linear.busy_hours(c, y, weight)
    knots = linear.place_knots(c, weight > 0)
    columns = linear.slopes_of(c, knots, busy)
    bare = linear.Knots(np.zeros(0), np.zeros(0), np.zeros(0))
    sums = linear.sums(c, y, weight, columns, block, len(fold_of))
    none = np.zeros((len(y), 0))
    plain_sums = sums._replace(x=sums.x[:, :, :0], xx=sums.xx[:, :0, :0], xy=sums.xy[:, :0])
    models = [linear.Linear(*linear.solve(sums, u), knots, busy) for u in using]
    plains = [linear.Linear(*linear.solve(plain_sums, u), bare, busy) for u in using]
    by_temperature = np.stack([linear.predict(m, c, columns) for m in models])
    by_profile = np.stack([linear.predict(m, c, none) for m in plains])
    led = weather_led(c, y, weight, by_profile[-1], by_temperature[-1])
    days, shape, by_days = _degree_days(c, y, weight, block, using)
    boosted_t, trees_t = by_temperature, None
    boosted_p, trees_p = by_profile, None
    if growth is not None:
        learns = _days_of(c, using[:, block] * (weight > 0))
        features = c.features.copy()
        if led:
            features[:, SEASON] = 0.0
        boosted_t, trees_t = _boost(c, features, y, weight, by_temperature, learns, growth, seed)
        boosted_p, trees_p = _boost(c, features, y, weight, by_profile, learns, growth, seed + 1)
    all_ = np.stack([by_profile, by_temperature, boosted_t, boosted_p, by_days])  # (5, folds + 1, n)
    held = np.take_along_axis(all_, fold_of[block][None, None, :], 1)[:, 0, :]
    weights, errors = _mix(c, y, weight, held, growth is not None, led)
    members = Members(plains[-1], models[-1], trees_t, trees_p, days, shape)
    return Fitted(members, weights, weights @ held, weights @ all_[:, -1, :], errors)


def _days_of(c: Conditions, hours: F64) -> F64:
    """1 for days with an hour learnt from; float64 (k, d)."""
    out = np.zeros((len(hours), len(c.days)))
    for row, flags in zip(out, hours, strict=True):
        row[c.place[flags > 0]] = 1.0
    return out


def weather_led(c: Conditions, y: F64, weight: F64, by_profile: F64, by_temperature: F64) -> bool:
    """Does the temperature explain most of what sets one day apart from another of its kind?

    Then the season tells no more than that year's weather, and is kept from the trees.
    """
    means = [day_means(c, y - expected, weight) for expected in (by_profile, by_temperature)]
    whole = means[0][1]
    left = [float(np.sum(mean[whole] ** 2)) for mean, _ in means]
    return bool(left[1] < WEATHER_LED * left[0])


def _boost(
    c: Conditions, features: F64, value: F64, weight: F64, base: F64, learns: F64, growth: boosting.Growth, seed: int
) -> tuple[F64, boosting.Trees | None]:
    left = np.full((len(base), len(c.days), 24), np.nan)
    known = weight > 0
    left[:, c.place[known], c.hours.hour[known]] = (value - base)[:, known]
    more, trees = boosting.grow(features, left, learns, growth, seed)
    return base + more[:, c.place, c.hours.hour], trees


def day_means(c: Conditions, value: F64, weight: F64, least: float = 20.0) -> tuple[F64, NDArray[np.bool_]]:
    """(mean of each day, whether it has `least` hours or more); float64 (d,), bool (d,)."""
    count = np.bincount(c.place, weight > 0, len(c.days))
    total = np.bincount(c.place, np.where(weight > 0, value, 0.0), len(c.days))
    return np.asarray(total / np.maximum(count, 1), np.float64), np.asarray(count >= least, np.bool_)


def _degree_days(c: Conditions, y: F64, weight: F64, block: I64, using: F64) -> tuple[daily.DegreeDays, F64, F64]:
    mean, whole = day_means(c, y, weight)
    if whole.sum() < 10:
        whole = np.bincount(c.place, weight > 0, len(c.days)) > 0
    first = np.zeros(len(c.days), np.int64)
    first[c.place] = block
    air, memory = c.features[:, 6], c.features[:, 8]
    kind_work = c.kind < 5
    best: tuple[float, daily.Grid, float] | None = None
    for share in MEMORIES if c.measured.any() else (0.0,):
        felt = daily.blend_temperature(air, memory, share)
        grid = daily.grid(mean[whole], felt[whole], kind_work[whole], first[whole], using.shape[1])
        _, left = daily.fit(grid, using[-1], share)
        if best is None or left < best[0]:
            best = left, grid, share
    assert best is not None
    _, grid, share = best
    felt = daily.blend_temperature(air, memory, share)
    fits = [daily.fit(grid, u, share)[0] for u in using]
    shapes = _shapes(c, y, weight, block, using.shape[1], using, mean)
    out = np.stack([by_degree_days(d, s, c) for d, s in zip(fits, shapes, strict=True)])
    return fits[-1], shapes[-1], out


def by_degree_days(model: daily.DegreeDays, shape: F64, c: Conditions) -> F64:
    """Each hour by its day's degree days; float64 (n,) [unit]. shape : float64 (2, 2, 24)"""
    works = c.kind < 5
    felt = daily.blend_temperature(c.features[:, 6], c.features[:, 8], model.memory)
    kind = works[c.place].astype(np.int64)
    mean = daily.predict(model, felt, works)[c.place]
    return np.asarray(shape[0, kind, c.hours.hour] + shape[1, kind, c.hours.hour] * mean, np.float64)


def _shapes(c: Conditions, y: F64, weight: F64, block: I64, blocks: int, using: F64, mean: F64) -> F64:
    """How each hour follows its day's mean: float64 (k, 2, 2, 24), constant [unit] and slope [1] by kind and hour."""
    cell = block * 48 + (c.kind[c.place] < 5) * 24 + c.hours.hour
    d = mean[c.place]
    one, s1, s2, sy, sdy = (
        using @ np.bincount(cell, weight * v, blocks * 48).reshape(blocks, 48)
        for v in (np.ones(len(y)), d, d * d, y, d * y)
    )
    n = np.maximum(one, 1e-9)
    square, cross = s2 - s1 * s1 / n, sdy - s1 * sy / n
    drawn = 3.0 * float(np.var(d)) + 1e-12  # the slope is drawn to 1: the hour follows its day
    slope = (cross + drawn) / (square + drawn)
    constant = np.where(one > 0, (sy - slope * s1) / n, 0.0)
    slope = np.where(one > 0, slope, 1.0)
    return np.stack([constant, slope], 1).reshape(len(using), 2, 2, 24)


def _mix(c: Conditions, value: F64, weight: F64, held: F64, boosted: bool, led: bool) -> tuple[F64, F64]:
    """Weights on the simplex that minimise hourly and daily squares out of fold, drawn to a prior."""
    known = weight > 0
    error = (value - held)[:, known]  # (5, n)
    hourly = error @ error.T / max(error.shape[1], 1)
    place = c.place[known]
    sums = np.stack([np.bincount(place, e, len(c.days)) for e in error])
    count = np.bincount(place, minlength=len(c.days))
    means = sums[:, count >= 20] / count[count >= 20]
    square = hourly + DAY_WEIGHT * (means @ means.T / means.shape[1] if means.shape[1] else 0.0)
    errors = np.sqrt(np.diag(hourly))
    prior = (PRIOR_LED if led else PRIOR) if boosted else PRIOR_PLAIN
    allowed = np.array([True, True, boosted, boosted, True])
    pull = PRIOR_WEIGHT * float(np.diag(square).min())
    quadratic = square + pull * np.eye(5)
    weights = _simplex(quadratic, pull * prior, allowed)
    return weights, np.asarray(errors, np.float64)


def _simplex(quadratic: F64, towards: F64, allowed: NDArray[np.bool_]) -> F64:
    """argmin w'Qw - 2 b'w on the simplex, by trying every support; float64 (k,)."""
    k = len(towards)
    best = np.inf
    out = np.asarray(np.where(allowed, 1.0, 0.0) / allowed.sum(), np.float64)
    for mask in range(1, 1 << k):
        on = np.array([bool(mask >> i & 1) for i in range(k)])
        if (on & ~allowed).any():
            continue
        at = np.flatnonzero(on)
        m = len(at)
        system = np.ones((m + 1, m + 1))
        system[:m, :m] = 2 * quadratic[np.ix_(at, at)]
        system[m, m] = 0.0
        scale = max(float(np.abs(system[:m, :m]).max()), 1e-300)
        system[:m, :m] /= scale
        solution = np.linalg.lstsq(system, np.concatenate([2 * towards[at] / scale, [1.0]]), rcond=None)[0][:m]
        if (solution < -1e-12).any():
            continue
        w = np.zeros(k)
        w[at] = np.maximum(solution, 0.0)
        w /= w.sum()
        loss = float(w @ quadratic @ w - 2 * towards @ w)
        if loss < best - 1e-15:
            best, out = loss, w
    return out


def predict(members: Members, weights: F64, c: Conditions) -> F64:
    """Expected value of each hour; float64 (n,) [unit]."""
    out = np.zeros(len(c.place))
    by_profile = linear.predict(members.profile, c)
    out += (weights[0] + weights[3]) * by_profile
    if weights[1] + weights[2]:
        out += (weights[1] + weights[2]) * linear.predict(members.temperature, c)
    for weight, trees in ((weights[2], members.boost_temperature), (weights[3], members.boost_profile)):
        if weight and trees is not None:
            out += weight * boosting.correction(trees, c.features)[c.place, c.hours.hour]
    if weights[4]:
        out += weights[4] * by_degree_days(members.degree_days, members.shape, c)
    return out
