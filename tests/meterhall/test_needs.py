"""What needs somebody is told once, by whichever finder knows it."""

from dataclasses import replace

import pytest

from meterhall import needs
from meterhall.needs import SURE
from metering.clock import DAY_US, HOUR_US
from metering.explain import Finding
from metering.quantity import Carrier
from metering.reading import Measure
from metering.site import Building, Installation, Meter, Name, Site
from storage.ledger.baselines import BaselineRow
from storage.ledger.incidents import IncidentRow
from storage.ledger.ledger import Event

DAY = 20_000 * DAY_US


def meter(id, parent=""):
    return Meter(id, "plant", "hall", Name(id), Carrier.ELECTRICITY, "load", "p", f"mqtt://demo/{id}", parent=parent)


PLACES = Installation(
    sites=(Site("plant", Name("Plant", "厂区"), "Asia/Shanghai"),),
    buildings=(Building("hall", "plant", Name("Hall", "大厅")),),
    meters=(meter("main"), meter("fans", "main"), meter("lights", "main"), meter("other")),
)


def event(kind="night_load", node="fans", since=DAY, severity="needs_you", **data):
    return Event(kind, node, Name("Hall: more at night. Look."), since, "plant", severity, data)


def incident(id=7, node="fans", kind="night_load", family="use", since=DAY, **more):
    text = Name("night load up 3 kWh/h", "夜间负荷增加 3 kWh/h")
    row = IncidentRow("plant", node, "active_energy_import", "kWh", kind, family, since, None, since + 9 * HOUR_US,
                      60.0, 3.0, 0.9, text, baseline=1, id=id)  # fmt: skip
    return replace(row, **more)


def merged(installation, events, incidents, sure_of=(1,)):
    return needs.merged(installation, events, incidents, sure_of)


def brief(events):
    return [(each.kind, each.node, each.data.get("incident")) for each in events]


def test_an_event_that_is_an_incident_too_is_one_item_and_leads_to_it():
    assert brief(merged(PLACES, [event()], [incident()])) == [("night_load", "fans", 7)]


@pytest.mark.parametrize(("of_event", "of_incident"), [("fans", "main"), ("main", "fans")])
def test_up_and_down_the_tree_it_is_one_item(of_event, of_incident):
    told = merged(PLACES, [event(node=of_event)], [incident(node=of_incident)])
    assert brief(told) == [("night_load", of_event, 7)]


def test_seen_by_a_part_it_is_one_item():
    rows = [incident(7, "fans"), incident(8, "main", part_of=7)]
    assert brief(merged(PLACES, [event(node="main")], rows)) == [("night_load", "main", 7)]


def test_other_places_times_and_things_are_other_items():
    apart = [event(node="other"), event(node="main", since=DAY - 9 * DAY_US), event("stuck"), event("silent")]
    for each in apart:
        assert len(merged(PLACES, [each], [incident()])) == 2


def test_a_silent_line_is_the_gap_of_each_of_its_meters():
    line = event("silent", "10.0.0.7:502", meters=("fans", "lights"), severity="broken")
    rows = [incident(7, "fans", "gap", "gap"), incident(8, "lights", "gap", "gap")]
    assert brief(merged(PLACES, [line], rows)) == [("silent", "10.0.0.7:502", 7)]


def test_an_incident_that_no_event_tells_of_becomes_one_if_it_is_sure():
    (told,) = merged(PLACES, [], [incident(kind="step_up")])
    assert (told.kind, told.node, told.since, told.data) == ("incident_use", "fans", DAY, {"incident": 7})
    assert told.text == Name("Hall: fans, night load up 3 kWh/h.", "大厅：fans，夜间负荷增加 3 kWh/h。")
    assert merged(PLACES, [], [incident(confidence=SURE - 0.01)]) == []
    assert len(merged(PLACES, [], [incident(confidence=SURE - 0.01, feedback="confirmed")])) == 1
    assert merged(PLACES, [], [incident(kind="step_down")]) == [], "who uses less needs nobody"
    (gap,) = merged(PLACES, [], [incident(kind="gap", family="gap")])
    assert gap.severity == "broken"


def test_errors_of_a_baseline_that_does_not_fit_are_no_reason_to_call_somebody():
    assert merged(PLACES, [], [incident(kind="step_up")], sure_of=()) == []
    assert len(merged(PLACES, [], [incident(kind="step_up", feedback="confirmed")], sure_of=())) == 1
    assert len(merged(PLACES, [], [incident(kind="leak", family="leak")], sure_of=())) == 1, "it needs no baseline"


def test_a_baseline_is_trusted_that_fits_well_and_has_seen_every_season():
    def row(id, verdict, *codes):
        findings = tuple(Finding(code, "warning", "") for code in codes)
        measure = Measure("plant", "meter", "fans", "active_energy_import", "kWh")
        return BaselineRow(measure, "hourly", 0, 1, 2, "", {"guideline14": verdict}, findings, id=id)

    rows = [row(1, "pass"), row(2, "fail"), row(3, "pass", "baseline.months_missing"), row(4, "pass", "baseline.gaps")]
    assert needs.trusted(rows) == {1, 4}


def test_what_people_said_is_heeded():
    for said in ("planned", "false_alarm"):
        assert merged(PLACES, [event()], [incident(feedback=said)]) == []
        assert merged(PLACES, [], [incident(feedback=said)]) == []
    silent = event("silent", severity="broken")
    gap = incident(kind="gap", family="gap", feedback="false_alarm")
    assert len(merged(PLACES, [silent], [gap])) == 1, "missing data stay missing"
    assert merged(PLACES, [silent], [replace(gap, feedback="planned")]) == []
    assert len(merged(PLACES, [event()], [incident(feedback="confirmed")])) == 1
