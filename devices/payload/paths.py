"""Where a value stands in a JSON document: `ENERGY.Total`, `list[0].x`, `Infos[Type=Vehicle].Speed`, `"a.b".c`."""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class Select(NamedTuple):
    """The first object of a list whose `key` is `value`."""

    key: str
    value: str


Step = str | int | Select
Steps = tuple[Step, ...]

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]+)"|(?P<plain>[^.\[\]"]+)|\[(?P<index>\d{1,4})\]|\[(?P<key>[^=\[\]]+)=(?P<value>[^\[\]]*)\]'
)


class Absent:
    """The type of `ABSENT`: the path leads nowhere."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


def parse_path(text: str) -> Steps:
    """The steps of a path; () for "", the document itself.

    Raises
    ------
    ValueError
        If the text is no path.
    """
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if steps and text[at] != "[":
            if text[at] != ".":
                raise ValueError(f"a dot is missing at {text[at:]!r}")
            at += 1
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"no key at {text[at:]!r}")
        if match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["key"] is not None:
            steps.append(Select(match["key"], match["value"]))
        else:
            steps.append(match["quoted"] or match["plain"])
        at = match.end()
    return tuple(steps)


def find(document: Any, steps: Steps) -> Any:
    """The value at a path, `ABSENT` where it leads nowhere."""
    for step in steps:
        if type(step) is str:
            if type(document) is not dict or step not in document:
                return ABSENT
            document = document[step]
        elif type(document) is not list:
            return ABSENT
        elif type(step) is int:
            if step >= len(document):
                return ABSENT
            document = document[step]
        elif isinstance(step, Select):
            for item in document:
                if type(item) is dict and str(item.get(step.key)) == step.value:
                    document = item
                    break
            else:
                return ABSENT
    return document


def place(document: Any, steps: Steps, value: Any) -> Any:
    """The document with `value` put at a path; objects and lists are made on the way."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        document = {} if document is ABSENT else document
        document[step] = place(document.get(step, ABSENT), rest, value)
        return document
    document = [] if document is ABSENT else document
    if isinstance(step, int):
        document.extend([0] * (step + 1 - len(document)))
        inner = document[step]
        document[step] = place(ABSENT if inner == 0 and rest else inner, rest, value)
        return document
    for item in document:
        if item.get(step.key) == step.value:
            place(item, rest, value)
            return document
    document.append(place({step.key: step.value}, rest, value))
    return document
