"""The harness itself: its table, its bounded runs, its clocks' changes."""

import json
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from faults.document import BEGIN, END, put_in, table_of
from faults.report import Row, line_of, write_results
from faults.scenarios import ALONE, PUNCTUAL, SCENARIOS, TOYS, run_scenario
from faults.toys import TOYS as DEFECTS
from faults.wrong import EXPECTED
from faults.zones import changes_of


def at(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp())


def test_each_toy_is_a_scenario_and_every_scenario_says_what_it_does():
    assert {name.removeprefix("toy-").replace("-", "_") for name in TOYS} == set(DEFECTS) == set(EXPECTED)
    assert all(scenario.__doc__ for scenario in SCENARIOS.values())
    assert set(SCENARIOS) >= ALONE | PUNCTUAL


def test_runs_of_one_scenario_add_up_and_the_worst_recovery_counts():
    row = Row("a", count=2, lost=1, recovery_s=1.0, missed=["x"])
    row.merge(Row("a", count=3, doubled=2, recovery_s=4.0)).merge(Row("a", count=1, missed=["y"]))
    assert (row.count, row.lost, row.doubled, row.recovery_s, row.missed) == (6, 1, 2, 4.0, ["x", "y"])
    assert not row.passed


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("a"), "pass"),
        (Row("a", lost=1), "FAIL"),
        (Row("a", missed=["too slow"]), "FAIL"),
        (Row("a", skipped="no strace"), "not run"),
        (Row("a", skipped="no strace", caught_at="lost"), "not run"),
    ],
)
def test_a_row_says_its_verdict_and_why(row, verdict):
    line = line_of(row)
    assert line.splitlines()[0].endswith(verdict)
    assert all(words in line for words in row.missed)


def test_a_scenario_is_ended_after_the_time_that_was_given_and_counts_as_not_run(monkeypatch):
    def endless(context):
        yield Row("a part that ended")
        time.sleep(60)

    monkeypatch.setitem(SCENARIOS, "endless", endless)
    first, second = run_scenario("endless", "full", 1, keep=False, most_s=0.2)
    assert (first.verdict, second.verdict) == ("pass", "not run")
    assert "ended after 0.2 s" in second.skipped


def test_a_scenario_that_breaks_off_fails_and_keeps_what_it_had(monkeypatch, capfd):
    def broken(context):
        yield Row("a part that ended")
        raise RuntimeError("no such thing")

    monkeypatch.setitem(SCENARIOS, "broken", broken)
    first, second = run_scenario("broken", "ci", 1, keep=False)
    assert (first.verdict, second.verdict) == ("pass", "FAIL")
    assert "no such thing" in second.missed[0]


def test_the_table_is_put_between_its_marks_and_says_where_it_was_made(tmp_path):
    path = tmp_path / "results.json"
    rows = [Row("kill -9", "kills", 60, recovery_s=2.25), Row("toy", "kills", 1, lost=1234, caught_at="lost")]
    write_results(path, rows, level="ci", seed=1, took_s=600.0, others=0.4)
    table = table_of(json.loads(path.read_text()))
    assert "2 rows, 0 failed, 0 not run, in 10 minutes" in table
    assert "other processes took 40%" in table
    assert "| kill -9 | 60 kills | 0 | 0 | 0 | 2.2 s | pass |" in table
    assert "| toy | 1 kills | 1,234 | 0 | 0 |  | caught (lost) |" in table
    text = put_in(f"before\n{BEGIN}\nold\n{END}\nafter\n", table)
    assert text == f"before\n{BEGIN}\n{table}\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no <!--"):
        put_in("no marks", table)


def test_a_zones_changes_are_found_to_the_second():
    found = changes_of(ZoneInfo("Europe/Berlin"), at(2026, 1, 1), at(2027, 1, 1))
    assert found == [(at(2026, 1, 1), 3600), (at(2026, 3, 29, 1), 7200), (at(2026, 10, 25, 1), 3600)]
    assert changes_of(ZoneInfo("Asia/Shanghai"), at(2026, 1, 1), at(2027, 1, 1)) == [(at(2026, 1, 1), 28_800)]
    half = changes_of(ZoneInfo("Australia/Lord_Howe"), at(2026, 1, 1), at(2027, 1, 1))
    assert {offset for _, offset in half} == {37_800, 39_600}
