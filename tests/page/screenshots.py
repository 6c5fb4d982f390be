"""All screenshots in one command: `python -m tests.page.screenshots OUT [--url http://127.0.0.1:8420] [--quick]`;
`--docs` makes those of the documentation alone (OUT is then docs/images).

Pages x widths x themes x languages of a running Meterhall (`make demo` in another window), and the states (empty,
stale, failed, first start) of the tests' small plant.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.known import KnownMeasures
from api.live import LiveFeed
from api.services import Services
from meterhall.derive import Deriver
from metering.clock import DAY_US, HOUR_US
from storage.ledger.ledger import Ledger
from storage.opening import open_store
from storage.quarantine import Quarantine
from tests.api import plant
from tests.page.installation import later, newborn, served, unheard

WIDTHS = {360: 780, 768: 1024, 1280: 900, 1920: 1080}
SETTLED = "figure.chart:not([data-state]), figure.chart[data-state=loading]"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


def addresses(page: Page, url: str) -> dict[str, str]:
    """One page of each kind, found by following the lists' links."""
    found = {
        "today": "/",
        "buildings": "/buildings",
        "meters": "/meters",
        "vehicles": "/vehicles",
        "collector": "/collector",
    }
    for kind in ("building", "meter", "vehicle"):
        page.goto(f"{url}/{kind}s?lang=en")
        link = page.locator(f'main a[href^="/{kind}s/"]').first
        if link.count():
            found[kind] = str(link.get_attribute("href")).partition("?")[0]
    found["today-week"] = "/?period=week"
    if "building" in found:
        found["building-month"] = found["building"] + "?period=month"
    if "meter" in found:
        found["meter-year"] = found["meter"] + "?period=year"
    return found


DOCS = {  # name: (page, width, theme, language)
    "today": ("today", 1280, "light", "en"),
    "today-zh": ("today", 1280, "dark", "zh"),
    "today-phone": ("today", 360, "light", "zh"),
    "building": ("building", 1280, "light", "en"),
    "meter": ("meter", 1280, "dark", "en"),
    "vehicles": ("vehicles", 1280, "light", "zh"),
    "collector": ("collector", 1280, "light", "en"),
}


def shoot(
    browser: Browser, url: str, path: str, file: Path, width: int, theme: str, language: str, whole: bool = True
) -> None:
    """One picture."""
    context = browser.new_context(viewport={"width": width, "height": WIDTHS[width]})
    page = context.new_page()
    page.goto(f"{url}{path}{'&' if '?' in path else '?'}lang={language}&theme={theme}")
    expect(page.locator(SETTLED)).to_have_count(0, timeout=20_000)
    page.wait_for_timeout(120)
    page.screenshot(path=file, full_page=whole)
    context.close()


@contextmanager
def small_plant() -> Iterator[tuple[Services, object]]:
    """The tests' small plant in real stores, and an empty store."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as closing:
        folder = Path(name)
        store, empty = (open_store(f"duckdb:///{folder / file}") for file in ("energy.duckdb", "empty.duckdb"))
        closing.callback(store.close)
        closing.callback(empty.close)
        for span, seed in ((plant.AUTUMN, 1), (plant.SPRING, 2)):
            store.write(plant.batch(plant.readings(*span, seed=seed)))
        Deriver(plant.installation(), store).rebuild()
        ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}")
        quarantine = Quarantine.open(folder / "quarantine.sqlite")
        closing.callback(ledger.close)
        closing.callback(quarantine.close)
        plant.fill_ledger(ledger)
        plant.fill_quarantine(quarantine)
        services = Services(
            plant.installation(), store, ledger, quarantine, plant.DirectCollector(store), LiveFeed(), plant.TOKEN,
            folder, plant.NOW - DAY_US, now=lambda: plant.NOW,
        )  # fmt: skip
        yield services, empty


class Away:
    """A store that can give nothing."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("away")


def states(services: Services, empty: object) -> dict[str, tuple[Services, str]]:
    """Each state of the page: the services that make it, and where it is seen."""
    stale = later(services, 3 * HOUR_US)
    return {
        "state-first-start": (newborn(services, empty), "/"),
        "state-empty-today": (unheard(services, empty), "/"),
        "state-empty-building": (unheard(services, empty), "/buildings/hall"),
        "state-empty-meter": (unheard(services, empty), "/meters/main"),
        "state-stale-today": (stale, "/"),
        "state-gaps-meter": (services, "/meters/hall-w?period=custom&date=2026-03-16&until=2026-03-23"),
        "state-estimates-meter": (services, "/meters/hall-e?date=2026-03-24"),
        "state-clock-change": (services, "/meters/hall-w?date=2026-03-29"),
        "state-failed": (replace(services, store=Away(), known=KnownMeasures()), "/"),
        "state-not-there": (services, "/meters/nope"),
    }


def main() -> None:
    """Make them all."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("out", type=Path)
    asked.add_argument("--url", help="a running Meterhall; without it only the states are made")
    asked.add_argument("--quick", action="store_true", help="one theme and language a width")
    asked.add_argument("--docs", action="store_true", help="the pictures of the documentation")
    asked.add_argument("--only", default="", help="only pages whose name begins so")
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    combinations = [(w, t, n) for w in WIDTHS for t in ("light", "dark") for n in ("en", "zh")]
    if given.quick:
        combinations = [(360, "light", "zh"), (768, "dark", "en"), (1280, "light", "en"), (1920, "dark", "zh")]
    made = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        if given.url and given.docs:
            found = addresses(browser.new_page(), given.url)
            for name, (page, width, theme, language) in DOCS.items():
                shoot(browser, given.url, found[page], given.out / f"{name}.png", width, theme, language, whole=False)
            return
        if given.url:
            for name, path in addresses(browser.new_page(), given.url).items():
                if not name.startswith(given.only):
                    continue
                for width, theme, language in combinations:
                    file = given.out / f"{name}-{width}-{theme}-{language}.png"
                    shoot(browser, given.url, path, file, width, theme, language, whole=width != 1920)
                    made += 1
        if not given.only or given.only.startswith("state"):
            with small_plant() as (services, empty):
                for name, (changed, path) in states(services, empty).items():
                    with served(replace(changed, live=LiveFeed())) as url:
                        for width, theme, language in ((360, "dark", "zh"), (1280, "light", "en")):
                            file = given.out / f"{name}-{width}-{theme}-{language}.png"
                            shoot(browser, url, path, file, width, theme, language, whole=True)
                            made += 1
        browser.close()
    print(f"{made} pictures in {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
