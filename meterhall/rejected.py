"""The quarantine from the command line: listed, looked at, tried again; on a running server or a stopped folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from devices.settings import Settings
from meterhall.node import FolderInUse, Node, open_node
from meterhall.running import ask
from metering.clock import from_us
from metering.explain import ExplainedError
from storage.quarantine import Entry, readable
from storage.record import RETAINED

PAGE = 500
Row = dict[str, Any]


class Rejected(Protocol):
    """Rejected payloads, wherever they are."""

    def rows(self, source: str, reason: str, limit: int | None) -> Iterator[Row]:
        """Newest first."""
        ...

    def one(self, entry: int) -> Row:
        """One, with its payload. ExplainedError if there is none."""
        ...

    def replay(self, ids: Sequence[int]) -> dict[str, int]:
        """Try some again: how many were taken, and of those tried here how many are readings now or rejected again."""
        ...


@contextlib.contextmanager
def rejected(settings: Settings) -> Iterator[Rejected]:
    """The quarantine of a configuration: the folder's, or the running server's."""
    if not settings.data.is_dir():
        raise ExplainedError(str(settings.data), "is not there", "nothing has run on this configuration yet")
    with contextlib.ExitStack() as closing:
        there: Rejected
        try:
            there = _Here(closing.enter_context(open_node(settings)))
        except FolderInUse:
            there = _There(settings)
        yield there


class _There:
    """Asked of the running server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def rows(self, source: str, reason: str, limit: int | None) -> Iterator[Row]:
        asked: dict[str, Any] = {name: value for name, value in (("source", source), ("reason", reason)) if value}
        left = limit
        while True:
            size = PAGE if left is None else min(PAGE, left)
            page = ask(self._settings, "GET", f"/api/v1/quarantine?{urlencode({**asked, 'limit': max(1, size)})}")
            yield from page["rows"][:size]
            left = None if left is None else left - len(page["rows"])
            if page["next"] is None or (left is not None and left <= 0):
                return
            asked["before"] = page["next"]

    def one(self, entry: int) -> Row:
        row: Row = ask(self._settings, "GET", f"/api/v1/quarantine/{entry}")
        row["text"] = readable(bytes.fromhex(row["hex"]))
        return row

    def replay(self, ids: Sequence[int]) -> dict[str, int]:
        taken = 0
        for i in range(0, len(ids), PAGE):
            body = {"ids": list(ids[i : i + PAGE])}
            taken += ask(self._settings, "POST", "/api/v1/quarantine/replay", body)["taken"]
        return {"taken": taken}


class _Here:
    """Done in the folder, by a spool and a pipeline of our own."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def rows(self, source: str, reason: str, limit: int | None) -> Iterator[Row]:
        before: int | None = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            found = self._node.quarantine.entries(
                limit=size, before=before, source=source or None, reason=reason or None
            )
            yield from map(_row, found)
            if len(found) < size:
                return
            before, limit = found[-1].id, None if limit is None else limit - size

    def one(self, entry: int) -> Row:
        found = self._node.quarantine.get(entry)
        if found is None:
            raise ExplainedError(f"quarantine {entry}", "does not exist", "see: meterhall quarantine list")
        return {**_row(found), "text": found.text, "hex": found.payload.hex()}

    def replay(self, ids: Sequence[int]) -> dict[str, int]:
        node = self._node
        while node.pipeline.run_once():
            pass
        before = node.books.snapshot()["total"]["messages"]
        taken = 0
        for i in range(0, len(ids), PAGE):
            entries = [e for n in ids[i : i + PAGE] if (e := node.quarantine.get(n)) is not None and e.whole]
            if entries:
                node.spool.append([each.record()._replace(flags=each.flags & RETAINED) for each in entries])
                for each in entries:
                    node.quarantine.mark_replayed(each.id)
            taken += len(entries)
            while node.pipeline.run_once():
                pass
        after = node.books.snapshot()["total"]["messages"]
        again = sum(after["rejected"].values()) - sum(before["rejected"].values())
        return {"taken": taken, "decoded": after["decoded"] - before["decoded"], "rejected_again": again}


def _row(entry: Entry) -> Row:
    return {
        "id": entry.id,
        "source": entry.source,
        "key": entry.key,
        "received_at": from_us(entry.received_at).isoformat(),
        "reason": entry.reason,
        "detail": entry.detail,
        "position": entry.position,
        "size": entry.size,
        "replayed": entry.replayed,
    }


def words_of(row: Row) -> str:
    """One entry in a line; what came from outside is shown without control characters."""
    mark = " (tried again)" if row["replayed"] else ""
    place = f"{row['id']:>6}  {row['received_at'][:19]}  {row['source']}  {row['key']}"
    text = f"{place}  {row['reason']}{mark}: {row['detail']}"
    return readable(text.encode("utf-8", "backslashreplace")).replace("\n", "\\n")
