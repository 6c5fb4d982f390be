"""How far one machine goes: worked out from the figures in docs/benchmarks.md, for docs/scaling.md.

`python -m benchmarks.capacity` puts both tables anew into docs/scaling.md, after the figures have changed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FIGURES, SCALING = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "scaling.md"
MARKS = ("<!-- capacity:tables -->", "<!-- /capacity:tables -->")
READINGS = 4  # of a message
SPOOL_BYTES = 4 << 30  # as configured by default
INFLUX_READINGS = 270_000  # written a CPU-second by InfluxDB 2.9.1, measured apart
YEAR_S, DAY_S = 31_536_000, 86_400
PLACES = {"compound": 50, "city": 3_000, "province": 300_000}  # meters


class Figures(NamedTuple):
    """What was measured."""

    live: float  # messages/s
    live_cores: float
    drained: float  # messages/s after an outage
    modbus: float  # polls/s
    modbus_share: float  # of a core [%]
    derive_s: float  # CPU-seconds a run for 1,000 counters
    sealed_bytes: float  # a reading
    file_bytes: float  # the same, with what is free in the files
    spool_bytes: float  # a message


def read_figures(text: str) -> Figures:
    """The figures of docs/benchmarks.md that matter here.

    Raises
    ------
    ValueError
        If one of them is not there.
    """

    def found(pattern: str) -> float:
        match = re.search(pattern, text)
        if match is None:
            raise ValueError(f"docs/benchmarks.md has no line like {pattern!r}")
        return float(match.group(1).replace(",", ""))

    number = r"([\d,]+\.?\d*)"
    return Figures(
        live=found(rf"\| live beside Mosquitto[^|]*\|[^|]*\|[^|]*\| {number} \|"),
        live_cores=found(rf"\| live beside Mosquitto.*?{number} cores \("),
        drained=found(rf"\| drain after a store outage \|[^|]*\|[^|]*\| {number} \|"),
        modbus=found(rf"\| Modbus, .*?{number} polls/s stored"),
        modbus_share=found(rf"\| Modbus, [^|]*\|[^|]*\|[^|]*\| {number} \|"),
        derive_s=found(rf"\| deriving 1,000 counters, each later run \|[^|]*\|[^|]*\| {number} \|"),
        sealed_bytes=found(rf"\| bytes a reading, sealed: the city's mix \|[^|]*\|[^|]*\| {number} \|"),
        file_bytes=found(rf"sealed: the city's mix .*?what is free in them {number}"),
        spool_bytes=found(rf"\| spool, 24 h.*?{number} bytes a message"),
    )


def short(value: float) -> str:
    """Two significant digits, without an exponent."""
    digits = f"{value:.1e}"
    exponent = int(digits.partition("e")[2])
    return f"{round(value, 1 - exponent):,.{max(0, 1 - exponent)}f}" if value else "0"


def duration(seconds: float) -> str:
    """`1 s`, `57 s`, `94 min`."""
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} min"


def tables(figures: Figures) -> str:
    """Both tables, in Markdown."""
    f = figures
    a_core, derived = f.live / f.live_cores, 60 / f.derive_s * 1000
    influx = INFLUX_READINGS / READINGS
    polls = f.modbus / (f.modbus_share / 100)
    lines = [
        "| what | measured | so one core carries | derivation |",
        "| --- | --- | --- | --- |",
        f"| receiving to stored, live | {f.live:,.0f} messages/s with {f.live_cores:g} cores"
        f" | {short(a_core)} messages/s | {f.live:,.0f} / {f.live_cores:g}; the broker takes about as much beside it |",
        f"| catching up after an outage | {f.drained:,.0f} messages/s |"
        " | as measured, with 1,000/s coming in beside it |",
        f"| Modbus, 100 registers a poll | {f.modbus:,.0f} polls/s with {f.modbus_share:g} % | {short(polls)} polls/s"
        f" | {f.modbus:,.0f} / {f.modbus_share / 100:g}; a single line is as quick as its devices are |",
        f"| consumption (intervals) | 1,000 counters in {f.derive_s:g} CPU-s a run | {short(derived)} counters"
        f" | runs a minute apart: 60 / {f.derive_s:g} x 1,000 |",
        f"| disk, embedded store | {f.sealed_bytes:g} bytes a reading, {f.file_bytes:g} with what is free in the files"
        " | | |",
        f"| spool | {f.spool_bytes:g} bytes a message | | |",
        f"| writing into InfluxDB 2.9 | {INFLUX_READINGS:,} readings a CPU-second of that server"
        f" | {short(influx)} messages/s | {INFLUX_READINGS:,} / {READINGS} |",
        "",
        "What that means for installations whose meters send one message a minute:",
        "",
        f"| | {' | '.join(PLACES)} |",
        "| --- |" + " --- |" * len(PLACES),
    ]
    rate = {place: meters / 60 for place, meters in PLACES.items()}
    rows = (
        ("meters", lambda place: f"{PLACES[place]:,}"),
        ("messages/s", lambda place: short(rate[place])),
        ("readings/s", lambda place: short(rate[place] * READINGS)),
        ("cores for receiving and storing", lambda place: short(rate[place] / a_core)),
        ("cores for consumption, one counter a meter", lambda place: short(PLACES[place] / derived)),
        (
            f"disk a year, all readings kept, {f.file_bytes:g} bytes each [GB]",
            lambda place: short(rate[place] * READINGS * YEAR_S * f.file_bytes / 1e9),
        ),
        ("days that a spool of 4 GiB lasts", lambda place: short(SPOOL_BYTES / f.spool_bytes / rate[place] / DAY_S)),
        ("InfluxDB 2.9: cores for writing", lambda place: short(rate[place] / influx)),
        ("to catch up with a day's outage", lambda place: duration(rate[place] * DAY_S / f.drained)),
    )
    lines += [f"| {name} | {' | '.join(cell(place) for place in PLACES)} |" for name, cell in rows]
    return "\n".join(lines)


def with_tables(text: str, figures: Figures) -> str:
    """docs/scaling.md with both tables put anew."""
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{tables(figures)}\n{MARKS[1]}{after}"


def main() -> None:
    """Put the tables into docs/scaling.md."""
    text = with_tables(SCALING.read_text("utf-8"), read_figures(FIGURES.read_text("utf-8")))
    SCALING.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
