"""How long counters to intervals take: `python benchmarks/bench_analytics_intervals.py`."""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from analytics.counters import cumulative
from analytics.edges import grid_edges, local_edges
from analytics.intervals import aggregate, intervals
from metering.clock import DAY_US, MINUTE_US, QUARTER_US
from metering.reading import Measure, Point, Series

T0 = 1_735_660_800_000_000  # 2024-12-31T16:00Z, midnight in Shanghai
MEASURE = Measure("plant", "meter", "main", "active_energy_import", "kWh")


def year(step: int, noise: float) -> Series:
    random = np.random.default_rng(1)
    at = T0 + np.arange(0, 365 * DAY_US, step)
    value = np.round(np.cumsum(random.gamma(2.0, 1.0, len(at))), 1) % 100_000
    value[random.random(len(at)) < noise] -= 0.1
    value = np.maximum(value, 0)
    keep = random.random(len(at)) > 0.002
    return Series(Point("plant", "main", "active_energy_import"), at[keep], value[keep], np.zeros(keep.sum(), np.uint8))


def best(call, times: int = 7) -> float:
    out = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        out.append(time.perf_counter() - begin)
    return min(out) * 1e3


def main() -> None:
    quarters, days = grid_edges(T0, T0 + 365 * DAY_US), local_edges("Asia/Shanghai", T0, T0 + 365 * DAY_US)
    months = local_edges("Asia/Shanghai", T0, T0 + 365 * DAY_US, "month")
    for name, step in (("15 min", QUARTER_US), ("1 min", MINUTE_US)):
        for noise in (0.0, 0.01):
            series = year(step, noise)
            curve = cumulative(series, cadence_us=step, rollover=100_000)
            fine = intervals(curve, quarters, MEASURE)
            total = int(fine.amount.sum())
            assert total == int(intervals(curve, days, MEASURE).amount.sum())
            print(
                f"one meter-year of {name} readings ({len(series):,}, {noise:.0%} one-tick noise, "
                f"{len(curve.findings)} findings): curve "
                f"{best(lambda s=series, w=step: cumulative(s, cadence_us=w, rollover=100_000)):.1f} ms, quarters "
                f"{best(lambda c=curve: intervals(c, quarters, MEASURE)):.1f} ms, days "
                f"{best(lambda c=curve: intervals(c, days, MEASURE)):.1f} ms, months from quarters "
                f"{best(lambda f=fine: aggregate(f, months)):.1f} ms"
            )


if __name__ == "__main__":
    main()
