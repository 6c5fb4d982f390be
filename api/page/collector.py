"""The collector: is everything accounted for?"""

from __future__ import annotations

from typing import Any

from api.disk import disk_of
from api.page.numbers import count, typeset
from api.page.view import Clause, View, line_name, source_name
from metering.health import LineHealth, UnitHealth
from storage.quarantine import readable

MARKS = {"ok": "ok", "degraded": "needs", "broken": "broken", "unknown": "unknown"}
BOOKS = {
    "messages": ("received", ("decoded", "repeated", "rejected", "dropped", "pending")),
    "readings": ("decoded", ("stored", "duplicate", "conflict", "missing", "rejected", "dropped", "pending")),
}
QUARANTINE_ROWS = 20
PAYLOAD_CHARS = 600
LONG_DAYS = 3650
UNITS_SHOWN = 200  # with more, a line lists those that need somebody, and all of them when it is asked for


def collector(view: View, wanted: str = "") -> dict[str, Any]:
    """What `collector.html` shows; `wanted` is the line whose devices are all listed."""
    services, words = view.services, view.words
    disk = disk_rows(view)
    if services.collector is None:
        return {"state": "empty", "sentence": [Clause(words("collector.none"))], "disk": disk}
    snapshot = services.collector.books()
    books = {name: book_table(view, snapshot, name) for name in BOOKS}
    names = names_of(view)
    found = services.collector.lines()
    few = sum(len(line.units) for line in found) <= UNITS_SHOWN
    lines = [line_of(view, line, names, whole=few or line.id == wanted, opened=line.id == wanted) for line in found]
    return {
        "state": "full",
        "sentence": sentence(view, books, lines),
        "books": books,
        "lines": [line for line in lines if line["kind"] != "mqtt"],
        "brokers": [line for line in lines if line["kind"] == "mqtt"],
        "spool": spool_of(view),
        "quarantine": quarantine_of(view),
        "disk": disk,
    }


def names_of(view: View) -> dict[str, tuple[str, str]]:
    """Name and address of every meter and vehicle."""
    return {d.id: (view.name(d), view.href_of(d)) for d in view.services.installation.devices()}


def total_of(value: Any) -> int:
    """A book's entry as one number: reasons added up."""
    return sum(value.values()) if isinstance(value, dict) else int(value or 0)


def book_table(view: View, snapshot: dict[str, Any], name: str) -> dict[str, Any]:
    """One book as a table that adds up: a line a source, their total, and whether left equals right."""
    left, right = BOOKS[name]
    total = snapshot.get("total", {}).get(name, {})
    used = [key for key in right if total_of(total.get(key)) or key in right[:2]]

    def line(source: str, row: dict[str, Any]) -> dict[str, Any]:
        entries = {key: total_of(row.get(key)) for key in right}
        reasons = {
            key: [(reason_said(view, reason), count(n)) for reason, n in value.items() if n]
            for key, value in row.items()
            if isinstance(value, dict)
        }
        got = total_of(row.get(left))
        return {
            "source": source_name(view, source) if row is not total else source,
            "left": count(got),
            "cells": [(key, count(entries[key]), reasons.get(key, [])) for key in used],
            "balanced": got == sum(entries.values()),
            "difference": got - sum(entries.values()),
        }

    rows = [line(source, row) for source, row in sorted(snapshot.get(name, {}).items())]
    whole = line(view.words("books.total"), total)
    balanced = whole["balanced"] and all(each["balanced"] for each in rows)
    return {
        "name": name,
        "columns": used,
        "left": left,
        "rows": rows,
        "total": whole,
        "balanced": balanced,
        "sum": equation(view, name, left, used, total),
    }


def equation(view: View, name: str, left: str, used: list[str], total: dict[str, Any]) -> str:
    """ "Messages: 321,070 received = 321,055 decoded + 12 repeated + 3 rejected." """
    words = view.words
    parts = [words(f"said.{key}", n=count(total_of(total.get(key)))) for key in used if total_of(total.get(key))]
    whole = words(f"said.{left}", n=count(total_of(total.get(left))))
    return words("books.equation", book=words(f"books.{name}"), left=whole, right=" + ".join(parts) or "0")


def sentence(view: View, books: dict[str, dict[str, Any]], lines: list[dict[str, Any]]) -> list[Clause]:
    """ "Everything is accounted for." with both equations, and what is broken."""
    words = view.words
    balanced = all(book["balanced"] for book in books.values())
    ill = [line for line in lines if line["state"] in ("broken", "degraded")]
    key = "collector.balanced" if balanced else "collector.unbalanced"
    clauses = [Clause(words(key), "" if balanced else "#books")]
    if ill:
        names = [line["name"] for line in ill]
        clauses.append(Clause(words("collector.ill", n=len(ill), names=words.joined(names)), "#lines"))
    elif lines:
        clauses.append(Clause(words("collector.all_lines", n=len(lines))))
    return clauses


