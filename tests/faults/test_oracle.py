"""The oracle sees what is lost, doubled and invented, and the values verify themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.ledger import ACKNOWLEDGED, SENT, Ledger, LedgerFile
from faults.oracle import examine, point_of
from faults.values import SECOND_US, value_of, values_of
from metering.reading import Origin, ReadingBatch
from storage.books import Books, State, encode_state
from storage.opening import duckdb_url, open_store
from storage.spool import START

T0 = 1_767_225_600


@given(k=st.integers(0, 99_999), q=st.integers(0, 3), n=st.integers(0, 10**7))
def test_a_value_is_the_same_alone_and_in_an_array_and_exact_in_binary(k, q, n):
    value = value_of(k, q, n)
    assert values_of(np.array([k]), q, np.array([n]))[0] == value
    assert value * 64 == int(value * 64) < 2**53
    assert float(repr(value)) == value


def fill(data, rows):
    data.mkdir(parents=True)
    store = open_store(duckdb_url(data / "meterhall.duckdb"))
    points = tuple(point_of(0, q) for q in range(4))
    n = len(rows)
    batch = ReadingBatch(
        points,
        np.array([q for q, _, _ in rows], np.int32),
        np.array([(T0 + number) * SECOND_US for _, number, _ in rows], np.int64),
        np.array([value for _, _, value in rows]),
        np.zeros(n, np.uint8),
        np.zeros(n, np.int32),
        (Origin("b", 1, "plain_json@1", "1:1"),),
    )

    def state(result):
        books = Books()
        stored = int((result.outcome == 0).sum())
        books.messages("b", decoded=n // 4)
        books.readings("b", decoded=n, stored=stored, duplicate=n - stored)
        return encode_state(State(position=START, books=books.to_state()))

    store.write(batch, state)
    store.close()


def ledger_of(tmp_path, numbers):
    file = LedgerFile(tmp_path / "ledger")
    for number in numbers:
        file.enter(SENT, 0, number)
        file.enter(ACKNOWLEDGED, 0, number)
    file.close()
    return Ledger.read(tmp_path / "ledger")


def good(numbers):
    return [(q, number, value_of(0, q, number)) for number in numbers for q in range(4)]


def test_what_was_sent_and_is_stored_is_good(tmp_path):
    fill(tmp_path / "data", good([0, 1, 2]))
    verdict = examine(tmp_path / "data", ledger_of(tmp_path, [0, 1, 2]), T0)
    assert verdict.good, verdict
    assert (verdict.expected, verdict.stored) == (12, 12)


@pytest.mark.parametrize(
    ("rows", "lost", "invented"),
    [
        (good([0, 1]), 4, 0),
        (good([0, 1, 2, 3]), 0, 4),
        ([*good([0, 1, 2])[:-1], (3, 2, 7.0)], 0, 1),
    ],
    ids=["a message is missing", "one nobody sent", "another value"],
)
def test_what_is_missing_or_strange_is_counted(tmp_path, rows, lost, invented):
    fill(tmp_path / "data", rows)
    verdict = examine(tmp_path / "data", ledger_of(tmp_path, [0, 1, 2]), T0)
    assert (verdict.lost, verdict.invented) == (lost, invented)
    assert not verdict.good


def test_a_ledger_line_that_was_cut_off_counts_for_nothing(tmp_path):
    (tmp_path / "ledger").write_text("s 1 2\na 1 2\na 1")
    ledger = Ledger.read(tmp_path / "ledger")
    assert dict(ledger.sent) == dict(ledger.acknowledged) == {(1, 2): 1}
