"""Every page in every state, as HTML: no browser needed."""

import re
from dataclasses import replace

import pytest

from api.figures import amount
from api.known import KnownMeasures
from api.page.numbers import typeset
from metering.clock import DAY_US, HOUR_US
from metering.health import UnitHealth
from storage.store import StoreUnavailable
from tests.api.plant import NOW, local
from tests.page.installation import HOSTILE, hostile, later

PAGES = ["/", "/buildings", "/buildings/hall", "/buildings/lab", "/meters", "/meters/main", "/meters/sky",
         "/meters/hall-w", "/vehicles", "/vehicles/ev-1", "/vehicles/van-2", "/collector"]  # fmt: skip
PERIODS = ["", "?period=week", "?period=month", "?period=year&compare=year", "?date=2026-03-29&compare=none",
           "?period=custom&date=2026-03-20&until=2026-03-26", "?date=2031-01-01"]  # fmt: skip


def sentence(reply) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", reply.text, re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", found[1])).replace("\u202f", " ").strip()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_answers_in_its_first_line(client, path, language):
    reply = client.get(path, params={"lang": language})
    assert reply.status_code == 200
    assert reply.text.count("<h1") == 1
    said = sentence(reply)
    assert len(said) > 5 and said[-1] in ".。"
    assert "{" not in said and "None" not in said
    assert bool(re.search(r"[\u4e00-\u9fff]", said)) == (language == "zh")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("query", PERIODS)
def test_every_period_opens_and_no_number_is_none_or_nan(client, path, query):
    reply = client.get(path + query)
    assert reply.status_code == 200
    visible = re.sub(r"<[^>]+>", " ", reply.text.split("<main", 1)[1])
    assert not re.search(r"\b(NaN|nan|None|inf|undefined)\b", visible)


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_an_inline_script_or_style(client, path):
    html = client.get(path).text
    assert not re.search(r"<style|\sstyle=|\son\w+=", html)
    for tag in re.findall(r"<script[^>]*>", html):
        assert "src=" in tag or 'type="application/json"' in tag


def test_the_first_line_of_today_says_how_much_against_what_and_what_needs_me(client, services):
    reply = client.get("/")
    today = amount(services, "site", "plant", "electricity", local(2026, 4, 6), local(2026, 4, 6, 14))
    figure = str(typeset(today.in_units, "kWh")).replace("\u202f", " ")
    assert sentence(reply).startswith(f"Today {figure} so far, ")
    assert "last Monday by this hour" in sentence(reply)
    assert sentence(reply).endswith("2 things need you.")


def test_numbers_on_the_page_are_those_of_the_api(client):
    cases = (("main", "meter", "quantity", "active_energy_import"), ("hall", "building", "carrier", "electricity"))
    week = {"start": "2026-03-30", "end": "2026-04-06", "resolution": "total"}
    for node, scope, key, name in cases:
        query = {"scope": scope, "node": node, key: name, **week}
        total = client.get("/api/v1/consumption", params=query).json()["total"]
        shown = typeset(total / 1000, "kWh")
        path = f"/{'meters' if scope == 'meter' else 'buildings'}/{node}"
        html = client.get(path, params={"period": "week", "date": "2026-03-30"}).text
        assert shown.text in html and shown.unit in html


def test_a_chart_adds_up_to_the_apis_total(client):
    query = {"scope": "building", "node": "hall", "carrier": "electricity", "start": "2026-03-01", "end": "2026-04-01",
             "resolution": "total"}  # fmt: skip
    total = client.get("/api/v1/consumption", params=query).json()["total"]
    chart = client.get("/page/use/hall/electricity?period=month&date=2026-03-01").json()
    assert chart["grain"] == "day" and len(chart["value"]) == 31
    assert sum(v for v in chart["value"] if v is not None) == pytest.approx(total / 1000)