def line_of(
    view: View, line: LineHealth, names: dict[str, tuple[str, str]], *, whole: bool, opened: bool
) -> dict[str, Any]:
    """One way in; unless `whole`, only with the units that do not simply work, and at most so many."""
    listed = line.units if whole else [unit for unit in line.units if unit.state != "ok"][:UNITS_SHOWN]
    rest = len(line.units) - len(listed)
    return {
        "id": line.id,
        "name": line_name(view, line),
        "kind": line.kind,
        "address": line.address,
        "state": line.state,
        "mark": MARKS[line.state],
        "state_text": view.words(f"line.{line.state}"),
        "since": view.moment(line.since) if line.since else None,
        "note": "" if any(unit.note for unit in line.units) else line.note,
        "connects": count(line.connects),
        "units": [unit_of(view, unit, names) for unit in listed],
        "count": len(line.units),
        "rest": (view.words("line.rest", n=count(rest)), view.link("/collector", line=line.id)) if rest else None,
        "opened": opened or line.state in ("broken", "degraded"),
        "good": sum(unit.state == "ok" for unit in line.units),
    }


def unit_of(view: View, unit: UnitHealth, names: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """One unit of a line."""
    name, href = names.get(unit.device, (unit.device, ""))
    return {
        "name": name,
        "href": href,
        "unit_id": unit.unit_id,
        "mark": MARKS[unit.state],
        "state_text": view.words(f"line.{unit.state}"),
        "seen": view.moment(unit.last_answer, relative=True) if unit.last_answer else None,
        "errors": [(error_said(view, kind), count(n)) for kind, n in sorted(unit.errors.items()) if n],
        "polls": count(unit.polls),
        "note": unit.note,
        "offline": view.moment(unit.offline_since) if unit.offline_since else None,
    }


def spool_of(view: View) -> list[tuple[str, str]]:
    """The spool in words."""
    assert view.services.collector is not None
    spool, words = view.services.collector.spool(), view.words
    oldest = spool.oldest_pending_us
    rows = [
        (words("spool.pending"), count(spool.pending_messages)),
        (words("spool.size"), words("spool.size_text", size=typeset(spool.bytes, "byte"), n=spool.segments)),
        (words("spool.oldest"), view.moment(oldest, relative=True).text if oldest else words("spool.nothing_waits")),
        (words("spool.accepting"), words("spool.yes" if spool.accepting else "spool.no")),
    ]
    if spool.damaged:
        rows.append((words("spool.damaged"), "; ".join(spool.damaged)))
    return rows


def disk_rows(view: View) -> list[tuple[str, str]]:
    """The disk and the store in words."""
    words, statistics = view.words, view.services.store.statistics()
    rows: list[tuple[str, str]] = []
    try:
        disk = disk_of(view.services.data_folder, statistics)
    except OSError:
        rows.append((words("disk.free"), words("disk.unknown")))
    else:
        share = view.share(disk.free_bytes / disk.total_bytes)
        rows.append((words("disk.free"), words("disk.free_text", free=typeset(disk.free_bytes, "byte"), share=share)))
        rows.append((words("disk.lasts"), lasting(view, disk.days_until_full)))
        if disk.forgotten:
            rows.append((words("disk.forgotten"), count(disk.forgotten)))
    if "rows" in statistics:
        rows.append((words("disk.rows"), count(int(statistics["rows"]))))
    if "bytes" in statistics:
        rows.append((words("disk.store"), str(typeset(float(statistics["bytes"]), "byte"))))
    return rows


def lasting(view: View, days: float | None) -> str:
    """How long the disk lasts, in words."""
    if days is None:
        return view.words("disk.unknown")
    return view.words("disk.lasts_long") if days > LONG_DAYS else view.words("disk.lasts_days", days=count(int(days)))


def quarantine_of(view: View) -> list[dict[str, Any]]:
    """The newest rejected payloads with their text."""
    quarantine = view.services.quarantine
    if quarantine is None:
        return []
    return [
        {
            "reason": reason_said(view, entry.reason),
            "detail": entry.detail,
            "source": entry.source,
            "key": entry.key,
            "at": view.moment(entry.received_at),
            "text": readable(entry.payload)[:PAYLOAD_CHARS],
            "size": count(len(entry.payload)),
            "cut": len(readable(entry.payload)) > PAYLOAD_CHARS,
        }
        for entry in quarantine.entries(limit=QUARANTINE_ROWS)
    ]


def reason_said(view: View, reason: str) -> str:
    """A reason in words, where it is one of ours."""
    key = "reason." + reason.replace(" ", "_")
    return view.words(key) if view.words.has(key) else reason.replace("_", " ")


def error_said(view: View, kind: str) -> str:
    """A kind of error in words, where it is one of ours."""
    key = "error." + kind.replace(" ", "_")
    return view.words(key) if view.words.has(key) else kind
