"""Notes on the server: rows for dashboards beside readings and intervals. See `storage.notes`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256

from storage.influx.client import Client, Rejected, TooLarge
from storage.influx.line_protocol import note_line, series_key
from storage.influx.local import Local
from storage.notes import Note
from storage.store import StoreUnavailable

MOST_LINES = 5000  # in one request


class Notes:
    """The notes of a server."""

    def __init__(self, client: Client, local: Local) -> None:
        self._client, self._local = client, local
        self._sent: set[str] = set()  # kinds that this process has sent whole: the database may be another one

    def note(self, notes: Sequence[Note]) -> None:
        """Write rows; one with the same tags and time is overwritten."""
        self._send([note_line(note) for note in notes])

    def note_exactly(self, kind: str, notes: Sequence[Note]) -> None:
        """Write rows, and mark those of this kind void that were written so before and are not among them."""
        place = f"notes.{kind}"
        blob = self._local.get(place)
        before: dict[str, str] = json.loads(blob) if blob else {}
        now = {f"{series_key(note.measurement, note.tags)} {note.at}": note_line(note) for note in notes}
        if now.keys() - before.keys():  # first what may be there afterwards: a crash in between leaves nothing behind
            self._local.put({place: _written(dict.fromkeys(now, "") | before)})
        gone = [f"{key} void=1i {at}000" for key, _, at in (row.rpartition(" ") for row in before.keys() - now.keys())]
        again = kind not in self._sent
        self._send([*gone, *(line for row, line in now.items() if again or before.get(row) != _short(line))])
        self._sent.add(kind)
        if before != (after := {row: _short(line) for row, line in now.items()}):
            self._local.put({place: _written(after)})

    def _send(self, lines: list[str]) -> None:
        try:
            for i in range(0, len(lines), MOST_LINES):
                self._client.write("\n".join(lines[i : i + MOST_LINES]).encode())
        except (Rejected, TooLarge) as error:
            raise StoreUnavailable(f"{self._client.address} refuses notes: {error}") from error


def _short(line: str) -> str:
    return sha256(line.encode()).hexdigest()[:16]


def _written(rows: dict[str, str]) -> bytes:
    return json.dumps(rows, ensure_ascii=False).encode()
