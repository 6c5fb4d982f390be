"""A record that kills the process is found, and only it."""

from collector.marker import Marker
from storage.record import Position

START, END = Position(0, 0), Position(0, 900)


def test_a_clean_stop_leaves_no_suspicion(tmp_path):
    marker = Marker(tmp_path / "m", START)
    marker.begin(START, END)
    marker.done()
    assert Marker(tmp_path / "m", END).suspected_end is None


def test_a_death_before_the_commit_makes_the_batch_suspected(tmp_path):
    Marker(tmp_path / "m", START).begin(START, END)
    assert Marker(tmp_path / "m", START).suspected_end == END


def test_a_death_after_the_commit_makes_nothing_suspected(tmp_path):
    Marker(tmp_path / "m", START).begin(START, END)
    assert Marker(tmp_path / "m", END).suspected_end is None


def test_a_record_is_blamed_after_the_process_died_over_it_twice(tmp_path):
    Marker(tmp_path / "m", START).begin(START, END)  # died in the batch
    for deaths in (0, 1):
        marker = Marker(tmp_path / "m", START)
        marker.begin(START, END)
        marker.record(6)
        assert marker.deaths_of(7) == deaths
        marker.record(7)  # and died
    marker = Marker(tmp_path / "m", START)
    assert marker.suspected_end == END
    assert marker.deaths_of(7) == 2
    assert marker.deaths_of(6) == 0


def test_deaths_after_the_last_record_was_decoded_are_not_its_fault(tmp_path):
    Marker(tmp_path / "m", START).begin(START, END)  # died in the batch
    for _ in range(5):
        marker = Marker(tmp_path / "m", START)
        marker.begin(START, END)
        assert marker.deaths_of(7) == 0
        marker.record(7)
        marker.decoded()  # and was killed while the store wrote
    assert Marker(tmp_path / "m", START).deaths_of(7) == 0


def test_a_torn_marker_file_is_no_suspicion(tmp_path):
    (tmp_path / "m").write_bytes(b"mhproc1\0abc")
    assert Marker(tmp_path / "m", START).suspected_end is None
