"""Many points read at once give what each gives alone."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.clock import DAY_US, HOUR_US
from metering.reading import Origin, Point, ReadingBatch
from storage.opening import open_store

POINTS = tuple(Point("s", f"m{i}", "active_energy_import") for i in range(5))
NOW = 1_790_000_000_000_000
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(-100, 100)), max_size=60, unique=True)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, start=st.integers(-110, 110), hours=st.integers(0, 80), sealed=st.booleans())
def test_many_series_are_the_single_ones(tmp_path, rows, start, hours, sealed):
    store = open_store(f"duckdb:///{tmp_path}/{abs(hash((tuple(rows), start, hours, sealed)))}.duckdb")
    point, hour = np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows], np.int64)
    n = len(rows)
    origins = (Origin("x", NOW, "p@1", "00000001:1"),)
    zero = np.zeros(n, np.int32)
    store.write(
        ReadingBatch(POINTS, point, NOW + hour * HOUR_US, np.arange(n) * 0.5, zero.astype(np.uint8), zero, origins)
    )
    if sealed:
        store.maintain(NOW + 3 * DAY_US)
    a, b = NOW + start * HOUR_US, NOW + (start + hours) * HOUR_US
    for series in store.many_series(POINTS, a, b):
        alone = store.series(series.point, a, b, margin=True)
        assert series.at.tolist() == alone.at.tolist()
        assert series.value.tolist() == alone.value.tolist()
        assert series.quality.tolist() == alone.quality.tolist()
    store.close()
