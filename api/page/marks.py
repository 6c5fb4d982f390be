"""Small marks drawn by the server as SVG: geometry only, colours come from the style sheet."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

WIDEST = 0.5  # a deviation bar is full at 50 %


def spark(values: Sequence[float | None], label: str) -> Markup:
    """A bar a day, the last one strong; a day of which nothing is known is a short grey foot."""
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    bars = []
    for i, value in enumerate(values):
        height = 1.0 if value is None else max(1.0, 34.0 * max(value, 0.0) / top)
        kind = "none" if value is None else "now" if i == len(values) - 1 else "day"
        bars.append(f'<rect class="{kind}" x="{i * 10}" y="{36 - height:.1f}" width="8" height="{height:.1f}"/>')
    return Markup(  # noqa: S704
        f'<svg class="spark" viewBox="0 0 {len(values) * 10 - 2} 36" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(bars)}</svg>'
    )


def deviation(ratio: float | None) -> Markup:
    """A bar left (less) or right (more) of zero; hidden from screen readers, the number stands beside it."""
    bar = ""
    if ratio is not None:
        length = min(abs(ratio), WIDEST) / WIDEST * 96
        side, x = ("less", -length) if ratio < 0 else ("more", 0.0)
        bar = f'<rect class="{side}" x="{x:.1f}" y="5" width="{length:.1f}" height="10"/>'
    return Markup(  # noqa: S704
        f'<svg class="deviation" viewBox="-100 0 200 20" preserveAspectRatio="none" aria-hidden="true">{bar}'
        '<line x1="0" x2="0" y1="0" y2="20"/></svg>'
    )


def level(ratio: float | None, kind: str = "shares") -> Markup:
    """A thin bar filled to a share of its width."""
    width = 0.0 if ratio is None else 100 * min(max(ratio, 0.0), 1.0)
    return Markup(  # noqa: S704
        f'<svg class="{kind}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="all" width="100" height="6"/><rect width="{width:.1f}" height="6"/></svg>'
    )
