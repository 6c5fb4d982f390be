"""Fixtures of the page's tests: a client, a served plant, a real Chromium that forgives nothing."""

import os
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from api.live import LiveFeed
from api.services import Services
from metering.clock import DAY_US
from storage.ledger.ledger import Ledger
from storage.opening import open_store
from storage.quarantine import Quarantine
from tests.api.plant import NOW, TOKEN, DirectCollector, fill_ledger, fill_quarantine, installation, plant_store
from tests.page.installation import app_of, newborn, served, unheard

__all__ = ["plant_store"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IGNORED = ("net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_CONNECTION_REFUSED", "net::ERR_ABORTED")


@pytest.fixture(scope="session")
def services(plant_store, tmp_path_factory):
    """The small plant, made once: the page only reads."""
    folder = tmp_path_factory.mktemp("page")
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}")
    quarantine = Quarantine.open(folder / "quarantine.sqlite")
    fill_ledger(ledger)
    fill_quarantine(quarantine)
    yield Services(
        installation=installation(),
        store=plant_store,
        ledger=ledger,
        quarantine=quarantine,
        collector=DirectCollector(plant_store),
        live=LiveFeed(),
        admin_token=TOKEN,
        data_folder=folder,
        started_at=NOW - DAY_US,
        now=lambda: NOW,
    )
    quarantine.close()
    ledger.close()


@pytest.fixture(scope="session")
def app(services):
    return app_of(services)


@pytest.fixture
def client(app):
    return TestClient(app, base_url="http://localhost:8420")


@pytest.fixture
def client_of():
    def make(changed) -> TestClient:
        return TestClient(app_of(changed), base_url="http://localhost:8420", raise_server_exceptions=False)

    return make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    store = open_store(f"duckdb:///{tmp_path_factory.mktemp('empty') / 'empty.duckdb'}")
    yield store
    store.close()


@pytest.fixture
def first_start(services, empty_store):
    return newborn(services, empty_store)


@pytest.fixture
def nothing_heard(services, empty_store):
    return unheard(services, empty_store)


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium: apt-get install chromium")
        pytest.skip("no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(services):
    with served(replace(services, live=LiveFeed())) as address:
        yield address


@pytest.fixture
def open_page(browser):
    """Opens pages that fail the test on a console error, a page error or a request to another host."""
    contexts, faults = [], []

    def open_at(address, path="/", *, width=1280, height=900, forgiving=False, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, locale="en-GB", **options)
        contexts.append(context)
        page = context.new_page()

        def on_request(request):
            if not request.url.startswith((address, "data:", "blob:")):
                faults.append(f"asked another host: {request.url}")

        def on_console(message):
            expected = forgiving and "Failed to load resource" in message.text
            if message.type in ("error", "warning") and not expected and not any(i in message.text for i in IGNORED):
                faults.append(f"{path}: {message.text}")

        page.on("request", on_request)
        page.on("console", on_console)
        page.on("pageerror", lambda error: faults.append(f"{path}: {error}"))
        page.goto(address + path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not faults, "\n".join(faults)


@pytest.fixture
def serving(services):
    """Serves changed services for as long as the block lasts."""

    @contextmanager
    def serve(changed=None, **changes):
        with served(replace(changed or services, **({"live": LiveFeed()} | changes))) as address:
            yield address

    return serve
