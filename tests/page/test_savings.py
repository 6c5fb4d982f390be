"""The pages of savings: the sum is shown line by line, a refusal says why, nothing a person typed becomes markup."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from api.live import LiveFeed
from api.services import Services
from metering.clock import DAY_US
from metering.site import Name
from storage.ledger.ledger import Ledger
from storage.ledger.savings import AdjustmentRow
from tests.page.installation import HOSTILE, app_of
from tests.saved import DONE, INSTALLATION, LAMPS, NOW, WORK, make_saved, savings_over


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    store, ledger = make_saved(folder), Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}")
    savings = savings_over(store, ledger)
    savings.propose(LAMPS)
    first = savings.adjust(AdjustmentRow("lamps", DONE, DONE + DAY_US, 500.0, HOSTILE, HOSTILE, NOW))
    savings.adjust(replace(first, amount=450.0, corrects=first.row, row=0))
    short = replace(LAMPS, id="short", name=Name(HOSTILE, HOSTILE), baseline_start=WORK - 100 * DAY_US)
    savings.propose(short)
    services = Services(
        INSTALLATION, store, ledger, None, None, LiveFeed(), "a-token-for-tests-0123456789", folder, NOW,
        now=lambda: NOW, savings=savings,
    )  # fmt: skip
    with TestClient(app_of(services), base_url="http://localhost:8420") as client:
        yield client
    store.close()
    ledger.close()


def text(client, path, language="en"):
    reply = client.get(path, params={"lang": language})
    assert reply.status_code == 200, reply.text
    assert "<img src=x" not in reply.text and "onerror=&#34;" in reply.text
    return reply.text


def test_the_list_shows_what_is_proven_and_what_is_refused(client):
    page = text(client, "/savings")
    assert "2 retrofits are being verified; 1 of them" in page and "No saving can be told" in page
    assert "2项节能改造正在核证，其中1项节能量已证实" in text(client, "/savings", "zh")


def test_the_report_shows_the_sum_line_by_line_in_both_languages(client):
    page = text(client, "/savings/lamps")
    for words in ("Adjusted baseline", "Observed", "Non-routine adjustments", "+450", "90 % interval", "proven",
                  "C: whole facility", "1 earlier entry was corrected", "Guideline 14", "0.8 CNY/kWh"):  # fmt: skip
        assert words in page, words
    assert "provisional: no official calendar of 2025 and 2026" in page
    page = text(client, "/savings/lamps", "zh")
    for words in ("校准能耗", "节能量", "非常规调整", "统计报告期", "已证实", "C：整体用能"):
        assert words in page, words


def test_a_refusal_says_what_is_missing(client):
    page = text(client, "/savings/short")
    assert "no saving can be told. 100 days with readings; 330 are needed" in page
    assert 'id="account"' not in page and "data-chart" not in page
    assert client.get("/page/saving/short").json()["empty"] is True


def test_the_chart_shows_what_was_used_against_the_adjusted_baseline_with_its_interval(client):
    data = client.get("/page/saving/lamps").json()
    report = client.get("/api/v1/savings/lamps").json()
    assert data["kind"] == "bars" and len(data["value"]) == len(report["days"])
    assert sum(data["expected"]) == pytest.approx(report["saved"]["adjusted_baseline"] / 1000, abs=0.1)
    rows = zip(data["expected_low"], data["expected"], data["expected_high"], strict=True)
    assert all(low <= value <= high for low, value, high in rows)


def test_a_building_names_its_projects_and_a_project_that_is_not_there_is_said_so(client):
    assert 'href="/savings/lamps' in text(client, "/buildings/hall")
    assert client.get("/savings/nothing").status_code == 404