def test_gaps_are_gaps_and_estimates_are_said(client):
    water = client.get("/page/use/hall-w/water_volume?period=custom&date=2026-03-19&until=2026-03-23").json()
    assert None in water["value"], "a gap is a gap, never a zero"
    spread = client.get("/page/use/hall-e/active_energy_import?date=2026-03-24").json()
    assert spread["estimated"] and max(v or 0 for v in spread["estimated"]) > 0
    assert "estimated (hatched)" in spread["words"]
    html = client.get("/meters/hall-e?date=2026-03-24").text
    assert re.search(r"\d+[\u202f ]% estimated", html)


def test_the_day_the_clocks_change_has_23_hours_in_the_chart(client):
    chart = client.get("/page/use/hall-w/water_volume?date=2026-03-29").json()
    assert chart["grain"] == "hour" and len(chart["x"]) == 23
    assert chart["to"] - chart["from"] == 23 * 3600


def test_the_heat_map_has_a_row_an_hour_and_hatches_what_is_missing(client):
    heat = client.get("/page/heat/hall/electricity").json()
    assert len(heat["value"]) == 24 * len(heat["days"])
    assert len(heat["free"]) == len(heat["days"])
    assert None in heat["value"]


def test_zooming_in_brings_finer_detail(client):
    month = "/page/readings/main/active_power?period=month&date=2026-03-01"
    assert client.get(month).json()["grain"] == "15min"
    day = local(2026, 3, 10) // 1_000_000
    assert client.get(f"{month}&from={day}&to={day + 86400}").json()["grain"] == "raw"
    assert client.get(f"{month}&from=nan&to=1e400").status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_whatever_a_thing_calls_itself_it_is_text(client_of, services, path):
    html = client_of(hostile(services)).get(path).text
    assert HOSTILE not in html
    assert "&lt;img src=x" in html


def test_a_rejected_payload_is_shown_as_text(client):
    html = client.get("/collector").text
    assert "{&#34;power&#34;: &#34;much&#34;}" in html
    assert "\\xff" in html


def test_the_books_on_the_page_add_up(client):
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get("/collector").text))
    assert "Messages: 12 received = 10 decoded + 1 repeated + 1 rejected." in text
    assert "Readings: 40 decoded = 37 stored + 2 duplicate + 1 conflict." in text


def test_books_that_do_not_balance_are_said_in_the_first_line(client_of, services):
    class Unbalanced(type(services.collector)):
        def books(self):
            books = super().books()
            books["total"]["messages"] = {**books["total"]["messages"], "received": 13}
            return books

    reply = client_of(replace(services, collector=Unbalanced(services.store))).get("/collector")
    assert sentence(reply).startswith("The books do not balance.")
    assert "Off by 1" in reply.text


def test_of_a_line_with_many_devices_those_that_need_somebody_are_listed_and_all_on_request(client_of, services):
    line = services.collector.lines()[0]
    units = [UnitHealth(f"m-{i}", unit_id=i + 1, state="broken" if i == 7 else "ok") for i in range(300)]

    class Large(type(services.collector)):
        def lines(self):
            return [replace(line, id="modbus-tcp://large:502", units=units)]

    client = client_of(replace(services, collector=Large(services.store)))
    short = client.get("/collector").text
    assert "m-7" in short and "m-8" not in short
    assert "List the other 299 devices" in short
    whole = client.get("/collector", params={"line": "modbus-tcp://large:502"}).text
    assert all(f"m-{i}<" in whole or f"m-{i} <" in whole for i in range(300))


def test_stale_values_say_since_when(client_of, services):
    html = client_of(later(services, 3 * HOUR_US)).get("/").text
    assert 'class="figure stale"' in html
    assert re.search(r"no news since 1[34]:\d\d \(", html)


def test_a_first_start_shows_three_steps(client_of, first_start, nothing_heard):
    html = client_of(first_start).get("/").text
    assert html.count("waiting") == 3 and "meterhall init" in html
    heard = client_of(nothing_heard).get("/").text
    assert heard.count("waiting") == 2 and heard.count("done") >= 1


