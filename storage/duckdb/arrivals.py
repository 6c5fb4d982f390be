"""What becomes of each row of a batch: stored, duplicate or conflict. Pure functions over columns.

Identity is (point, observed_at); values are compared as numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from storage.store import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORED, DUPLICATE, CONFLICT = np.uint8(Outcome.STORED), np.uint8(Outcome.DUPLICATE), np.uint8(Outcome.CONFLICT)


class Seen(NamedTuple):
    """What the store has for the keys that were looked up.

    served_* : one row a key that is stored: key (index), value, quality, origin; `row` and `is_sealed`
        say where it stands
    kept_* : the values of those keys in the conflict table
    """

    served_key: NDArray[np.int64]
    served_value: NDArray[np.float64]
    served_quality: NDArray[np.uint8]
    served_origin: NDArray[np.int32]
    served_row: NDArray[np.int64]
    served_is_sealed: NDArray[np.bool_]
    kept_key: NDArray[np.int64]
    kept_value: NDArray[np.float64]


class Verdict(NamedTuple):
    """What to do with doubtful rows.

    outcome : uint8 (n,) of the rows judged
    serve : indices of the rows that are served from now on
    demote : indices into Seen.served_*: rows that are no longer served
    first_kept : indices into Seen.served_*: those of them that enter the conflict table, before the new ones
    keep : indices of the rows that enter the conflict table, in order of arrival
    """

    outcome: NDArray[np.uint8]
    serve: NDArray[np.int64]
    demote: NDArray[np.int64]
    first_kept: NDArray[np.int64]
    keep: NDArray[np.int64]


def order_of(point: NDArray[np.int32], at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows sorted by (point, at, arrival), and where in that order the key is the one before it.

    Returns
    -------
    int64 (n,), bool (n - 1,)
    """
    low, high = int(at.min()), int(at.max())
    bits = (high - low).bit_length()
    if bits + int(point.max()).bit_length() <= 62:
        key = (point.astype(np.int64) << bits) | (at - low)
        order = np.argsort(key, kind="stable")
        key = key[order]
        return order, key[1:] == key[:-1]
    order = np.lexsort((at, point))
    p, t = point[order], at[order]
    return order, (p[1:] == p[:-1]) & (t[1:] == t[:-1])


def judge(key: NDArray[np.int64], value: NDArray[np.float64], keys: int, seen: Seen) -> Verdict:
    """Judge rows in order of arrival, each with the index of its key (below `keys`).

    A value seen before at its key, stored or earlier in the batch, is a duplicate. Of the others the first
    of an unknown key is stored, the rest are conflicts, and the last of each key is served.
    """
    n, old = len(key), len(seen.served_key) + len(seen.kept_key)
    all_key = np.concatenate((seen.served_key, seen.kept_key, key))
    all_value = np.concatenate((seen.served_value, seen.kept_value, value))
    order = np.lexsort((all_value, all_key))  # stable: equal ones stay in order of arrival
    k, v = all_key[order], all_value[order]
    repeat = np.zeros(old + n, bool)
    repeat[order[1:]] = (k[1:] == k[:-1]) & (v[1:] == v[:-1])
    is_new = ~repeat[old:]

    outcome = np.full(n, DUPLICATE)
    new = np.flatnonzero(is_new)
    stored = np.zeros(keys, bool)
    stored[seen.served_key] = True
    new_key = key[new]
    by_key = np.argsort(new_key, kind="stable")
    sorted_key = new_key[by_key]
    changes = sorted_key[1:] != sorted_key[:-1]
    first = new[by_key[np.append(True, changes)]] if len(new) else new
    last = new[by_key[np.append(changes, True)]] if len(new) else new
    outcome[new] = CONFLICT
    outcome[first[~stored[key[first]]]] = STORED

    contested = np.zeros(keys, bool)
    contested[key[outcome == CONFLICT]] = True
    kept = np.zeros(keys, bool)
    kept[seen.kept_key] = True
    demote = np.flatnonzero(contested[seen.served_key])
    return Verdict(
        outcome=outcome,
        serve=last,
        demote=demote,
        first_kept=demote[~kept[seen.served_key[demote]]],
        keep=new[contested[new_key]],
    )
