"""The two books."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from metering.explain import ExplainedError
from storage.books import Books, State, decode_state, encode_state
from storage.record import Position, Record, Wire
from storage.spool import START, Spool


def entered(books, source="broker"):
    books.messages(source, decoded=7, repeated=1, rejected={"malformed": 1}, dropped={"damaged": 1})
    books.readings(source, decoded=28, stored=20, duplicate=3, conflict=1, missing=2, rejected={"range": 2})


def test_new_books_are_empty_and_balance():
    books = Books()
    assert books.snapshot()["total"]["messages"] == {
        "received": 0, "decoded": 0, "repeated": 0, "rejected": {}, "dropped": {}, "pending": 0,
    }  # fmt: skip
    assert books.balance() == [] == books.balance({})


def test_what_is_received_is_pending_until_it_has_an_outcome():
    books = Books()
    books.received({"broker": 12, "line-1": 3})
    assert books.snapshot()["messages"]["broker"]["pending"] == 12
    batch = books.copy()
    entered(batch)
    books.received({"broker": 5})  # meanwhile
    assert books.snapshot()["messages"]["broker"]["pending"] == 17, "nothing counts before it is committed"
    books.replace(batch)
    found = books.snapshot()
    assert found["messages"]["broker"] == {
        "received": 17, "decoded": 7, "repeated": 1, "rejected": {"malformed": 1}, "dropped": {"damaged": 1},
        "pending": 7,
    }  # fmt: skip
    assert found["readings"]["broker"] == {
        "decoded": 28, "stored": 20, "duplicate": 3, "conflict": 1, "missing": 2, "rejected": {"range": 2},
        "dropped": {}, "pending": 0,
    }  # fmt: skip
    assert found["total"]["messages"]["received"] == 20 and found["total"]["messages"]["rejected"] == {"malformed": 1}
    assert books.balance() == [] == books.balance({"broker": 7, "line-1": 3})


def test_a_batch_that_was_not_committed_leaves_no_trace():
    books = Books()
    books.received({"broker": 12})
    before = books.snapshot()
    for _ in range(3):
        entered(books.copy())
    assert books.snapshot() == before


def test_books_that_do_not_balance_say_so_in_sentences():
    books = Books()
    books.received({"broker": 3})
    books.messages("broker", decoded=5)
    books.readings("broker", decoded=1, stored=2)
    assert books.balance() == [
        "messages of broker: 2 more have an outcome than were received",
        "readings of broker: 1 more have an outcome than were decoded",
    ]
    other = Books()
    other.received({"broker": 3})
    other.readings("broker", decoded=1)
    assert other.balance() == []
    assert other.balance({"broker": 2, "line-1": 1}) == [
        "messages of broker: 3 have no outcome, but the spool holds 2",
        "messages of line-1: the spool holds 1 that were never counted",
        "readings of broker: 1 were decoded and have no outcome",
    ]


NAMES = st.sampled_from(["broker", "line-1", "主站"])
REASONS = st.dictionaries(st.sampled_from(["malformed", "range", "poison"]), st.integers(0, 9))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, st.integers(0, 50), st.integers(0, 9), REASONS, REASONS, st.integers(0, 30))))
def test_books_survive_a_restart_at_any_batch(batches):
    books = Books()
    for source, decoded, repeated, rejected, dropped, left in batches:
        taken = decoded + repeated + sum(rejected.values()) + sum(dropped.values())
        books.received({source: taken + left})
        batch = books.copy()
        batch.messages(source, decoded=decoded, repeated=repeated, rejected=rejected, dropped=dropped)
        batch.readings(source, decoded=decoded * 4, stored=decoded * 4)
        books.replace(batch)
        blob = encode_state(State(Position(3, 99), books.to_state()))
        held = {source: row["pending"] for source, row in books.snapshot()["messages"].items()}
        assert Books.from_state(decode_state(blob).books, held).snapshot() == books.snapshot()
        assert books.balance(held) == []


def test_received_is_what_is_committed_and_what_the_spool_holds(tmp_path):
    spool, books = Spool.open(tmp_path), Books()
    group = [Record(Wire.MQTT, "broker", f"t{i}", b"1", 10**15 + i) for i in range(10)]
    first = spool.append(group).position
    books.received({"broker": 10})
    spool.append(group[:4])
    books.received({"broker": 4})
    batch = books.copy()
    batch.messages("broker", decoded=9, rejected={"malformed": 1})
    books.replace(batch)
    blob = encode_state(State(first, books.to_state()))
    assert books.balance(spool.pending(first)) == []
    spool.close()
    state, spool = decode_state(blob), Spool.open(tmp_path, after=first)
    again = Books.from_state(state.books, spool.pending(state.position))
    assert again.snapshot() == books.snapshot()
    assert again.snapshot()["messages"]["broker"]["received"] == 14
    spool.close()


def test_a_state_comes_back_as_it_was():
    state = State(Position(7, 81920), {"messages": {}}, [("plant/main/active_power/l1", -5, 2**60)], 17)
    again = decode_state(encode_state(state))
    assert again == state and isinstance(again.position, Position)
    assert decode_state(encode_state(State(START, {}))).touched == []


def test_a_state_of_a_newer_version_or_of_noise_is_refused_with_the_mend():
    newer = msgspec.msgpack.encode({"version": 2, "place": "elsewhere"})
    with pytest.raises(ExplainedError, match=r"has version 2.*run the newer Meterhall"):
        decode_state(newer)
    for noise in (b"", b"\xc1", b"{}", encode_state(State(START, {}))[:-3]):
        with pytest.raises(ExplainedError, match="cannot be read"):
            decode_state(noise)


def test_metrics_are_what_prometheus_can_read():
    books = Books()
    books.received({'li"ne\\1\n': 12})
    entered(books, 'li"ne\\1\n')
    found = {}
    for family in text_string_to_metric_families(books.metrics_text()):
        for sample in family.samples:
            found[sample.name, sample.labels.get("outcome"), sample.labels.get("reason")] = sample.value
            assert sample.labels["source"] == 'li"ne\\1\n'
    assert found["meterhall_messages_total", "received", ""] == 12
    assert found["meterhall_messages_total", "rejected", "malformed"] == 1
    assert found["meterhall_readings_total", "stored", ""] == 20
    assert found["meterhall_readings_total", "rejected", "range"] == 2
    assert found["meterhall_messages_pending", None, None] == 2
    assert found["meterhall_readings_pending", None, None] == 0