@pytest.mark.parametrize(("path", "says"), [
    ("/buildings", "No building"), ("/buildings/hall", "has no figures yet"), ("/meters/main", "has never been heard"),
    ("/vehicles/ev-1", "has never been heard"), ("/vehicles", "has not been heard"), ("/meters", "never been heard"),
])  # fmt: skip
def test_a_page_without_data_says_what_is_missing(client_of, nothing_heard, path, says):
    reply = client_of(nothing_heard).get(path)
    assert reply.status_code == 200
    assert says in reply.text


def test_a_process_without_collector_says_so(client_of, services):
    reply = client_of(replace(services, collector=None)).get("/collector")
    assert sentence(reply) == "No collector runs in this process."


class Away:
    """A store that can give nothing now."""

    def __getattr__(self, name):
        def refuse(*_args, **_more):
            raise StoreUnavailable("locked")

        return refuse


def test_a_page_whose_store_is_away_says_what_still_works(client_of, services):
    reply = client_of(replace(services, store=Away(), known=KnownMeasures())).get("/")
    assert reply.status_code == 503
    assert "nothing is lost" in reply.text and "Try again" in reply.text


def test_a_fault_of_ours_is_a_page_too_and_tells_nothing_of_the_inside(client_of, services):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("secret inside")

    reply = client_of(replace(services, store=Broken(), known=KnownMeasures())).get("/meters")
    assert reply.status_code == 500
    assert "secret inside" not in reply.text and "Try again" in reply.text


def test_what_is_not_there_is_a_404_page(client):
    reply = client.get("/meters/nope%3Cb%3E")
    assert reply.status_code == 404
    assert "<b>" not in reply.text and sentence(reply) == "There is no “nope&lt;b&gt;” here."


def test_a_line_that_does_not_work_is_one_line_under_the_top_bar(client_of, services):
    ill = replace(services, collector=replace(services.collector, state="degraded"))
    html = client_of(ill).get("/").text
    assert "1 line needs a look: demo. Everything else runs on." in html


def test_language_and_theme_come_by_address_and_stay_by_cookie(client):
    assert 'lang="zh-CN"' in client.get("/", params={"lang": "zh", "theme": "dark"}).text
    again = client.get("/buildings").text
    assert 'lang="zh-CN"' in again and 'data-theme="dark"' in again
    assert 'lang="en"' in client.get("/", headers={"accept-language": "en"}, params={"lang": "en"}).text


def test_links_keep_period_comparison_language_and_theme(client):
    html = client.get("/?period=week&date=2026-03-23&compare=year&lang=en&theme=dark").text
    hrefs = re.findall(r'href="(/buildings/hall[^"]*)"', html)
    assert hrefs
    for part in ("period=week", "date=2026-03-23", "compare=year", "lang=en", "theme=dark"):
        assert all(part in href for href in hrefs)


def test_a_comparison_with_a_time_hardly_observed_is_not_made(client):
    said = sentence(client.get("/?period=year&compare=year"))
    assert "a year ago" not in said


def test_own_code_stays_small(client):
    import gzip

    from api.page.routes import HERE

    own = b"".join(path.read_bytes() for path in sorted(HERE.glob("static/*.*")))
    assert len(gzip.compress(own)) <= 60 * 1024


def test_static_files_are_served_with_their_types_and_kept(client):
    html = client.get("/").text
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', html):
        reply = client.get(address)
        assert reply.status_code == 200 and "immutable" in reply.headers["cache-control"]
    assert client.get("/static/../routes.py").status_code == 404


def test_live_figures_begin_with_the_state_of_now(client, services):
    from starlette.requests import Request

    from api.page.routes import news, view_of

    request = Request({"type": "http", "path": "/", "query_string": b"", "headers": []})
    data = news(view_of(request, services), "plant")
    assert data["needs"] == 2
    assert data["power"]["value"] > 0 and data["power"]["stale"] is False
    assert abs(data["power"]["at"] - NOW / 1e6) < DAY_US
