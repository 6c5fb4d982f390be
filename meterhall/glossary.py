"""docs/glossary.md, printed from the vocabulary: `python -m meterhall.glossary > docs/glossary.md`."""

from __future__ import annotations

from metering.quantity import QUANTITIES, Phase, Quality

QUALITY_WORDS = {
    Quality.MEASURED: "measured",
    Quality.SUSPECT: "failed a plausibility check, kept as the meter said it",
    Quality.MANUAL: "read or typed by a person",
    Quality.INTERPOLATED: "derived only: an interval finer than the meter's cadence",
    Quality.ESTIMATED: "derived only: energy of a gap, spread in proportion to time",
    Quality.CORRECTED: "derived only: by a dated correction",
}
TERMS = (
    ("register", "a 16-bit Modbus word; never a meter's counter"),
    ("counter", "a cumulative value; it falls only by rollover, reset or replacement"),
    ("point", "what is measured where: `site/meter/quantity/phase`"),
    ("reading", "one value of one point at one instant, as the meter said it"),
    ("observed_at, received_at", "the device's time; the time it reached us"),
    ("interval", "[start, end): what a counter added, an integer of a thousandth of the unit"),
    ("coverage", "share of an interval outside gaps"),
    ("gap", "more than three cadences without a good reading"),
    ("dated fact", "ratio, sign, rescale or swap with its date: applied on the way out, never to raw"),
    ("the usual", "mean of the same weekday and hours of the last four weeks, until a baseline is there"),
    ("the rest", "a main meter less its sub-meters"),
)


def text() -> str:
    """The glossary as Markdown."""
    lines = [
        "# Glossary",
        "",
        "Printed from `metering/quantity.py`; a test keeps it equal.",
        "",
        "## Quantities",
        "",
        "| quantity | unit | kind | possible range | carrier |",
        "| --- | --- | --- | --- | --- |",
    ]
    for q in QUANTITIES.values():
        lines.append(f"| `{q.name}` | {q.unit} | {q.kind} | {q.lowest:g} to {q.highest:g} | {q.carrier} |")
    lines += [
        "",
        f"Phases: {', '.join(f'`{phase}`' for phase in Phase)}. Power is positive from the grid into the site, or into "
        "a load. Counters are two, import and export, and never negative. Battery power is positive into the battery.",
        "",
        "## Quality",
        "",
        *(f"- {int(quality)} {quality.name.lower()}: {words}" for quality, words in QUALITY_WORDS.items()),
        "",
        "## Terms",
        "",
        *(f"- **{term}**: {words}" for term, words in TERMS),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(text(), end="")
