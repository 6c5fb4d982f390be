"""The simulated town in containers: its history goes to the server over HTTP, once, then its devices answer."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from metering.clock import DAY_US, QUARTER_US, now_us
from metering.explain import ExplainedError
from metering.reading import ReadingBatch
from simulators.config import Bureau
from simulators.history import history

ROWS = 20_000  # of one request
PATIENCE_S = 300.0  # with a server that is not up yet
WAIT_S = 2.0


def send_history(bureau: Bureau, *, url: str, key: str, days: int, done: Path, tell: Callable[[str], None]) -> int:
    """Send so many days of history to a server's ingest route; returns how many readings it took.

    Parameters
    ----------
    done : a file that is written at the end: then it is there, and nothing is sent again. Its neighbour `.end` keeps
        up to when the history goes, so that one that was cut short is sent again with the same readings

    Raises
    ------
    ExplainedError
        If the server does not answer in time, or refuses.
    """
    if done.exists() or days == 0:
        return 0
    mark = done.with_suffix(".end")
    if not mark.exists():
        mark.write_text(str(now_us() // QUARTER_US * QUARTER_US))
    end = int(mark.read_text())
    taken = 0
    for number, rows in enumerate(_chunks(bureau, end - days * DAY_US, end)):
        taken += _send(url, key, f"history-{end}-{days}-{number}", rows)
        tell(f"History: {taken} readings sent")
    done.write_text(f"{taken}\n")
    return taken


def _chunks(bureau: Bureau, start: int, end: int) -> Iterator[bytes]:
    lines: list[str] = []
    for batch in history(bureau, start, end, chunk_days=7):
        for line in _lines(batch):
            lines.append(line)
            if len(lines) == ROWS:
                yield "\n".join(lines).encode()
                lines = []
    if lines:
        yield "\n".join(lines).encode()


def _lines(batch: ReadingBatch) -> Iterator[str]:
    """The rows as the ingest route takes them."""
    points = [
        json.dumps({"site": p.site, "meter": p.meter, "quantity": p.quantity, "phase": p.phase})[:-1]
        for p in batch.points
    ]
    for number, at, value in zip(batch.point.tolist(), batch.at.tolist(), batch.value.tolist(), strict=True):
        when = datetime.fromtimestamp(at / 1e6, UTC).isoformat()
        yield f'{points[number]}, "at": "{when}", "value": {value!r}}}'


def _send(url: str, key: str, name: str, rows: bytes) -> int:
    request = urllib.request.Request(  # noqa: S310
        f"{url}/api/v1/ingest",
        rows,
        {"Content-Type": "application/x-ndjson", "Idempotency-Key": name, "Authorization": f"Bearer {key}"},
        method="POST",
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with opener.open(request, timeout=60) as answer:
                reply = json.load(answer)
            if reply["rejected"]:
                raise ExplainedError(
                    url, f"refuses {len(reply['rejected'])} rows: {reply['rejected'][0]}", "see its log"
                )
            return int(reply["accepted"])
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                raise ExplainedError(url, f"answers {error.code}", "see the server's log") from None
        except (urllib.error.URLError, TimeoutError, OSError):
            pass
        if time.monotonic() > deadline:
            raise ExplainedError(url, f"did not take the history within {PATIENCE_S:g} s", "see the server's log")
        time.sleep(WAIT_S)
