"""The page in a real Chromium: it loads clean, fits, speaks both languages, obeys keys, and axe finds nothing."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from api.known import KnownMeasures
from api.live import LiveFeed
from metering.clock import HOUR_US, SECOND_US
from metering.reading import Point
from tests.api.plant import NOW
from tests.page.installation import hostile, later, newborn, unheard

pytestmark = pytest.mark.browser
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PAGES = ["/", "/buildings", "/buildings/hall", "/meters", "/meters/hall-e", "/meters/sky", "/vehicles",
         "/vehicles/ev-1", "/collector", "/savings", "/calendar", "/meters/nope"]  # fmt: skip
SETTLED = "figure.chart:not([data-state]), figure.chart[data-state=loading]"
DEADLINE_MS = 10_000
FOCUSED = """(() => {
  const e = document.activeElement, s = getComputedStyle(e);
  return [`${e.tagName}#${e.id}.${e.className} ${e.getAttribute('href') || ''}`, s.outlineStyle, s.outlineWidth];
})()"""


def settle(page):
    """Waits until every chart has come to a state."""
    from playwright.sync_api import expect

    expect(page.locator(SETTLED)).to_have_count(0, timeout=DEADLINE_MS)
    return page


def until(page, holds, what):
    """Waits for a condition with a deadline."""
    deadline = time.monotonic() + DEADLINE_MS / 1000
    while not holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        page.wait_for_timeout(50)


def widths(page):
    return page.evaluate("[document.documentElement.scrollWidth, innerWidth]")


def axe_finds(page):
    page.evaluate(AXE.read_text() + "\nnull")
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    found = page.evaluate("(options) => axe.run(document, options)", options)
    return [f"{each['id']}: {node['html'][:160]}" for each in found["violations"] for node in each["nodes"]]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("width", "language", "theme"), [(1280, "en", "light"), (360, "zh", "dark")])
def test_a_page_loads_clean_fits_and_axe_finds_nothing(open_page, address, path, width, language, theme):
    forgiving = path == "/meters/nope"
    page = settle(open_page(address, f"{path}?lang={language}&theme={theme}", width=width, forgiving=forgiving))
    full, seen = widths(page)
    assert full <= seen, f"{path} scrolls sideways at {width}"
    assert page.locator("h1").count() == 1
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == theme
    assert axe_finds(page) == []


@pytest.mark.parametrize("path", ["/", "/buildings/hall?period=month", "/meters/hall-e?period=year", "/collector"])
def test_no_page_scrolls_sideways_at_any_width_or_with_text_at_twice_its_size(open_page, address, path):
    page = settle(open_page(address, path))
    for width in (1920, 768, 360):
        page.set_viewport_size({"width": width, "height": 900})
        full, seen = widths(page)
        assert full <= seen, f"at {width}"
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    full, seen = widths(page)
    assert full <= seen, "with text at 200 %"


@pytest.mark.parametrize("path", ["/", "/meters/main", "/buildings/hall", "/vehicles/ev-1"])
@pytest.mark.parametrize("state", ["empty", "stale"])
def test_empty_and_stale_pages_are_clean_too(open_page, serving, services, empty_store, path, state):
    changed = unheard(services, empty_store) if state == "empty" else later(services, 3 * HOUR_US)
    with serving(changed) as address:
        page = settle(open_page(address, path, width=360))
        full, seen = widths(page)
        assert full <= seen
        assert axe_finds(page) == []


def test_a_first_start_shows_its_three_steps(open_page, serving, services, empty_store):
    with serving(newborn(services, empty_store)) as address:
        page = open_page(address, "/")
        assert page.locator(".steps li").count() == 3
        assert axe_finds(page) == []


def test_a_page_that_failed_says_what_still_works(open_page, serving, services):
    class Away:
        def __getattr__(self, name):
            raise RuntimeError("away")

    with serving(replace(services, store=Away(), known=KnownMeasures())) as address:
        page = open_page(address, "/", forgiving=True)
        assert "The other pages still work." in page.locator("main").inner_text()
        assert page.get_by_text("Try again").is_visible()
        assert axe_finds(page) == []


def test_a_loading_chart_has_its_final_size_and_no_spinner_before_300_ms(open_page, address, browser):
    context = browser.new_context()
    page = context.new_page()
    held = []
    page.route("**/page/use/**", lambda route: held.append(route))
    page.goto(address + "/")
    chart = page.locator("#curve")
    until(page, lambda: held, "the chart asks for its data")
    before = chart.bounding_box()
    assert chart.get_attribute("data-state") == "loading"
    until(page, lambda: page.locator("#curve .wait.slow").count() == 1, "the spinner comes after a while")
    held[0].continue_()
    settle(page)
    after = chart.bounding_box()
    assert (before["width"], before["height"]) == (after["width"], after["height"]), "the page jumped"
    context.close()


def test_a_chart_that_failed_says_so_and_can_be_tried_again(open_page, address):
    other = open_page(address, "/collector").context.new_page()
    other.route("**/page/use/**", lambda route: route.fulfill(status=503, body="{}"))
    other.goto(address + "/")
    failed = other.locator("#curve .failed")
    failed.wait_for(timeout=DEADLINE_MS)
    assert "The rest of the page still works." in failed.inner_text()
    other.unroute("**/page/use/**")
    failed.get_by_role("button").click()
    settle(other)
    assert other.locator("#curve").get_attribute("data-state") == "full"


def test_an_empty_chart_says_so(open_page, address):
    page = settle(open_page(address, "/meters/main?date=2026-01-05"))
    assert page.locator("#use").get_attribute("data-state") == "empty"
    assert page.locator("#use .empty").inner_text() == "No reading in this time."


def test_numbers_are_set_alike_by_server_and_browser(open_page, address):
    page = open_page(address, "/collector")
    table = json.loads((Path(__file__).parent / "numbers.json").read_text())
    got = page.evaluate(
        "async (rows) => { const { typeset } = await import('/static/numbers.js');"
        "return rows.map(([value, unit]) => { const it = typeset(value, unit); return [it.text, it.unit]; }); }",
        table,
    )
    assert got == [row[2:] for row in table]


def test_the_table_of_a_chart_holds_the_apis_numbers(open_page, address, client):
    page = settle(open_page(address, "/buildings/hall?period=week&date=2026-03-16&lang=en"))
    page.locator("#curve [data-table]").click()
    rows = page.locator("#curve .chart-table tbody tr")
    chart = client.get("/page/use/hall/electricity?period=week&date=2026-03-16").json()
    assert rows.count() == sum(v is not None for v in chart["value"])
    query = {"scope": "building", "node": "hall", "carrier": "electricity", "start": "2026-03-16", "end": "2026-03-17",
             "resolution": "15min"}  # fmt: skip
    first = client.get("/api/v1/consumption", params=query).json()["rows"][0]
    from api.page.numbers import typeset

    assert rows.last.locator("td").first.inner_text() == str(typeset(first["amount"] * 4.0, "W"))


def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(open_page, address):
    page = settle(open_page(address, "/?lang=en"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen = page.evaluate(FOCUSED)
        if seen[0].startswith("BODY"):
            break
        assert seen[1] != "none" and seen[2] != "0px", f"no focus to be seen on {seen[0]}"
        reached.add(seen[0])
    text = " ".join(reached)
    for wanted in ("/buildings", "/meters", "/collector", "period=week", "compare=year", "lang=zh", "theme=", ".plot"):
        assert wanted in text, f"{wanted} cannot be reached"


def test_a_chart_is_read_and_zoomed_by_keys(open_page, address):
    page = settle(open_page(address, "/meters/main?period=month&date=2026-03-15&lang=en"))
    plot = page.locator("#readings .plot")
    plot.focus()
    page.keyboard.press("ArrowLeft")
    tip = page.locator("#readings .tip")
    until(page, lambda: "on" in (tip.get_attribute("class") or ""), "the tooltip shows")
    assert re.search(r"\d+ (kW|W)", tip.inner_text().replace("\u202f", " "))
    for _ in range(4):
        page.keyboard.press("+")
        settle(page)
    keys = page.locator("#readings .keys")
    assert "zoomed" in keys.inner_text()
    page.keyboard.press("0")
    settle(page)
    until(page, lambda: "zoomed" not in keys.inner_text(), "all is shown again")


def test_a_heat_map_day_opens_that_day(open_page, address):
    page = settle(open_page(address, "/buildings/hall?lang=en"))
    plot = page.locator("#heat .plot")
    plot.focus()
    page.keyboard.press("ArrowLeft")
    assert "Sun 5 Apr 2026" in page.locator("#heat .tip").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**date=2026-04-05**")
    assert page.locator("h1").inner_text()


def test_what_a_device_calls_itself_never_runs(open_page, serving, services):
    with serving(hostile(services)) as address:
        for path in ("/", "/meters/main", "/vehicles", "/buildings/hall", "/collector"):
            page = settle(open_page(address, path))
            assert page.locator("img").count() == 0
            assert page.title() != "1"


class Changing:
    """The plant's store, in which the main meter's power can be set."""

    def __init__(self, store):
        self.store, self.power = store, None

    def __getattr__(self, name):
        return getattr(self.store, name)

    def latest(self, points=None):
        found = dict(self.store.latest(points))
        for point, reading in found.items():
            if self.power is not None and (point.meter, point.quantity) == ("main", "active_power"):
                found[point] = replace(reading, value=self.power)
        return found


def test_live_figures_follow_the_readings_and_nothing_jumps(open_page, serving, services):
    store = Changing(services.store)
    live = LiveFeed()
    with serving(store=store, live=live) as address:
        page = settle(open_page(address, "/?lang=en"))
        until(page, lambda: "ago" in page.locator("#power-note").inner_text(), "the live feed answers")
        power, before = page.locator('[data-now="power"]').first.inner_text(), page.locator("#curve").bounding_box()
        store.power = 777_000.0
        live.publish([(Point("plant", "main", "active_power"), NOW, 777_000.0, 0)])
        until(page, lambda: page.locator('[data-now="power"]').first.inner_text() != power, "the figure changes")
        assert page.locator('[data-now="power"]').first.inner_text() == "781"
        assert page.locator("#curve").bounding_box() == before, "the page jumped"


def test_stale_figures_turn_grey_and_say_since_when(open_page, serving, services):
    with serving(later(services, 3 * HOUR_US)) as address:
        page = settle(open_page(address, "/?lang=en"))
        assert "stale" in page.locator("#power").get_attribute("class")
        assert "no news since" in page.locator("#power-note").inner_text()


def test_a_lost_connection_is_said_in_a_line(open_page, serving):
    with serving() as address:
        page = settle(open_page(address, "/?lang=en", forgiving=True))
        assert not page.locator("#live-line").is_visible()
    page.locator("#live-line").wait_for(state="visible", timeout=20_000)
    assert "The connection to the server is lost" in page.locator("#live-line").inner_text()


def test_on_a_phone_the_pages_are_a_bar_at_the_bottom(open_page, address):
    page = settle(open_page(address, "/", width=360, height=740))
    bar = page.locator(".pages").bounding_box()
    assert bar["y"] + bar["height"] == pytest.approx(740, abs=1)
    assert page.locator(".pages a").count() == 5
    boxes = [page.locator(".pages a").nth(i).bounding_box() for i in range(5)]
    assert all(box["height"] >= 44 for box in boxes)


def test_paper_gets_no_bars_and_no_dark_ground(open_page, address):
    page = settle(open_page(address, "/?theme=dark"))
    page.emulate_media(media="print")
    assert not page.locator(".pages").is_visible() and not page.locator(".period").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_who_wants_no_motion_gets_none(open_page, address):
    page = open_page(address, "/collector", reduced_motion="reduce")
    name = page.evaluate(
        "(() => { const e = document.createElement('div'); e.className = 'wait slow'; document.body.append(e);"
        "return getComputedStyle(e, '::after').animationName; })()"
    )
    assert name == "none"


def test_35000_points_are_drawn(open_page, serving, services):
    import numpy as np

    from metering.reading import Series

    store, point = services.store, Point("plant", "main", "active_power")
    at = NOW - np.arange(35_000, dtype=np.int64)[::-1] * SECOND_US
    series = Series(point, at, 1000.0 + 500 * np.sin(np.arange(35_000) / 900), np.zeros(35_000, np.uint8))

    class Dense:
        def __getattr__(self, name):
            return getattr(store, name)

        def series(self, asked, start, end, **more):
            return series if asked == point else store.series(asked, start, end, **more)

    with serving(replace(services, store=Dense())) as address:
        page = settle(open_page(address, "/meters/main?show=active_power"))
        assert page.locator("#readings").get_attribute("data-state") == "full"
