"""Reading TOML so that every mistake is named: file, line, key, value found, and the mend."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from metering.clock import to_us
from metering.explain import ExplainedError

_MISSING: Any = object()
_ID = re.compile(r"[^\W_][\w.-]{0,63}", re.UNICODE)
_FORBIDDEN = set("+#/$\"'<>&\\")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def without_password(url: str) -> str:
    """An address to be shown: who logs in there, and how, is hidden."""
    return re.sub(r"//[^/?#]*@", "//***@", url)


def split_url(url: str) -> SplitResult | None:
    """The parts of an address; None if it is none, or its port is no number."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # it is looked at only when it is asked for
        return parts
    except ValueError:
        return None


class Document:
    """One TOML file; collects what is wrong with it instead of stopping at the first mistake."""

    def __init__(self, path: Path, problems: list[ExplainedError]) -> None:
        self.path, self.problems = path, problems
        self.text = ""
        self.root: dict[str, Any] = {}
        try:
            self.text = path.read_text(encoding="utf-8")
            self.root = tomllib.loads(self.text)
        except FileNotFoundError:
            self.wrong("", "is not there", f"create it; `meterhall init {path.parent}` writes a commented one")
        except UnicodeDecodeError as error:
            self.wrong("", f"is not UTF-8 (byte {error.start})", "save it as UTF-8")
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"at line (\d+)", str(error))
            line = int(found[1]) if found else max(1, len(self.text.splitlines()))  # "at end of document"
            self.wrong(
                "", f"is not valid TOML: {error}", "mend that line; texts stand in quotes, lists in [ ]", line=line
            )

    def wrong(self, key: str, what: str, mend: str, *, line: int | None = None) -> None:
        """Note a mistake; the place is `file:line: key`."""
        place = f"{self.path}:{line}" if line else str(self.path)
        self.problems.append(ExplainedError(f"{place}: {key}" if key else place, what, mend))

    def table(self, name: str) -> Table:
        """The table `[name]`, empty if it is not there."""
        value = self.root.get(name, {})
        if not isinstance(value, dict):
            self.wrong(name, f"is {value!r}", f"write it as a table: [{name}]", line=self.line_of(name, 0, ""))
            value = {}
        return Table(self, name, 0, value)

    def tables(self, name: str) -> list[Table]:
        """The tables `[[name]]`, in order."""
        value = self.root.get(name, [])
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            self.wrong(name, "is no list of tables", f"begin each one with [[{name}]]", line=self.line_of(name, 0, ""))
            return []
        return [Table(self, name, i, row) for i, row in enumerate(value)]

    def only(self, allowed: Iterable[str]) -> None:
        """Refuse top-level names other than these."""
        names = list(allowed)
        for key in self.root:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                self.wrong(
                    key,
                    "is not known here",
                    f'did you mean "{near[0]}"?' if near else f"known: {', '.join(names)}",
                    line=self.line_of(key, 0, ""),
                )

    def line_of_id(self, own: str, key: str) -> int | None:
        """The line of a key in the last table with that id; of the id itself where the key is not written there."""
        for name, rows in reversed(self.root.items()):
            for index, row in reversed(list(enumerate(rows if isinstance(rows, list) else ()))):
                if isinstance(row, dict) and row.get("id") == own:
                    return self.line_of(name, index, key if key in row else "id")
        return None

    def line_of(self, table: str, index: int, key: str) -> int | None:
        """The line of a key in the index-th table of that name, or of the table's head."""
        head = re.compile(rf"^\s*\[\[?\s*{re.escape(table)}\s*\]\]?\s*(#.*)?$")
        found, inside, at = -1, False, None
        for number, line in enumerate(self.text.splitlines(), 1):
            if head.match(line):
                found += 1
                inside = found == index
                at = number if inside else at
            elif line.lstrip().startswith("[") and "=" not in line.split("#")[0]:
                inside = inside and line.lstrip().lstrip("[").startswith(table + ".")
            if inside and key and re.match(rf"^\s*\"?{re.escape(key)}\"?\s*=", line):
                return number
            if not key and found == index:
                return at
            if table == key and re.match(rf"^\s*{re.escape(key)}\s*=", line):
                return number
        return at


