"""One cause is one incident."""

from dataclasses import replace

from meterhall.incidents import folded, reconciled
from metering.clock import DAY_US, HOUR_US
from metering.quantity import Carrier
from metering.site import Installation, Meter, Name, Site
from storage.ledger.incidents import IncidentRow

DAY = 20_000 * DAY_US


def meter(id, parent=""):
    return Meter(id, "plant", "", Name(id), Carrier.ELECTRICITY, "load", "p", f"mqtt://demo/{id}", parent=parent)


TREE = Installation(
    sites=(Site("plant", Name("Plant"), "Asia/Shanghai"),),
    meters=(meter("main"), meter("a", "main"), meter("a1", "a"), meter("b", "main"), meter("c", "main")),
)


def row(id, node="a", since=DAY, until=None, family="use", rate=5.0, **more):
    kind = {"use": "step_up"}.get(family, family)
    fields = {"detected": since + 20 * HOUR_US, "size": rate * 50, "confidence": 0.8, "text": Name("more")} | more
    return IncidentRow("plant", node, "active_energy_import", "kWh", kind, family, since, until, rate=rate, id=id,
                       **fields)  # fmt: skip


def parts(*rows):
    return {each.id: each.part_of for each in folded(TREE, rows)}


def reconcile(known, found, now, new_since):
    """The rows to be told of found ones, and those that end."""
    rows, ended = reconciled(known, {(each.family, each.detected): each for each in found}, now, new_since)
    return [*(row for row in rows.values() if row is not None), *ended]


def test_what_lasts_is_brought_up_to_date_and_nothing_is_told_twice():
    known = row(7, size=100.0)
    found = replace(known, id=0, size=150.0, kind="high_use")
    (told,) = reconcile([known], [found], DAY + DAY_US, None)
    assert (told.id, told.size, told.kind) == (7, 150.0, "high_use")
    assert reconcile([told], [replace(told, id=0)], DAY + DAY_US, None) == [told]


def test_seen_by_another_baseline_it_keeps_its_beginning():
    known = row(7, since=DAY)
    (told,) = reconcile([known], [row(0, since=DAY + 10 * HOUR_US, size=99.0)], DAY + 3 * DAY_US, None)
    assert (told.id, told.since, told.detected, told.size) == (7, DAY, known.detected, 99.0)


def test_what_is_no_longer_found_ends_and_what_ended_stays():
    gone, over = row(7), row(8, since=DAY - 9 * DAY_US, until=DAY - 8 * DAY_US)
    (told,) = reconcile([gone, over], [], DAY + DAY_US, None)
    assert (told.id, told.until) == (7, DAY + DAY_US)


def test_an_old_one_that_only_a_new_baseline_sees_is_not_told_anew():
    old = row(0, since=DAY - 9 * DAY_US, until=DAY - 8 * DAY_US)
    assert reconcile([], [old], DAY, DAY - 3 * DAY_US) == []
    assert reconcile([], [old], DAY, None) == [old], "of the first one all are"
    lasting = row(0, since=DAY - 9 * DAY_US)
    assert reconcile([], [lasting], DAY, DAY - 3 * DAY_US) == [lasting]


def test_of_another_family_or_time_it_is_another_incident():
    known = row(7, until=DAY + DAY_US)
    assert [each.id for each in reconcile([known], [row(0, family="gap")], DAY, None)] == [0]
    assert [each.id for each in reconcile([known], [row(0, since=DAY + 9 * DAY_US)], DAY + 9 * DAY_US, None)] == [0]


def test_a_main_sees_what_its_sub_meter_sees():
    assert parts(row(1, "main"), row(2, "a"), row(3, "a1")) == {1: 3, 2: 3}
    assert parts(row(1, "main", rate=30.0), row(3, "a1")) == {}, "most of it is its own"
    assert parts(row(1, "main", rate=-5.0), row(3, "a1")) == {}, "the other way"
    assert parts(row(1, "main", since=DAY - 5 * DAY_US), row(3, "a1")) == {}, "another time"


def test_what_many_branches_do_at_once_has_its_cause_above():
    rows = [row(1, "main", rate=15.0), row(2, "a"), row(3, "a1"), row(4, "b"), row(5, "c")]
    assert parts(*rows) == {2: 1, 3: 1, 4: 1, 5: 1}
    again = [replace(each, part_of=1 if each.id > 1 else None) for each in rows]
    assert folded(TREE, again) == []


def test_a_leak_is_the_cause_of_the_use_it_makes():
    assert parts(row(1, "a", family="leak"), row(2, "a")) == {2: 1}
    assert parts(row(1, "a1", family="leak"), row(2, "a1"), row(3, "main")) == {2: 1, 3: 1}
    assert parts(row(1, "a", family="gap"), row(2, "a")) == {}
