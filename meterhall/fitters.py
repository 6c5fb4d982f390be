"""Processes that fit: started when there is something to fit, ended when there is not."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from meterhall.fitworker import pack, unpack

log = logging.getLogger("meterhall")

LONGEST_FIT_S = 120.0
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

K = TypeVar("K")
Job = dict[str, Any]
Answer = dict[str, Any]


class FitFailed(Exception):
    """A fit gave nothing: the process died, took too long, or met a fault of ours."""


class Worker:
    """One process; it is started at its first job, and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def fit(self, job: Job) -> Answer:
        """The answer to a job.

        Raises
        ------
        FitFailed
            If there is none.
        """
        process = self._process = self._process or _start()
        assert process.stdin and process.stdout
        late = threading.Timer(LONGEST_FIT_S, process.kill)
        late.start()
        try:
            process.stdin.write(pack(job))
            process.stdin.flush()
            answer = unpack(process.stdout)  # type: ignore[arg-type]
        except (OSError, ValueError) as error:
            self.close()
            raise FitFailed(f"the process that fits is gone ({error})") from error
        finally:
            late.cancel()
        if answer is None:
            self.close()
            raise FitFailed("the process that fits died, or took too long")
        if "error" in answer:
            raise FitFailed(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "meterhall.fitworker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **dict.fromkeys(ONE_THREAD, "1")},
        start_new_session=True,  # Ctrl-C is for the parent, which ends it
    )


def fit_all(
    jobs: Iterable[tuple[K, Callable[[], Job]]], stop: threading.Event, workers: int | None = None
) -> Iterator[tuple[K, Answer | FitFailed]]:
    """Fit many; yields each answer as it comes, until all are done or `stop` is set.

    jobs : (key, what makes the job: called just before it is sent, so that no more than a few are in memory)
    """
    count = workers or min(2, os.cpu_count() or 1)
    own: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    made = [Worker() for _ in range(count)]
    for worker in made:
        own.put(worker)

    def one(key: K, make: Callable[[], Job]) -> tuple[K, Answer | FitFailed] | None:
        if stop.is_set():
            return None
        worker = own.get()
        try:
            return key, worker.fit(make())
        except FitFailed as failure:
            return key, failure
        finally:
            own.put(worker)

    try:
        with ThreadPoolExecutor(count, thread_name_prefix="fit") as pool:
            for answer in pool.map(lambda row: one(*row), jobs):
                if answer is not None:
                    yield answer
    finally:
        for worker in made:
            worker.close()
