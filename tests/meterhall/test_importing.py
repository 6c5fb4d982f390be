"""CSV files are read row by row; what cannot be a reading is named with its line."""

import gzip

import pytest

from meterhall.importing import ImportReport, parse_columns, read_csv
from metering.explain import ExplainedError
from metering.quantity import Carrier
from metering.site import Installation, Meter, Name, Site

PLANT = Installation(
    sites=(Site("town", Name("Town"), "Europe/London"),),
    meters=(Meter("main", "town", "", Name("Main"), Carrier.ELECTRICITY, "grid", "p", "c"),),
)


def read(path, text, columns=("kwh=active_energy_import:Wh",), zone="Europe/London"):
    path.write_text(text)
    report = ImportReport()
    rows = list(read_csv(path, parse_columns(list(columns), "main", PLANT), "time", zone, report))
    return rows, report


def test_values_are_converted_and_times_without_offset_are_local(tmp_path):
    rows, report = read(tmp_path / "a.csv", "time,kwh\n2026-07-01T01:00:00,1500\n2026-01-01 00:00+00:00,2500\n")
    assert [(str(point), at, value) for point, at, value in rows] == [
        ("town/main/active_energy_import/total", 1_782_864_000_000_000, 1.5),
        ("town/main/active_energy_import/total", 1_767_225_600_000_000, 2.5),
    ]
    assert report.words().startswith("2 rows: 2 values")


def test_what_cannot_be_a_reading_is_counted_and_named(tmp_path):
    text = (
        "time,kwh\n2026-01-01,abc\nyesterday,1\n2026-01-02,-5\n2026-01-03,\n2026-01-04,nan\n2026-01-05\n2026-01-06,7\n"
    )
    rows, report = read(tmp_path / "a.csv", text)
    assert len(rows) == 1
    assert report.rejected == {"not_a_number": 1, "time": 1, "range": 1, "columns": 1}
    assert report.empty == 2
    assert 'line 2: "abc"' in report.words()


def test_a_local_hour_that_does_not_exist_is_refused(tmp_path):
    rows, report = read(tmp_path / "a.csv", "time,kwh\n2026-03-29T01:30:00,1\n")
    assert not rows
    assert "clocks were put forward" in report.words()


def test_a_packed_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbftime,kwh\n2026-01-01T00:00Z,5\n"))
    rows = list(
        read_csv(path, parse_columns(["kwh=active_energy_import"], "main", PLANT), "time", "UTC", ImportReport())
    )
    assert rows[0][2] == 5


@pytest.mark.parametrize(
    ("columns", "meter", "found"),
    [
        (["kwh"], "main", "COLUMN=QUANTITY"),
        (["kwh=energy"], "main", "energy"),
        (["kwh=active_power:kWh"], "main", "kWh"),
        (["kwh=active_power@l9"], "main", "l9"),
        (["kwh=active_power"], "mian", "main"),
    ],
)
def test_a_wrong_mapping_is_named(columns, meter, found):
    with pytest.raises(ExplainedError, match=found):
        parse_columns(columns, meter, PLANT)


def test_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ExplainedError, match='no column "kwh"'):
        read(tmp_path / "a.csv", "time,energy\n")
