"""What dashboards are told: names, states, dates, books."""

from datetime import date

import pytest

from analytics.workdays import Workdays
from api.states import DeviceFigure
from devices.settings import Thresholds
from meterhall import noting
from metering.clock import DAY_US, HOUR_US
from metering.health import LineHealth, SpoolHealth, UnitHealth
from metering.quantity import Carrier
from metering.site import Building, Dated, Fact, Installation, Meter, Name, Site
from storage.influx.line_protocol import Unwritable, note_line, printable
from storage.notes import Note

NOW = 1_788_220_800_000_000 + 30 * HOUR_US  # 2026-09-02T06:00Z
SWAP = Fact("swap", NOW - 9 * DAY_US, quantity="water_volume", last=18764.2, first=0.6, reason="calibration")
PLANT = Installation(
    (Site("plant", Name("Plant", "厂区"), "Asia/Shanghai"),),
    (Building("hall", "plant", Name("Hall", "大厅"), floor_area=(Dated(1200, 0),)),),
    (
        Meter("w", "plant", "hall", Name("Water, hall", "大厅水表"), Carrier.WATER, "load", "p", "c", facts=(SWAP,)),
        Meter("pv", "plant", "", Name("Roof"), Carrier.ELECTRICITY, "generation", "p", "c", rated_power_w=40_000),
    ),
)


def tags(note):
    """The tags of a note by their keys."""
    return dict(note.tags)


def test_a_label_says_a_name_and_means_an_id():
    site, building = noting.places(PLANT, [], NOW)
    assert tags(site)["label_en"] == "Plant [plant]"
    assert tags(building)["label_zh"] == "大厅 [hall]"
    assert building.fields["floor_area"] == 1200.0
    assert site.at == NOW // DAY_US * DAY_US


def test_a_very_long_name_still_makes_a_tag():
    long = Installation((Site("plant", Name("x" * 2000), "UTC"),))
    (note,) = noting.places(long, [], NOW)
    assert tags(note)["label_en"].endswith("x [plant]")
    assert note_line(note)


def test_all_rows_of_a_measurement_have_the_same_tags_and_no_empty_one():
    figures = [DeviceFigure(meter, "ok", NOW, None, {}, "", "") for meter in PLANT.meters]
    notes = [*noting.places(PLANT, [], NOW), *noting.devices(PLANT, figures, NOW)]
    assert len(notes) == 4
    assert len({tuple(key for key, _ in note.tags) for note in notes}) == 1
    assert all(value for note in notes for _, value in note.tags)
    assert [tags(note)["counter"] for note in notes[2:]] == ["water_volume", "active_energy_export"]
    assert notes[3].fields["place_zh"] == "厂区"


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("degraded", 1), ("silent", 2), ("broken", 2), ("never", 3)])
def test_a_state_is_a_code(state, code):
    (note,) = noting.devices(PLANT, [DeviceFigure(PLANT.meters[0], state, None, None, {}, "", "")], NOW)
    assert note.fields["state"] == code
    assert "last_ms" not in note.fields


def test_a_swap_says_both_counters_and_its_exact_time():
    (note,) = noting.dated_facts(PLANT)
    assert tags(note) == {"kind": "swap", "node": "w", "site": "plant"}
    assert note.fields["text_en"] == "Water, hall: 18764.2 → 0.6 calibration"
    assert note.fields["at_ms"] == SWAP.valid_from // 1000
    assert note.at <= SWAP.valid_from < note.at + HOUR_US // 4


def test_holidays_and_work_days_on_weekends_are_told_from_local_midnight_to_midnight():
    days = Workdays({date(2026, 10, 1): False, date(2026, 10, 10): True})
    holiday, work = noting.calendar(PLANT, lambda site: days, NOW)
    assert (holiday.fields["title_zh"], work.fields["title_en"]) == ("法定休息日", "Work day on a weekend")
    assert holiday.at == 1_790_784_000_000_000  # 2026-09-30T16:00Z
    assert holiday.fields["end_ms"] - holiday.fields["at_ms"] == 86_400_000
    assert work.fields["text_zh"] == "2026年10月10日"


def test_thresholds_are_what_is_configured():
    told = {tags(note)["name"]: note.fields["value"] for note in noting.thresholds(Thresholds(missing=7.0), NOW)}
    assert told["missing"] == 7.0
    assert told["waiting"] == 10_000.0
    assert len(told) == 7


def test_a_collector_tells_its_books_and_lines():
    books = {
        "messages": {"demo": {"received": 10, "decoded": 8, "rejected": {"no_profile": 1, "broken": 1}}},
        "readings": {"demo": {"decoded": 20, "stored": 19, "duplicate": 1}},
        "total": {"messages": {"received": 10, "decoded": 8, "rejected": {"x": 2}}, "readings": {"stored": 19}},
    }
    line = LineHealth("a", "modbus", "tcp://h", "degraded", units=[UnitHealth("m", "ok"), UnitHealth("n", "broken")])
    spool = SpoolHealth(4, 4096, 1, NOW - 5_000_000, (), True)
    own, source, way = noting.collector("box", books, [line], spool, {"needs": 2}, NOW)
    assert own.fields["waiting"] == 4
    assert own.fields["oldest_s"] == 5.0
    assert own.fields["messages_rejected"] == 2
    assert source.fields["messages_rejected"] == 2
    assert source.fields["readings_stored"] == 19
    assert (way.fields["state"], way.fields["units"], way.fields["units_ok"]) == (1, 2, 1)


def test_a_line_holds_texts_whole_numbers_and_others_apart():
    note = Note("node", (("b", "x y"), ("a", "1")), 5, {"text": 'a "b"\nc', "n": 3, "v": 1.5})
    assert note_line(note) == 'node,a=1,b=x\\ y text="a \\"b\\" c",n=3i,v=1.5,void=0i 5000'


@pytest.mark.parametrize("fields", [{"v": float("nan")}, {"void": 1}, {"Bad name": 1}])
def test_what_would_harm_a_server_is_no_note(fields):
    with pytest.raises(Unwritable):
        note_line(Note("node", (("a", "b"),), 0, fields))


def test_a_name_for_a_tag_loses_what_harms():
    assert printable("a\\b\nc") == "a b c"
    assert printable("\n") == "-"
