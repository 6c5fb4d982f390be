"""What those who query the store are told of baselines and incidents."""

import pytest

from metering.clock import DAY_US, HOUR_US, QUARTER_US
from storage.influx.line_protocol import note_line
from storage.notes import NoteStore
from tests.usual import FANS, NOW, Clock, insights_of


class Noted:
    """A store that takes notes: those of `note`, and the last ones of each kind of `note_exactly`."""

    def __init__(self, store):
        self._store, self.notes, self.exactly = store, [], {}

    def __getattr__(self, name):
        return getattr(self._store, name)

    def note(self, notes):
        self.notes += notes

    def note_exactly(self, kind, notes):
        self.exactly[kind] = notes


@pytest.fixture
def told(usual, tmp_path):
    """The insights over a store that takes notes, having told once, and that store."""
    ledger, store, clock = usual.copy(tmp_path), Noted(usual.store), Clock()
    assert isinstance(store, NoteStore)
    insights = insights_of(store, ledger, clock)
    insights.tell()
    yield insights, store, clock
    ledger.close()


def test_the_hours_of_a_month_and_two_days_ahead_are_told_of_each_baseline(told):
    insights, store, _ = told
    own = [note for note in store.notes if dict(note.tags)["node"] == "fans"]
    assert {note.measurement for note in own} == {"expected_hour"} and len(store.notes) == 4 * len(own)
    assert own[0].at <= NOW - 31 * DAY_US + HOUR_US and own[-1].at >= NOW + DAY_US
    assert all(
        note.at % HOUR_US == 0 and note.fields["low"] <= note.fields["value"] <= note.fields["high"] for note in own
    )
    usual = insights.usual(FANS, own[0].at, own[-1].at + HOUR_US)
    assert [note.fields["amount"] for note in own] == usual.expected.amount.tolist()
    assert dict(own[0].tags) == {
        "site": "plant", "scope": "meter", "node": "fans", "name": "active_energy_import", "carrier": "electricity",
        "unit": "kWh",
    }  # fmt: skip


def test_later_only_the_hours_around_now_are_told_again(told):
    insights, store, clock = told
    store.notes.clear()
    clock.now = NOW + HOUR_US
    insights.tell()
    assert len(store.notes) == 4 * (6 + 1 + 48) and min(note.at for note in store.notes) >= NOW - 7 * HOUR_US


def test_each_incident_is_a_row_on_the_shared_grid_with_its_words_and_money(told):
    insights, store, _ = told
    rows = {dict(note.tags)["node"]: note for note in store.exactly["incidents"]}
    cause, part = rows["fans"], rows["main"]
    (row,) = insights.incidents()
    assert cause.at == row.since // QUARTER_US * QUARTER_US and cause.fields["since_ms"] == row.since // 1000
    assert (cause.fields["lasting"], cause.fields["feedback"], cause.fields["part_of"]) == (1, "-", 0)
    assert part.fields["part_of"] == row.id and "until_ms" not in cause.fields
    assert cause.fields["cost"] == pytest.approx(0.8 * row.size) and cause.fields["cost_unit"] == "CNY"
    assert cause.fields["text_zh"] == row.text.zh


def test_every_row_is_one_the_server_takes(told):
    _, store, _ = told
    for note in [*store.notes, *store.exactly["incidents"]]:
        assert note_line(note).endswith(f",void=0i {note.at * 1000}")


def test_a_store_that_nobody_queries_is_told_nothing(usual, tmp_path):
    ledger = usual.copy(tmp_path)
    insights_of(usual.store, ledger, Clock()).tell()
    ledger.close()
