"""Users, links, sessions, keys and the audit log in a real ledger."""

import pytest

from metering.explain import ExplainedError
from storage.ledger.access import By

ANNA = By("user anna", "10.0.0.5")
SHELL = By("command line")


@pytest.fixture
def access(ledger):
    return ledger.access


def test_the_first_account_is_made_by_one_link_once(access):
    assert access.offer_first_account("first", 100) and access.offer_first_account("second", 100)
    assert access.link("first", 10) == (False, ""), "the newer one has taken its place"
    assert access.link("second", 10) == (True, "") and access.link("second", 100) == (False, "")
    assert access.use_link("second", "anna", "hash-1", ANNA, 20) == "anna"
    assert access.use_link("second", "eve", "hash-2", ANNA, 21) is None
    assert not access.offer_first_account("third", 200)
    (anna,) = access.users()
    assert (anna.name, anna.right, anna.password, anna.created_at) == ("anna", "admin", "hash-1", 20)


def test_a_user_is_added_chooses_a_password_signs_in_and_is_disabled(access):
    access.add_user("anna", "read", "link", 100, SHELL, 10)
    with pytest.raises(ExplainedError, match="anna"):
        access.add_user("anna", "admin", "other", 100, SHELL, 11)
    assert access.link("link", 20) == (True, "anna")
    assert access.use_link("link", "", "hash-1", ANNA, 20) == "anna"
    anna = access.user("anna")
    assert access.open_session(anna, "cookie", 1000, ANNA, 30)
    assert access.session("cookie", 40, 0) == (access.user("anna"), 30)
    assert access.session("cookie", 1000, 0) is None and access.session("cookie", 40, 31) is None
    access.touch_session("cookie", 50)
    assert access.session("cookie", 60, 31)[1] == 50
    access.rehash(anna.id, "hash-0", "hash-9")
    assert access.user("anna").password == "hash-1", "it was another one meanwhile"
    assert access.disable_user("anna", SHELL, 70) and not access.disable_user("nobody", SHELL, 70)
    assert access.session("cookie", 80, 0) is None and not access.open_session(anna, "again", 1000, ANNA, 80)
    assert access.reset_user("anna", "link-2", 200, SHELL, 90) and access.link("link-2", 100) == (True, "anna")
    assert access.user("anna").password == "" and access.user("anna").disabled_at is None
    assert [row.what for row in access.audited()] == [
        "user_reset", "user_disabled", "sign_in", "password_set", "user_added"
    ]  # fmt: skip


def test_keys_keep_their_scopes_are_revoked_and_their_names_used_again(access):
    key = access.add_key("gateway", "abc", "hash", ["read", "write:ingest"], None, SHELL, 10)
    assert access.key("abc") == key and access.key("xyz") is None and key.scopes == ("read", "write:ingest")
    with pytest.raises(ExplainedError, match="is there already"):
        access.add_key("gateway", "def", "hash", ["read"], None, SHELL, 11)
    access.touch_key(key.id, 20)
    assert access.key("abc").used_at == 20
    assert access.revoke_key("gateway", SHELL, 30) and not access.revoke_key("gateway", SHELL, 31)
    assert access.key("abc").revoked_at == 30
    again = access.add_key("gateway", "ghi", "hash", ["read"], 99, SHELL, 40)
    assert access.keys() == [again] and again.id > key.id


def test_the_audit_log_is_read_from_its_end_page_by_page(access):
    for n in range(5):
        access.note(ANNA, "looked", f"meter {n}", n)
    newest = access.audited(limit=2)
    assert [row.subject for row in newest] == ["meter 4", "meter 3"]
    assert [row.subject for row in access.audited(newest[-1].id, 2)] == ["meter 2", "meter 1"]
    assert (newest[0].who, newest[0].address, newest[0].at) == ("user anna", "10.0.0.5", 4)
