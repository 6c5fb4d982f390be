"""Gradient boosting of whole days: symmetric trees over a day's features, each leaf a correction of 24 hours.

A building's day is one decision (work or off, term or break, hot or mild), so 365 rows with vector leaves say what
8,760 rows of single hours say, in a fraction of the time; and a tree in which every level asks one question
(as CatBoost has it: Prokhorenkova et al. 2018) is a table look-up. All folds of a cross-validation grow side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees grow.

    trees, depth : how many, and questions each; rate : share of a correction taken [1]
    ridge : a leaf weighs its mean as if it had so many more days at zero
    components : main shapes of the day by which questions are chosen
    share : of the possible questions, drawn for each level [1]; thresholds : possible ones a feature
    fewest : days on either side of a question
    """

    trees: int = 45
    depth: int = 3
    rate: float = 0.14
    ridge: float = 5.0
    components: int = 4
    share: float = 0.4
    thresholds: int = 24
    fewest: int = 4


class Trees(NamedTuple):
    """Grown trees.

    feature, threshold : int64, float64 (trees, depth), asks whether the feature lies above the threshold
    leaf : float64 (trees, 2 ** depth, 24) [unit]
    """

    feature: I64
    threshold: F64
    leaf: F64


class Question(NamedTuple):
    feature: I64
    threshold: F64
    yes: NDArray[np.bool_]


def questions(features: F64, g: Growth) -> Question:
    """Questions that split the days: yes is bool (d, m)."""
    feature, threshold = [], []
    for f in range(features.shape[1]):
        column = features[:, f]
        values = np.unique(column)
        if len(values) < 2:
            continue
        if len(values) > g.thresholds + 1:
            picked = np.quantile(column, np.linspace(0.0, 1.0, g.thresholds + 2)[1:-1], method="lower")
            cuts = np.unique(picked)
        else:
            cuts = (values[1:] + values[:-1]) / 2
        for cut in cuts.tolist():
            above = int(np.sum(column > cut))
            if min(above, len(column) - above) >= g.fewest:
                feature.append(f)
                threshold.append(cut)
    at, cut = np.array(feature, np.int64), np.array(threshold, np.float64)
    return Question(at, cut, features[:, at] > cut)


def grow(features: F64, target: F64, train: F64, g: Growth, seed: int) -> tuple[F64, Trees | None]:
    """Grow trees for each row of `train` at once.

    Parameters
    ----------
    features : float64 (d, f); target : float64 (k, d, 24), residuals, NaN where unknown [unit]
    train : float64 (k, d), 1 for days that fold learns from; the last row is the model itself

    Returns
    -------
    (float64 (k, d, 24) corrections of all days by each fold, the trees of the last row or None without a question)
    """
    folds, days, _ = target.shape
    known = np.isfinite(target) & (train[:, :, None] > 0)
    rest = np.where(known, target, 0.0)
    out = np.zeros(target.shape)
    q = questions(features, g)
    if not len(q.feature):
        return out, None
    _, _, shapes = np.linalg.svd(rest[-1], full_matrices=False)
    basis = shapes[: g.components].T
    main = rest @ basis
    yes = np.ascontiguousarray(q.yes.T.astype(np.float64))
    random = np.random.default_rng(seed)
    trees = Trees(
        np.zeros((g.trees, g.depth), np.int64), np.zeros((g.trees, g.depth)), np.zeros((g.trees, 1 << g.depth, 24))
    )
    row = np.arange(folds)
    for t in range(g.trees):
        member = train[:, :, None].copy()  # (folds, days, leaves)
        leaf = np.zeros((folds, days), np.int64)
        for level in range(g.depth):
            drawn = np.flatnonzero(random.random(len(q.feature)) < g.share)
            if not len(drawn):
                drawn = np.arange(len(q.feature))
            best = drawn[_choose(yes[drawn], member, main, g.ridge)]
            answer = yes[best]  # (folds, days)
            leaf = leaf * 2 + answer.astype(np.int64)
            split = np.empty((folds, days, 2 << level))
            split[:, :, 0::2] = member * (1.0 - answer[:, :, None])
            split[:, :, 1::2] = member * answer[:, :, None]
            member = split
            trees.feature[t, level], trees.threshold[t, level] = q.feature[best[-1]], q.threshold[best[-1]]
        across = member.transpose(0, 2, 1)
        value = g.rate * (across @ rest) / (member.sum(1) + g.ridge)[:, :, None]
        step = value[row[:, None], leaf]
        out += step
        rest -= np.where(known, step, 0.0)
        main = main - (value @ basis)[row[:, None], leaf] * train[:, :, None]
        trees.leaf[t] = value[-1]
    return out, trees


def _choose(yes: F64, member: F64, main: F64, ridge: float) -> I64:
    """The question that explains most, for each fold; int64 (folds,)."""
    folds, days, leaves = member.shape
    k = main.shape[2]
    sums = (member[:, :, :, None] * main[:, :, None, :]).reshape(folds, days, leaves * k)
    columns = np.concatenate([sums, member], 2)
    width = columns.shape[2]
    right = (yes @ columns.transpose(1, 0, 2).reshape(days, folds * width)).reshape(len(yes), folds, width)
    left = columns.sum(1)[None] - right
    gain = np.zeros((len(yes), folds))
    for side in (right, left):
        power = (side[:, :, : leaves * k].reshape(len(yes), folds, leaves, k) ** 2).sum(3)
        gain += (power / (side[:, :, leaves * k :] + ridge)).sum(2)
    top = gain.max(0)
    near = gain >= top * (1.0 - 1e-9)  # a tie is broken by order, so that rounding decides nothing
    return np.asarray(np.argmax(near, axis=0), np.int64)


def correction(trees: Trees, features: F64) -> F64:
    """What the trees add to each day; float64 (d, 24) [unit].

    features : float64 (d, f)
    """
    count, depth = trees.feature.shape
    power = 1 << np.arange(depth)[::-1]
    leaf = ((features[:, trees.feature] > trees.threshold) * power).sum(2)  # (d, trees)
    out = np.zeros((len(features), 24))
    for t in range(count):
        out += trees.leaf[t, leaf[:, t]]
    return out
