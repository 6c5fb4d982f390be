"""Alive, ready, and the metrics that Prometheus reads."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from api import schemas
from api.asking import refusals
from api.deps import PUBLIC, READ, TheServices
from api.periods import iso
from api.readiness import readiness
from api.services import Services
from api.wording import UTC

router = APIRouter(tags=["health"])
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/health/live", dependencies=[PUBLIC])
async def get_live() -> schemas.HealthOut:
    """Alive: the event loop answers. Touches neither store nor collector."""
    return schemas.HealthOut(status="ok")


@router.get(
    "/health/ready",
    dependencies=[READ],
    responses={503: {"model": schemas.ReadyOut, "description": "Broken"}, 401: refusals()[401]},
)
def get_ready(services: TheServices, response: Response) -> schemas.ReadyOut:
    """Ready (200), degraded with reasons (200), or broken (503)."""
    found = readiness(services)
    response.status_code = 503 if found.status == "broken" else 200
    return schemas.ReadyOut(
        status=found.status,
        reasons=list(found.reasons),
        simulated=services.simulated,
        version=services.version,
        started_at=iso(services.started_at, UTC),
    )


@router.get(
    "/metrics",
    dependencies=[READ],
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals()},
)
def get_metrics(services: TheServices) -> Response:
    """The two books and the process, as Prometheus text."""
    return Response("\n".join(lines_of(services)) + "\n", media_type=TEXT)


def label(text: str) -> str:
    """A label's value, escaped."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def book_lines(name: str, by_source: dict[str, dict[str, Any]]) -> Iterator[str]:
    """One book as a counter by source, outcome and reason; pending is a gauge of its own."""
    yield f"# HELP {name}_total {name.rpartition('_')[2]} by what became of them; received = all others + pending"
    yield f"# TYPE {name}_total counter"
    for source, book in sorted(by_source.items()):
        for outcome, count in book.items():
            if outcome == "pending":
                continue
            reasons = count if isinstance(count, dict) else {"": count}
            for reason, number in reasons.items():
                labels = f'source="{label(source)}",outcome="{label(outcome)}",reason="{label(reason)}"'
                yield f"{name}_total{{{labels}}} {number}"
    yield f"# HELP {name}_pending {name.rpartition('_')[2]} that are durable and not yet done with"
    yield f"# TYPE {name}_pending gauge"
    for source, book in sorted(by_source.items()):
        yield f'{name}_pending{{source="{label(source)}"}} {book.get("pending", 0)}'


def gauge(name: str, text: str, value: float, kind: str = "gauge") -> Iterator[str]:
    """A single metric."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    yield f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def lines_of(services: Services) -> Iterator[str]:
    """Every metric, in the text format."""
    if services.collector is not None:
        books = services.collector.books()
        yield from book_lines("meterhall_messages", books.get("messages", {}))
        yield from book_lines("meterhall_readings", books.get("readings", {}))
        spool = services.collector.spool()
        yield from gauge("meterhall_spool_bytes", "bytes in the spool", spool.bytes)
        yield from gauge("meterhall_spool_segments", "segments in the spool", spool.segments)
        yield from gauge("meterhall_spool_accepting", "1 if the spool takes records", int(spool.accepting))
        yield "# HELP meterhall_line_up 1 if a way in is ok"
        yield "# TYPE meterhall_line_up gauge"
        for line in services.collector.lines():
            yield f'meterhall_line_up{{line="{label(line.id)}",kind="{line.kind}"}} {int(line.state == "ok")}'
    status = readiness(services).status
    yield from gauge("meterhall_ready", "1 ok, 0.5 degraded, 0 broken", {"ok": 1, "degraded": 0.5}.get(status, 0))
    yield from gauge("meterhall_live_listeners", "pages that listen to live values", services.live.listeners)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield from gauge(
        "process_cpu_seconds_total", "user and system time [s]", usage.ru_utime + usage.ru_stime, "counter"
    )
    yield from gauge("process_start_time_seconds", "start [s since 1970]", services.started_at / 1e6)
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text().split()[1])
        yield from gauge("process_resident_memory_bytes", "resident memory", pages * os.sysconf("SC_PAGE_SIZE"))
        yield from gauge("process_open_fds", "open files", len(os.listdir("/proc/self/fd")))
