"""The way in, in a real Chromium: in both languages and colours, on a phone, by keyboard alone."""

import pytest

from api.access import Access
from storage.ledger.access import By
from tests.page.test_browser import axe_finds

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.browser


@pytest.fixture
def access(services):
    return Access(services.ledger.access)


@pytest.mark.parametrize(("language", "theme", "width"), [("en", "light", 1280), ("zh", "dark", 360)])
def test_a_link_leads_to_a_password_and_in_and_out_again(serving, open_page, access, language, theme, width):
    name = f"anna-{language}"
    code = access.add_user(name, "read", By("test"))
    with serving(access=access, open_reading=False) as address:
        look = f"?lang={language}&theme={theme}"
        page = open_page(address, f"/set-up{look}#{code}", width=width, height=780, forgiving=True)
        page.wait_for_selector("#again")
        assert code not in page.url and axe_finds(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("[data-keep]").first.click()
        page.wait_for_selector("#again")
        assert page.locator("html").get_attribute("lang") == ("zh-CN" if language == "en" else "en")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/")
        page.locator(".signed-in button").click()
        page.wait_for_url(f"{address}/sign-in")
        page.goto(f"{address}/meters{look}")
        assert axe_finds(page) == []
        page.fill("#name", name)
        page.fill("#password", "not the password")
        page.keyboard.press("Enter")
        page.wait_for_selector("#said")
        assert axe_finds(page) == [] and page.evaluate("document.activeElement.id") == "password"
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/meters{look}")
        assert axe_finds(page) == []
