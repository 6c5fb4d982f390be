"""Accounts, sessions, keys and one-time links, and those who try to get around them."""

import re
from dataclasses import replace

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from api import passwords
from api.access import IDLE_US, LINK_US, SESSION_US, Access
from api.app import create_app
from api.deps import COOKIE, HOST_COOKIE
from api.errors import Busy, Refused
from api.page.door import inside
from api.page.routes import mount_page
from api.throttle import SLOTS, Remembered, Throttle, network_of
from metering.clock import DAY_US, SECOND_US
from metering.explain import ExplainedError
from storage.ledger.access import By
from tests.api.plant import ADMIN, NOW

URL = "http://localhost:8420"
OURS = {"origin": URL}
PASSWORD = "correct horse battery"
ME = By("test")


class Clock:
    """A clock that stands until it is moved [us since 1970]."""

    def __init__(self):
        self.at = NOW

    def __call__(self):
        return self.at


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch):
    """argon2id as in the product, but at a cost that lets the tests be quick."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobodys.cache_clear()
    yield
    passwords._nobodys.cache_clear()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def access(ledger, clock):
    return Access(ledger.access, clock)


@pytest.fixture
def guarded(services, access):
    return replace(services, access=access, open_reading=False)


@pytest.fixture
def browser(guarded):
    """A browser at a server that asks for sign-in."""
    return browser_at(guarded)


def browser_at(services, **more):
    url = more.pop("base_url", URL)
    return TestClient(
        create_app(services, [mount_page]), base_url=url, follow_redirects=False, raise_server_exceptions=False, **more
    )


def account(access, name="anna", right="read"):
    access.set_password(access.add_user(name, right, ME), name, PASSWORD, "")


def sign_in(browser, name="anna", password=PASSWORD, headers=OURS, **fields):
    return browser.post("/sign-in", data={"name": name, "password": password, **fields}, headers=headers)


def tries(access, count, name="anna", address="10.0.0.1", password="wrong"):
    said = []
    for _ in range(count):
        try:
            access.sign_in(name, password, address)
            said.append("in")
        except Refused as error:
            said.append("busy" if isinstance(error, Busy) else "wrong")
    return said


# ---- sign-in ----


def test_a_page_asks_for_sign_in_and_leads_back_to_what_was_asked_for(browser, access):
    account(access)
    reply = browser.get("/meters?period=week", headers={"accept": "text/html"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/sign-in?next=%2Fmeters%3Fperiod%3Dweek")
    assert browser.get("/api/v1/meters").status_code == 401
    page = browser.get(reply.headers["location"])
    assert page.status_code == 200 and "Plant" not in page.text, "nothing of what is inside is told"
    into = sign_in(browser, next="/meters?period=week")
    assert (into.status_code, into.headers["location"]) == (303, "/meters?period=week")
    assert "Signed in as anna" in browser.get("/meters", headers={"accept-language": "en"}).text
    assert browser.get("/api/v1/meters").status_code == 200


def test_the_cookie_is_for_this_server_alone(browser, access, guarded):
    account(access)
    cookie = sign_in(browser).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=") and "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert "Secure" not in cookie and "Domain" not in cookie
    over_tls = browser_at(replace(guarded, secure=True), base_url="https://localhost:8420")
    cookie = sign_in(over_tls, headers={"origin": "https://localhost:8420"}).headers["set-cookie"]
    assert cookie.startswith(f"{HOST_COOKIE}=") and "Secure" in cookie and "Path=/" in cookie


def test_wrong_name_wrong_password_and_disabled_account_get_the_same_answer(browser, access):
    account(access)
    account(access, "bert")
    access.disable_user("bert", ME)
    access.add_user("carl", "read", ME)
    replies = [sign_in(browser, name, word) for name, word in
               (("anna", "wrong"), ("nobody", "wrong"), ("bert", PASSWORD), ("carl", ""), ("", ""))]  # fmt: skip
    assert {reply.status_code for reply in replies} == {401}
    said = {re.sub(r'value="[^"]*"| autofocus', "", reply.text) for reply in replies}
    assert len(said) == 1
    assert not any("set-cookie" in reply.headers for reply in replies)


def test_the_password_is_worked_on_for_unknown_names_too(access, monkeypatch):
    account(access)
    worked = []
    verify = passwords._hasher.verify
    monkeypatch.setattr(
        type(passwords._hasher), "verify", lambda self, hash_, word: worked.append(hash_) or verify(hash_, word)
    )
    assert tries(access, 1, "anna") + tries(access, 1, "nobody") == ["wrong", "wrong"]
    cost = [hash_.rsplit("$", 2)[0] for hash_ in worked]
    assert len(cost) == 2 and cost[0] == cost[1] and cost[0].startswith("$argon2id$")


def test_a_session_of_a_reader_changes_nothing_and_that_of_an_admin_does(browser, access):
    account(access)
    account(access, "root", "admin")
    sign_in(browser)
    assert browser.post("/api/v1/quarantine/replay", json={"ids": [1]}, headers=OURS).status_code == 403
    assert browser.get("/api/v1/keys").status_code == 403
    sign_in(browser, "root")
    assert browser.post("/api/v1/quarantine/replay", json={"ids": [1]}, headers=OURS).status_code == 200
    assert browser.get("/api/v1/audit").json()[0]["who"] == "user root"


def test_signing_out_ends_the_session_and_not_only_the_cookie(browser, access):
    account(access)
    cookie = sign_in(browser).cookies[COOKIE]
    out = browser.post("/sign-out", headers=OURS)
    assert out.status_code == 303 and COOKIE not in browser.cookies
    assert browser.get("/api/v1/meters", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 401


def test_a_session_that_somebody_planted_is_never_taken_over(browser, access):
    account(access)
    planted = "planted-by-somebody-else"
    browser.cookies.set(COOKIE, planted, domain="localhost.local", path="/")
    assert sign_in(browser).cookies[COOKIE] != planted
    first = browser.cookies[COOKIE]
    second = sign_in(browser).cookies[COOKIE]
    assert first != second
    assert access.session(planted) is None and access.session(first) is None and access.session(second)


def test_a_session_ends_when_it_is_not_used_and_after_a_month_in_any_case(access, clock):
    account(access)
    cookie = access.sign_in("anna", PASSWORD, "").cookie
    clock.at += IDLE_US - SECOND_US
    assert access.session(cookie)
    clock.at += IDLE_US - SECOND_US
    assert access.session(cookie), "it was used"
    clock.at += IDLE_US + SECOND_US
    assert access.session(cookie) is None
    cookie = access.sign_in("anna", PASSWORD, "").cookie
    for _ in range(SESSION_US // DAY_US * 2 - 1):
        clock.at += DAY_US // 2
        assert access.session(cookie)
    clock.at += DAY_US // 2
    assert access.session(cookie) is None


@pytest.mark.parametrize("end", ["disable", "reset"])
def test_who_is_disabled_or_reset_is_signed_out_everywhere(access, end):
    account(access)
    cookies = [access.sign_in("anna", PASSWORD, "").cookie for _ in range(2)]
    getattr(access, f"{end}_user")("anna", ME)
    assert [access.session(cookie) for cookie in cookies] == [None, None]
    assert tries(access, 1, password=PASSWORD) == ["wrong"]


def test_a_live_stream_ends_with_its_session(guarded, access):
    from starlette.requests import Request

    from api.deps import still_may, who_asks

    account(access)
    cookie = access.sign_in("anna", PASSWORD, "").cookie
    request = Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={cookie}".encode())], "state": {}})
    request.state.who = who_asks(request, guarded)
    assert still_may(request, guarded)
    access.disable_user("anna", ME)
    assert not still_may(request, guarded)


# ---- what others try ----


def test_a_form_of_another_page_signs_nobody_in_or_out(browser, access):
    account(access)
    for headers in ({}, {"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert sign_in(browser, headers=headers).status_code == 403, headers
    assert sign_in(browser).status_code == 303
    assert browser.post("/sign-out").status_code == 403
    assert browser.get("/api/v1/meters").status_code == 200


def test_a_session_changes_nothing_unless_the_browser_says_that_a_page_of_ours_asks(browser, access):
    account(access, "root", "admin")
    sign_in(browser, "root")
    asked = {"json": {"ids": [1]}}
    assert browser.post("/api/v1/quarantine/replay", **asked).status_code == 403
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"}):
        assert browser.post("/api/v1/quarantine/replay", headers=headers, **asked).status_code == 403, headers
    assert browser.post("/api/v1/quarantine/replay", headers={"sec-fetch-site": "same-origin"}, **asked).is_success


def test_a_foreign_host_header_gets_nowhere_and_into_no_link(browser):
    for host in ("evil.example", "localhost.evil.example", "localhost@evil.example", ""):
        for path in ("/sign-in", "/", "/set-up"):
            assert browser.get(path, headers={"host": host, "accept": "text/html"}).status_code == 421


ELSEWHERE = (
    "//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "\\evil.example",
    "javascript:alert(1)", "/a\r\nset-cookie: x=1", "", "/" + "a" * 3000,
)  # fmt: skip


@pytest.mark.parametrize("to", ELSEWHERE)
def test_after_signing_in_nobody_is_sent_elsewhere(browser, access, to):
    assert inside(to) == "/"
    assert inside("/meters?period=week") == "/meters?period=week"
    account(access)
    assert sign_in(browser, next=to).headers["location"] == "/"


def test_a_form_that_is_too_long_or_odd_is_refused(browser):
    odd = {"content-type": "application/x-www-form-urlencoded", **OURS}
    for body in (b"name=" + b"a" * 9000, b"\xff\xfe", b"&".join(b"a%d=1" % i for i in range(50)), b"name=%ff%fe"):
        assert browser.post("/sign-in", content=body, headers=odd).status_code == 422


def test_what_came_by_way_of_a_proxy_is_not_from_this_machine(client_of, access):
    open_on_loopback = client_of(access=access)
    assert open_on_loopback.get("/api/v1/meters").status_code == 200
    for name in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
        reply = open_on_loopback.get("/api/v1/meters", headers={name: "203.0.113.9"})
        assert reply.status_code == 401 and "behind_proxy" in reply.json()["detail"]


def test_behind_a_proxy_its_address_is_ours_and_it_says_who_asks(guarded, access):
    account(access)
    public = "https://meter.example"
    proxied = replace(
        guarded, public_url=public, secure=True, allowed_hosts=("meter.example", "localhost"), proxies=("10.0.0.0/8",)
    )
    browser = browser_at(proxied, client=("10.0.0.5", 1), base_url="http://meter.example")
    forged = {"x-forwarded-for": "198.51.100.1, 203.0.113.9, 10.0.0.7"}
    assert sign_in(browser, headers={"origin": public, **forged}).status_code == 303
    assert access.audited(None, 1)[0].address == "203.0.113.9", "the last that is not a proxy of ours"
    direct = browser_at(proxied, client=("203.0.113.50", 1), base_url="http://meter.example")
    assert sign_in(direct, headers={"origin": public, **forged}).status_code == 303
    assert access.audited(None, 1)[0].address == "203.0.113.50", "whoever is no proxy is not believed"


# ---- throttling ----


def test_one_address_may_fail_ten_times_and_then_waits(access):
    account(access)
    assert tries(access, 12) == ["wrong"] * 10 + ["busy"] * 2
    assert tries(access, 1, password=PASSWORD) == ["busy"], "also with the right password"
    assert tries(access, 1, password=PASSWORD, address="10.0.0.2") == ["in"]


def test_an_account_that_many_attack_is_held_up_but_not_for_its_owner_at_home(access):
    account(access)
    assert tries(access, 1, password=PASSWORD, address="192.0.2.1") == ["in"]
    said = [tries(access, 1, address=f"10.0.1.{i}")[0] for i in range(25)]
    assert said == ["wrong"] * 20 + ["busy"] * 5
    assert tries(access, 1, password=PASSWORD, address="192.0.2.1") == ["in"]


def test_unknown_names_are_held_up_like_known_ones(access):
    said = [tries(access, 1, name="nobody", address=f"10.0.1.{i}")[0] for i in range(21)]
    assert said == ["wrong"] * 20 + ["busy"]


def test_a_throttle_takes_the_same_memory_however_many_fail_and_forgets_nobody():
    at = 0.0
    throttle = Throttle(5, 10.0, clock=lambda: at)
    assert [throttle.take("victim") for _ in range(5)] == [0.0] * 5
    for i in range(3 * SLOTS):
        throttle.take(f"name {i}")
    assert len(throttle._levels) <= SLOTS
    assert throttle.take("victim") > 0
    at = 60.0
    assert throttle.take("victim") == 0.0
    known = Remembered(10)
    for i in range(100):
        known.add(("anna", str(i)))
    assert ("anna", "99") in known and ("anna", "0") not in known


def test_one_sender_has_many_addresses_but_one_network():
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::9") != network_of("2001:db8:1:3::9")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")


# ---- one-time links ----


def test_the_first_link_makes_the_first_account_once(browser, access):
    code = access.offer_first_account()
    step = browser.post("/set-up", data={"code": code}, headers=OURS)
    assert step.status_code == 200 and 'name="again"' in step.text
    fields = {"code": code, "name": "Anna", "password": PASSWORD, "again": PASSWORD}
    for wrong in ({"password": "short", "again": "short"}, {"again": "another"}, {"name": "<b>"}, {"name": ""},
                  {"password": "aaaaaaaaaaaaaaa", "again": "aaaaaaaaaaaaaaa"}):  # fmt: skip
        reply = browser.post("/set-up", data=fields | wrong, headers=OURS)
        assert reply.status_code == 422 and "set-cookie" not in reply.headers
    into = browser.post("/set-up", data=fields, headers=OURS)
    assert into.status_code == 303 and browser.get("/api/v1/keys").json() == []
    assert browser.post("/set-up", data=fields | {"name": "eve"}, headers=OURS).status_code == 401
    assert access.offer_first_account() is None
    assert [(user.name, user.right) for user in access.users()] == [("anna", "admin")]


def test_a_newer_first_link_makes_the_older_void_and_a_day_is_enough(access, clock):
    old, new = access.offer_first_account(), access.offer_first_account()
    assert access.owner_of(old) == (False, "") and access.owner_of(new) == (True, "")
    clock.at += LINK_US
    assert access.owner_of(new) == (False, "")


def test_a_link_of_somebody_is_good_for_them_alone_and_once(access):
    account(access)
    code = access.add_user("bert", "read", ME)
    assert access.owner_of(code) == (True, "bert")
    assert access.set_password(code, "anna", PASSWORD, "") == "bert", "whatever name is sent with it"
    with pytest.raises(Refused, match="was used"):
        access.set_password(code, "bert", PASSWORD, "")
    assert access.add_user("carl", "read", ME) and access.reset_user("carl", ME)
    late = access.reset_user("bert", ME)
    access.disable_user("bert", ME)
    assert access.owner_of(late) == (False, "")


def test_codes_are_not_guessed_in_a_hurry(access):
    said = []
    for i in range(12):
        with pytest.raises(Refused) as error:
            access.set_password(f"guess {i}", "x", PASSWORD, "10.0.0.9")
        said.append(error.value.status)
    assert said == [401] * 10 + [429] * 2


# ---- keys ----


def test_a_key_opens_what_its_scopes_say_and_nothing_else(browser, access):
    made = access.add_key("gateway", ["write:ingest"], None, ME)
    assert re.fullmatch(r"mhk_[a-z0-9]{8}_[\w-]{43}", made.key) and made.key.startswith(f"mhk_{made.row.prefix}_")
    key = {"authorization": f"Bearer {made.key}"}
    assert browser.post("/api/v1/ingest", json={"rows": []}, headers=key).status_code not in (401, 403)
    reply = browser.get("/api/v1/meters", headers=key)
    assert reply.status_code == 403 and "'read'" in reply.json()["detail"]
    assert browser.post("/api/v1/reload", headers=key).status_code == 403
    for bad in (made.key[:-1] + "!", made.key[:-1], f"mhk_{made.row.prefix}_{'A' * 43}", "mhk_", "", "x" * 5000):
        assert browser.get("/api/v1/meters", headers={"authorization": f"Bearer {bad}"}).status_code == 401
    assert browser.get("/api/v1/meters", headers={"authorization": f"Basic {made.key}"}).status_code == 401


def test_a_key_expires_and_is_revoked_at_once_and_its_last_use_is_known(access, clock):
    key = access.add_key("prom", ["read"], clock.at + DAY_US, ME).key
    assert access.key(key).may("read") and not access.key(key).may("admin")
    assert access.list_keys()[0].used_at == clock.at
    clock.at += DAY_US
    assert access.key(key) is None
    with pytest.raises(ExplainedError, match="revoke it first"):
        access.add_key("prom", ["read"], None, ME)
    access.revoke_key("prom", ME)
    with pytest.raises(Refused, match="not in use"):
        access.revoke_key("prom", ME)
    anew = access.add_key("prom", ["read"], None, ME).key
    assert access.key(anew) and access.key(key) is None


def test_keys_and_users_are_made_over_the_api_and_told_once(browser):
    made = browser.post("/api/v1/keys", json={"name": "a", "scopes": ["read"]}, headers=ADMIN).json()
    assert made["key"].startswith(made["prefix"])
    listed = browser.get("/api/v1/keys", headers=ADMIN).json()
    assert listed[0]["name"] == "a" and "key" not in listed[0] and made["key"] not in str(listed)
    assert browser.delete("/api/v1/keys/a", headers=ADMIN).status_code == 204
    code = browser.post("/api/v1/users", json={"name": "anna", "right": "read"}, headers=ADMIN).json()["code"]
    assert browser.get("/api/v1/users", headers=ADMIN).json()[0]["state"] == "no password yet"
    assert browser.post("/api/v1/users/anna/disable", headers=ADMIN).status_code == 204
    assert browser.post("/api/v1/users/anna/reset", headers=ADMIN).json()["code"] != code
    assert browser.post("/api/v1/users/eve/reset", headers=ADMIN).status_code == 422
    assert browser.post("/api/v1/keys", json={"name": "b", "scopes": ["root"]}, headers=ADMIN).status_code == 422
    assert [row["what"] for row in browser.get("/api/v1/audit", headers=ADMIN).json() if "_" in row["what"]] == [
        "user_reset", "user_disabled", "user_added", "key_revoked", "key_added",
    ]  # fmt: skip


# ---- what is kept ----


def test_nothing_that_opens_a_door_is_in_the_ledger(access, tmp_path, ledger):
    first = access.offer_first_account()
    access.set_password(first, "anna", PASSWORD, "")
    link = access.reset_user("anna", ME)
    access.set_password(link, "", PASSWORD, "")
    later = access.add_user("bert", "read", ME)
    cookie = access.sign_in("anna", PASSWORD, "").cookie
    key = access.add_key("k", ["admin"], None, ME).key
    tries(access, 1, password="a wrong password typed")
    held = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.sqlite*"))
    for secret in (first, link, later, cookie, key, PASSWORD, "a wrong password typed"):
        assert secret.encode() not in held
    assert b"$argon2id$" in held


def test_what_cannot_be_written_down_is_not_done(browser, access, monkeypatch):
    from storage.ledger import access as tables
    from storage.store import StoreUnavailable

    account(access)

    def refuse(*_):
        raise StoreUnavailable("no room")

    monkeypatch.setattr(tables, "_note", refuse)
    with pytest.raises(StoreUnavailable):
        access.add_key("k", ["admin"], None, ME)
    assert access.list_keys() == []
    assert sign_in(browser).status_code == 503
    assert browser.post("/api/v1/quarantine/replay", json={"ids": [1]}, headers=ADMIN).status_code == 503
