"""The process that fits baselines: arrays in, JSON values out. `python -m meterhall.fitworker`, frames on its pipes.

It reads no file and opens no socket; it runs at the lowest priority, on one thread, within bounded memory, and ends
when its parent does. A frame is eight bytes of length and that much msgpack.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from datetime import date
from typing import Any, BinaryIO

import msgspec
import numpy as np

from analytics.anomaly.detection import look_back
from analytics.anomaly.learning import learn_held_out
from analytics.workdays import Workdays
from meterhall.savingswork import fit_savings, sum_savings

MEMORY_BYTES = 1 << 30


def pack(values: dict[str, Any]) -> bytes:
    """A frame; numpy arrays travel as their bytes."""
    plain = {key: value.tobytes() if isinstance(value, np.ndarray) else value for key, value in values.items()}
    body = msgspec.msgpack.encode(plain)
    return len(body).to_bytes(8, "little") + body


def unpack(pipe: BinaryIO) -> dict[str, Any] | None:
    """The next frame; None at the end."""
    head = pipe.read(8)
    if len(head) < 8:
        return None
    size = int.from_bytes(head, "little")
    body = pipe.read(size)
    return msgspec.msgpack.decode(body) if len(body) == size else None


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """Learn one measure.

    job : time [hours since 1970, int64], value, temperature (float64), left_out (bool) as bytes; zone, unit,
        alarms_per_month; work_days, days_off (ISO dates), known_years; flow: judge minimum flow too (water)

    Returns
    -------
    model, habits, and the incidents of the period itself, each as its `to_dict`.
    """
    time = np.frombuffer(job["time"], np.int64) * 3_600_000_000
    table = {date.fromisoformat(day): True for day in job["work_days"]}
    table |= {date.fromisoformat(day): False for day in job["days_off"]}
    value = np.frombuffer(job["value"], np.float64)
    learnt, held = learn_held_out(
        time,
        value,
        np.frombuffer(job["temperature"], np.float64),
        zone=job["zone"],
        calendar=Workdays(table, frozenset(job["known_years"])),
        unit=job["unit"],
        zeros="value",  # here a gap is absent: a zero is a zero
        left_out=np.frombuffer(job["left_out"], np.bool_),
        alarms_per_month=job["alarms_per_month"],
    )
    incidents = look_back(learnt, held, time, value, flow=job["flow"])
    return {
        "model": learnt.model.to_dict(),
        "habits": learnt.habits.to_dict(),
        "incidents": [incident.to_dict() for incident in incidents],
    }


TASKS = {"learn": fit, "fit_savings": fit_savings, "sum_savings": sum_savings}


def main() -> None:
    """Answer jobs until the pipe is closed."""
    with contextlib.suppress(OSError):
        os.nice(10)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while (job := unpack(jobs)) is not None:
        try:
            answer = TASKS[job.get("task", "learn")](job)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(pack(answer))
        answers.flush()


if __name__ == "__main__":
    main()