class Table:
    """One TOML table: typed, checked reads; unknown keys are refused by `done`."""

    def __init__(self, document: Document, name: str, index: int, values: dict[str, Any]) -> None:
        self.document, self.name, self.index, self.values = document, name, index, values
        self._asked: set[str] = set()

    def label(self) -> str:
        """How a person finds it: by its id, else by its number."""
        own = self.values.get("id")
        return f'{self.name} "{own}"' if isinstance(own, str) else f"{self.name}[{self.index}]"

    def wrong(self, key: str, what: str, mend: str) -> None:
        """Note a mistake at a key of this table."""
        line = self.document.line_of(self.name, self.index, key)
        self.document.wrong(f"{self.label()}.{key}" if key else self.label(), what, mend, line=line)

    def has(self, key: str) -> bool:
        """Is the key written?"""
        return key in self.values

    def pass_over(self, key: str) -> None:
        """A key that has been dealt with: `done` does not name it."""
        self._asked.add(key)

    def _raw(self, key: str, default: Any, kind: type | tuple[type, ...], words: str) -> Any:
        self._asked.add(key)
        value = self.values.get(key, _MISSING)
        if value is _MISSING:
            if default is _MISSING:
                self.wrong(key, "is missing", f"add: {key} = {words}")
                return None
            return default
        if isinstance(value, bool) and kind is not bool:
            self.wrong(key, f"is {str(value).lower()}", f"write {words}")
            return None if default is _MISSING else default
        if not isinstance(value, kind):
            self.wrong(key, f"is {value!r}", f"write {words}")
            return None if default is _MISSING else default
        return value

    def text(self, key: str, default: Any = _MISSING, *, words: str = "a text in quotes") -> str:
        """A text; `${NAME}` is taken from the environment."""
        value = self._raw(key, default, str, words)
        return self._substitute(key, value) if isinstance(value, str) else ""

    def _substitute(self, key: str, value: str) -> str:
        def found(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in os.environ:
                self.wrong(
                    key, f"needs the environment variable {name}, which is not set", f"set it: export {name}=..."
                )
            return os.environ.get(name, "0")

        return _VARIABLE.sub(found, value)

    def identifier(self, key: str = "id") -> str:
        """An id: letters, digits, dot, dash, underscore; at most 64; no MQTT or path characters."""
        value = self.text(key, words='an id in quotes, such as "main-incomer"')
        if value and (not _ID.fullmatch(value) or _FORBIDDEN & set(value)):
            self.wrong(key, f'is "{value}"', "use letters, digits, dots and dashes, at most 64")
        return value

    def choice(self, key: str, options: Iterable[str], default: Any = _MISSING) -> str:
        """One of the given words."""
        names = list(options)
        value = self.text(key, default, words=" or ".join(f'"{name}"' for name in names[:8]))
        if value in names or not (self.has(key) or default is _MISSING):
            return value
        if isinstance(self.values.get(key), str):  # else it was named as missing, or as no text
            near = difflib.get_close_matches(value, names, n=1)
            self.wrong(key, f'is "{value}"', f'did you mean "{near[0]}"?' if near else f"use one of {', '.join(names)}")
        return names[0]

    def number(
        self, key: str, default: Any = _MISSING, *, low: float = -1e18, high: float = 1e18, whole: bool = False
    ) -> Any:
        """A finite number in [low, high]."""
        value = self._raw(key, default, int if whole else (int, float), "a whole number" if whole else "a number")
        if value is None or not self.has(key):
            return value if value is not None or default is None else 0
        if not low <= value <= high:  # refuses nan too
            self.wrong(key, f"is {value}", f"use a number from {low:g} to {high:g}")
            return low if default is _MISSING or default is None else default
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """true or false."""
        return bool(self._raw(key, default, bool, "true or false"))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._raw(key, [], list, 'a list of texts: ["...", "..."]')
        if not all(isinstance(item, str) for item in value):
            self.wrong(key, f"is {value!r}", 'write a list of texts: ["...", "..."]')
            return ()
        return tuple(value)

    def instant(self, key: str, timezone: str, default: Any = _MISSING) -> int:
        """A date, or a date and time; local to `timezone` where no offset is written. [us since 1970]"""
        value = self._raw(key, default, (str, datetime, date), "a date such as 2026-03-01 or 2026-03-01T08:00:00+08:00")
        if value is None or isinstance(value, int):
            return int(value or 0)
        try:
            at = datetime.fromisoformat(value) if isinstance(value, str) else value
            if not isinstance(at, datetime):
                at = datetime.combine(at, time())
            if at.tzinfo is None:
                at = at.replace(tzinfo=ZoneInfo(timezone))
            us = to_us(at.astimezone(UTC))
        except (ValueError, OverflowError) as error:
            self.wrong(key, f"is {value!r}: {error}", "write a date such as 2026-03-01 or 2026-03-01T08:00:00+08:00")
            return 0
        if not 1900 <= at.year <= 2200:
            self.wrong(key, f"is the year {at.year}", "use a date from 1900 to 2200")
        return us

    def clock(self, key: str, default: str) -> str:
        """A time of day `HH:MM`."""
        value = self.text(key, default)
        if not re.fullmatch(r"([01]\d|2[0-4]):[0-5]\d", value):
            self.wrong(key, f'is "{value}"', 'write a time of day such as "08:30"')
            return default
        return value

    def tables(self, key: str) -> list[Table]:
        """The tables `[[name.key]]` inside this one."""
        value = self._raw(key, [], list, f"tables [[{self.name}.{key}]]")
        if not all(isinstance(row, dict) for row in value):
            self.wrong(key, "is no list of tables", f"begin each one with [[{self.name}.{key}]]")
            return []
        rows = [Table(self.document, f"{self.name}.{key}", i, row) for i, row in enumerate(value)]
        for row in rows:
            row.label = lambda row=row: f"{self.label()}.{key}[{row.index}]"  # type: ignore[method-assign,misc]
        return rows

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.values:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                known = f"known: {', '.join(sorted(self._asked))}"
                self.wrong(key, "is not known here", f'did you mean "{near[0]}"?' if near else known)
