"""Fixtures of the page's tests: a client, a served plant, a real Chromium that forgives nothing."""

import os
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from storage.opening import open_store
from tests.api.plant import plant_store, services
from tests.page.installation import app_of, newborn, served, unheard

__all__ = ["plant_store", "services"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IGNORED = ("net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_CONNECTION_REFUSED", "net::ERR_ABORTED")


@pytest.fixture
def client(services):
    with TestClient(app_of(services), base_url="http://localhost:8420") as client:
        yield client


@pytest.fixture
def client_of(services):
    def make(changed) -> TestClient:
        return TestClient(app_of(changed), base_url="http://localhost:8420", raise_server_exceptions=False)

    return make


@pytest.fixture
def empty_store(tmp_path):
    store = open_store(f"duckdb:///{tmp_path / 'empty.duckdb'}")
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


@pytest.fixture
def address(services):
    with served(services) as address:
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
        with served(replace(changed or services, **changes)) as address:
            yield address

    return serve
