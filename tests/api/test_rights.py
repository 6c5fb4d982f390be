"""Who may do what, from where."""

import pytest

from api.app import create_app
from api.deps import READ, bearer, rights_of
from metering.explain import ExplainedError
from tests.api.plant import ADMIN, TOKEN

CHANGING = {
    ("POST", "/api/v1/ingest"): "write:ingest",
    ("POST", "/api/v1/quarantine/replay"): "admin",
    ("POST", "/api/v1/backups"): "admin",
    ("POST", "/api/v1/reload"): "admin",
    ("POST", "/api/v1/anomalies/watch"): "admin",
    ("POST", "/api/v1/anomalies/{number}/feedback"): "admin",
    ("POST", "/api/v1/savings"): "admin",
    ("POST", "/api/v1/savings/{project}/adjustments"): "admin",
    ("POST", "/api/v1/savings/{project}/fit"): "admin",
}
ADMINS = {"/api/v1/keys", "/api/v1/keys/{name}", "/api/v1/users", "/api/v1/users/{name}/disable"}
ADMINS |= {"/api/v1/users/{name}/reset", "/api/v1/audit"}
PUBLIC = {"/health/live"}


def routes(app):
    return [(path, method, rights) for path, methods, rights in rights_of(app.routes) for method in methods - {"HEAD"}]


def test_every_route_names_exactly_one_right(services):
    found = routes(create_app(services))
    assert len(found) > 25
    for path, method, rights in found:
        expected = CHANGING.get((method, path), "public" if path in PUBLIC else "admin" if path in ADMINS else "read")
        assert rights == {expected}, f"{method} {path}"


def test_an_app_with_a_route_without_right_does_not_start(services):
    with pytest.raises(RuntimeError, match="/open names 0 rights"):
        create_app(services, [lambda app: app.get("/open")(lambda: 1)])


def test_an_app_with_a_route_of_two_rights_does_not_start(services):
    with pytest.raises(RuntimeError, match="names 2 rights"):
        create_app(services, [lambda app: app.get("/api", dependencies=[READ, CHANGING_RIGHT])(lambda: 1)])


from api.deps import ADMIN as CHANGING_RIGHT  # noqa: E402


@pytest.mark.parametrize("who", ["nobody", "stranger", "admin"])
@pytest.mark.parametrize("reading_is_open", [True, False])
def test_rights_hold_on_every_route(client_of, who, reading_is_open):
    client = client_of(open_reading=reading_is_open)
    headers = {"nobody": {}, "stranger": {"authorization": "Bearer guessed"}, "admin": ADMIN}[who]
    for path, method, rights in routes(client.app):
        if path == "/api/v1/live":
            continue  # endless; its right is that of its router, seen above
        allowed = rights == {"public"} or who == "admin" or (who == "nobody" and reading_is_open and rights == {"read"})
        status = client.request(method, path, headers=headers).status_code
        assert (status != 401) is allowed, f"{who} {method} {path}: {status}"


@pytest.mark.parametrize("scheme", ["Basic", "bearer", ""])
def test_only_a_bearer_token_counts(client, scheme):
    reply = client.post("/api/v1/quarantine/replay", json={"ids": [1]}, headers={"authorization": f"{scheme} {TOKEN}"})
    assert reply.status_code == (200 if scheme == "bearer" else 401)


def test_a_wrong_token_is_told_where_the_right_one_is(client):
    reply = client.post("/api/v1/quarantine/replay", json={"ids": [1]})
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert "admin.token" in reply.json()["detail"]


def test_a_token_that_is_no_ascii_is_refused_and_not_an_error(services):
    assert bearer(services, "ключ") is None


def test_services_without_a_token_are_refused(services):
    from dataclasses import replace

    with pytest.raises(ExplainedError, match=r"admin\.token"):
        replace(services, admin_token="")
