"""Runs opendsm on the real series; started by `peers.py` inside an environment of its own, prints JSON."""

import json
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd
from opendsm.eemeter import (
    DailyBaselineData,
    DailyModel,
    DailyReportingData,
    HourlyBaselineData,
    HourlyModel,
    HourlyReportingData,
)

sys.path.insert(0, sys.argv[1])

from benchmarks.analytics.score import cvrmse, daily_means, winkler
from benchmarks.analytics.series import ZONE, pairs

warnings.filterwarnings("ignore")


def frame(meter, observed=True):
    index = pd.DatetimeIndex(meter.time).tz_localize("UTC").tz_convert(ZONE)
    out = pd.DataFrame({"temperature": meter.temperature * 1.8 + 32.0}, index=index)
    if observed:
        out["observed"] = meter.value
    return out


def hourly(train, test, electric):
    began = time.process_time()
    model = HourlyModel().fit(
        HourlyBaselineData(frame(train), is_electricity_data=electric), ignore_disqualification=True
    )
    predicted = model.predict(
        HourlyReportingData(frame(test), is_electricity_data=electric), ignore_disqualification=True
    )
    took = time.process_time() - began
    utc = predicted.index.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    at = np.searchsorted(utc, test.time)
    at = np.minimum(at, len(utc) - 1)
    expected = np.where(utc[at] == test.time, predicted["predicted"].to_numpy()[at], np.nan)
    half = predicted["predicted_unc"].to_numpy()[at]
    low, high = expected - half, expected + half
    known = np.isfinite(test.value) & np.isfinite(expected) & np.isfinite(half)
    inside = (test.value >= low) & (test.value <= high)
    return {
        "cv": cvrmse(test.value, expected), "daily_cv": cvrmse(*daily_means(test, expected)),
        "cover": float(inside[known].mean()), "winkler": winkler(test.value, low, high), "cpu_s": took,
    }  # fmt: skip


def daily(train, test, electric):
    began = time.process_time()
    data = {}
    for name, meter, kind in (("train", train, DailyBaselineData), ("test", test, DailyReportingData)):
        rows = frame(meter)
        data[name] = kind.from_series(rows["observed"], rows["temperature"], is_electricity_data=electric)
    model = DailyModel().fit(data["train"], ignore_disqualification=True)
    predicted = model.predict(data["test"], ignore_disqualification=True)
    took = time.process_time() - began
    observed, _, day = daily_means(test, np.zeros(len(test.time)), with_days=True)
    ours = {pd.Timestamp(d).date(): v for d, v in zip(day, observed, strict=True)}
    rows = [(ours[i.date()], v / 24) for i, v in predicted["predicted"].items() if i.date() in ours and np.isfinite(v)]
    table = np.array(rows)
    return {"daily_cv": cvrmse(table[:, 0], table[:, 1]), "cpu_s": took}


def boosted(train, test, electric):
    from datetime import date, timedelta

    import lightgbm

    from analytics.baseline.conditions import hour_numbers, local_hours
    from benchmarks.analytics.series import bank_holidays

    calendar = bank_holidays()

    def features(meter):
        h = local_hours(ZONE, hour_numbers(meter.time))
        days = [date(1970, 1, 1) + timedelta(days=int(d)) for d in h.day]
        works = [calendar.works(d) for d in days]
        of_year = [d.timetuple().tm_yday for d in days]
        return np.c_[h.hour, (h.day + 3) % 7, works, of_year, meter.temperature]

    began = time.process_time()
    known = np.isfinite(train.value)
    data = lightgbm.Dataset(features(train)[known], train.value[known])
    settings = {"objective": "l2", "verbose": -1, "num_threads": 1, "learning_rate": 0.05, "num_leaves": 31,
                "min_data_in_leaf": 40, "seed": 1}  # fmt: skip
    model = lightgbm.train(settings, data, 300)
    expected = model.predict(features(test))
    took = time.process_time() - began
    error = train.value[known] - model.predict(features(train)[known])
    low, high = (expected + q for q in np.quantile(error, [0.05, 0.95]))
    seen = np.isfinite(test.value)
    return {
        "cv": cvrmse(test.value, expected), "daily_cv": cvrmse(*daily_means(test, expected)),
        "cover": float(((test.value >= low) & (test.value <= high))[seen].mean()),
        "winkler": winkler(test.value, low, high), "cpu_s": took,
    }  # fmt: skip


def main():
    out = []
    warm = pairs()[0]
    hourly(*warm, True)  # compiled once, so that nobody's time holds the compiler's
    for train, test in pairs():
        row = {"meter": train.name, "year": int(str(train.time[0])[:4])}
        for name, run in (("lightgbm", boosted), ("hourly", hourly), ("daily", daily)):
            try:
                row[name] = run(train, test, train.carrier == "electricity")
            except Exception as error:
                row[name] = {"failed": f"{type(error).__name__}: {error}"[:200]}
        out.append(row)
        print(row, file=sys.stderr, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    json.dump({"opendsm": "1.2.7", "peak_mb": peak, "rows": out}, sys.stdout, indent=1)


main()
