"""Baselines and incidents in a real ledger."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from metering.explain import Finding
from metering.reading import Measure
from metering.site import Name
from storage.ledger.baselines import BaselineRow, WatchRow
from storage.ledger.incidents import FeedbackRow, IncidentRow
from storage.ledger.ledger import Ledger
from storage.ledger.tables import metadata

MAIN = Measure("plant", "meter", "main", "active_energy_import", "kWh")
HALL = Measure("plant", "building", "hall", "electricity", "kWh")
GAPS = Finding("baseline.gaps", "warning", "only 80 % of the period was observed", {"coverage": 0.8})


def baseline(measure=MAIN, fitted_at=100, **more):
    row = BaselineRow(measure, "hourly", 0, 90, fitted_at, "abc", {"cvrmse": 0.12, "r2": None}, (GAPS,), {"budget": 1})
    return replace(row, **more)


def incident(node="main", since=10, **more):
    row = IncidentRow("plant", node, "active_energy_import", "kWh", "step_up", "use", since, None, since + 5, 12.5, 0.5,
                      0.8, Name("more than usual", "比通常多"), {"usual": 3.0}, 1)  # fmt: skip
    return replace(row, **more)


def test_a_new_baseline_supersedes_the_one_before_and_both_stay(ledger):
    first = ledger.baselines.put(baseline(), {"model": {"kind": "hourly"}})
    assert first == replace(baseline(), id=first.id) and ledger.baselines.in_use() == [first]
    second = ledger.baselines.put(baseline(fitted_at=200), {"model": {"kind": "daily"}})
    assert ledger.baselines.in_use() == [second]
    assert ledger.baselines.versions(MAIN) == [second, replace(first, superseded_at=200)]
    assert ledger.baselines.body(first.id) == {"model": {"kind": "hourly"}}
    assert ledger.baselines.body(second.id) == {"model": {"kind": "daily"}}


def test_baselines_are_found_by_site_and_node(ledger):
    main, hall = (ledger.baselines.put(baseline(measure), {}) for measure in (MAIN, HALL))
    assert ledger.baselines.in_use("plant") == [main, hall]
    assert ledger.baselines.in_use("elsewhere") == []
    assert ledger.baselines.in_use(node="hall") == [hall]
    ledger.baselines.drop([MAIN], 300)
    assert ledger.baselines.in_use() == [hall]


def test_of_old_versions_the_figures_stay_and_the_models_go(ledger):
    rows = [ledger.baselines.put(baseline(fitted_at=i), {"model": i}) for i in range(6)]
    bodies = [ledger.baselines.body(row.id) for row in rows]
    assert bodies == [None, None, None, {"model": 3}, {"model": 4}, {"model": 5}]
    assert len(ledger.baselines.versions(MAIN)) == 6


def test_incidents_are_entered_once_and_brought_up_to_date(ledger):
    (made,) = ledger.incidents.write([incident()], 50)
    assert made == incident(id=made.id, updated_at=50)
    (later,) = ledger.incidents.write([replace(made, until=40, kind="high_use")], 60)
    assert ledger.incidents.list() == [later] and later.until == 40 and later.updated_at == 60
    assert ledger.incidents.get(made.id) == later and ledger.incidents.get(999) is None
    assert ledger.incidents.write([], 70) == []


def test_incidents_are_found_by_time_node_kind_and_whether_they_are_causes(ledger):
    a, b, c = ledger.incidents.write([incident("a", 10, until=20), incident("b", 30), incident("c", 40)], 50)
    (part,) = ledger.incidents.write([incident("d", 31, part_of=b.id)], 50)
    assert [row.node for row in ledger.incidents.list()] == ["c", "d", "b", "a"]
    assert [row.node for row in ledger.incidents.list(20, 40)] == ["d", "b"], "until and end are exclusive"
    assert [row.node for row in ledger.incidents.list(open_only=True, causes_only=True)] == ["c", "b"]
    assert [row.node for row in ledger.incidents.list(node="a")] == ["a"]
    assert ledger.incidents.list(kind="leak") == [] and len(ledger.incidents.list(limit=2)) == 2
    assert ledger.incidents.parts(b.id) == [part] and ledger.incidents.parts(a.id) == [] and c.part_of is None


def test_what_people_say_is_kept_whole_and_the_last_word_counts(ledger):
    (made,) = ledger.incidents.write([incident()], 50)
    first = FeedbackRow(made.id, "confirmed", "a fan", "front desk", 60)
    assert ledger.incidents.say(first).feedback == "confirmed"
    second = FeedbackRow(made.id, "planned", "", "front desk", 70)
    said = ledger.incidents.say(second)
    assert (said.feedback, said.updated_at) == ("planned", 70)
    assert ledger.incidents.said_of(made.id) == [first, second]
    assert ledger.incidents.list(said="planned") == [said] and ledger.incidents.list(said="confirmed") == []
    assert ledger.incidents.say(FeedbackRow(999, "planned", "", "x", 80)) is None
    (again,) = ledger.incidents.write([replace(made, until=90)], 90)
    assert again.feedback == "planned", "the detector does not unsay it"


def test_a_meters_alarm_budget_is_the_one_set_last(ledger):
    for budget in (0.5, 0.0):
        ledger.baselines.watch(WatchRow("plant", "main", "active_energy_import", budget, "front desk", 10))
    assert [row.alarms_per_month for row in ledger.baselines.watches().values()] == [0.0]


def test_a_ledger_of_the_first_version_gets_the_new_tables_and_keeps_its_events(ledger_address):
    first = Ledger.open(*ledger_address)
    with first._engine.begin() as con:
        metadata.drop_all(con, [table for name, table in metadata.tables.items() if name != "events"])
        con.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
        con.execute(sa.text("INSERT INTO events VALUES (1, 'silent', 's', 'n', 1, NULL, 'broken', 'a', 'b', '{}', 1)"))
    first.close()
    again = Ledger.open(*ledger_address)
    assert len(again.events()) == 1 and again.baselines.in_use() == [] and again.incidents.list() == []
    with again._engine.connect() as con:
        assert "baselines_in_use" in {index["name"] for index in sa.inspect(con).get_indexes("baselines")}
    again.close()


@pytest.mark.slow
def test_what_a_damaged_ledger_still_holds_of_incidents_is_taken_over(tmp_path):
    path = tmp_path / "ledger.sqlite"
    first = Ledger.open(f"sqlite:///{path}")
    first.incidents.write([incident(f"m{i}") for i in range(2000)], 50)
    kept = first.baselines.put(baseline(), {"model": 1})
    first.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9000] = b"\xa5" * 9000
    path.write_bytes(data)
    again = Ledger.open(f"sqlite:///{path}")
    assert "incidents" in again.note and len(again.incidents.list()) > 500
    assert again.baselines.in_use() == [kept] and again.baselines.body(kept.id) == {"model": 1}
    again.close()
