"""What routes depend on: the services, the right to be there, a place among the expensive ones."""

from __future__ import annotations

import hmac
import ipaddress
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NoReturn

from fastapi import Depends, FastAPI, Request
from fastapi_problem.error import Problem
from starlette.routing import BaseRoute

from api.access import Right, Who
from api.errors import Busy
from api.services import Services

COOKIE = "meterhall-session"
HOST_COOKIE = f"__Host-{COOKIE}"  # over TLS: no other host or path can set it
FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via")
SAFE = {"GET", "HEAD", "OPTIONS"}


class SignInFirst(Exception):
    """A page was asked for by nobody: the browser is sent to the sign-in page."""


def services_of(request: Request) -> Services:
    """The services of this app, as they are now."""
    services: Services = request.app.state.services
    return services


TheServices = Annotated[Services, Depends(services_of)]


def cookie_name(services: Services) -> str:
    """The cookie's name: where all goes by TLS, one that nobody else can set."""
    return HOST_COOKIE if services.secure else COOKIE


def address_of(request: Request, services: Services) -> str:
    """Where a request comes from; of proxies that are trusted, what they say."""
    peer = request.client.host if request.client else ""
    if services.proxies and _is_in(peer, services.proxies):
        for each in reversed(request.headers.get("x-forwarded-for", "").split(",")):
            if each.strip() and not _is_in(each.strip(), services.proxies):
                return each.strip()[:64]
    return peer


def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
        return any(parsed in ipaddress.ip_network(network) for network in networks)
    except ValueError:
        return False


def reads_openly(request: Request, services: Services) -> bool:
    """Whether nobody may read: on loopback, and not by way of a proxy, through which the world may come."""
    return services.open_reading and not any(name in request.headers for name in FORWARDED)


def who_asks(request: Request, services: Services) -> Who | None:
    """Whoever a token, key or session says; None for nobody, and for one that is not good."""
    given = request.headers.get("authorization")
    if given is not None:
        scheme, _, token = given.partition(" ")
        return bearer(services, token.strip()) if scheme.lower() == "bearer" else None
    cookie = request.cookies.get(cookie_name(services))
    return services.access.session(cookie) if cookie and services.access else None


def bearer(services: Services, token: str) -> Who | None:
    """Whose token it is: admin.token, or an API key."""
    if hmac.compare_digest(token.encode("utf-8", "surrogatepass"), services.admin_token.encode()):
        return Who("token", "admin.token", frozenset(("admin",)))
    return services.access.key(token) if services.access else None


def requires(right: Right) -> Callable[..., None]:
    """A dependency that lets pass who has a right; each route has exactly one."""

    def check(request: Request, services: TheServices) -> None:
        if right == "public":
            return
        who = request.state.who = who_asks(request, services)
        nobody = who is None and "authorization" not in request.headers
        if nobody and right == "read" and reads_openly(request, services):
            return
        if who is None:
            refuse_nobody(request, services, right)
        elif not who.may(right):
            raise Problem(
                "Forbidden",
                type_="forbidden",
                status=403,
                detail=f"this needs the right {right!r}, which {who} does not have",
            )
        elif request.method not in SAFE:
            refuse_strange_pages(request, who)
            if right == "admin" and services.access is not None:
                services.access.note(str(who), address_of(request, services), f"{request.method} {request.url.path}")

    check.right = right  # type: ignore[attr-defined]
    return check


def refuse_nobody(request: Request, services: Services, right: Right) -> NoReturn:
    """Send a person to the sign-in page; tell a program what it lacks."""
    if services.access and request.method in SAFE and "text/html" in request.headers.get("accept", ""):
        raise SignInFirst
    if services.open_reading and right == "read" and "authorization" not in request.headers:
        detail = "this came by way of a proxy: say so in [server] behind_proxy, and make an account"
    else:
        detail = (
            f"this needs the right {right!r}: send 'Authorization: Bearer <key>'; a key is made by "
            "meterhall keys add, and on the machine itself admin.token in the data folder is one"
        )
    raise Problem(
        "Unauthorized",
        type_="unauthorized",
        status=401,
        detail=detail,
        headers={"www-authenticate": 'Bearer realm="meterhall"'},
    )


def refuse_strange_pages(request: Request, who: Who | None) -> None:
    """A browser's session changes something only when the browser says that a page of ours asks.

    The guard refuses what says that it comes from elsewhere; this, what says nothing.
    """
    headers = request.headers
    if (who is None or who.session) and "origin" not in headers and headers.get("sec-fetch-site") != "same-origin":
        raise Problem("Forbidden", type_="cross-site", status=403, detail="only a page of this server may do that")


def still_may(request: Request, services: Services) -> bool:
    """Whether who began a stream may go on with it: sessions end, keys are revoked."""
    if request.state.who is None:
        return reads_openly(request, services)
    who = who_asks(request, services)
    return who is not None and who.may("read")


READ = Depends(requires("read"))
INGEST = Depends(requires("write:ingest"))
ADMIN = Depends(requires("admin"))
PUBLIC = Depends(requires("public"))


def expensive(request: Request) -> Iterator[None]:
    """A place among the requests that work long; held until the last byte is sent. 429 if all are taken."""
    places: threading.BoundedSemaphore = request.app.state.places
    if not places.acquire(blocking=False):
        raise Busy("this query", "waits behind others of its kind", "try again in some seconds")
    try:
        yield
    finally:
        places.release()


EXPENSIVE = Depends(expensive)


def rights_of(routes: Iterable[BaseRoute], inherited: tuple[Any, ...] = ()) -> Iterator[tuple[str, set[str], set[str]]]:
    """(path, methods, rights) of every route, however deep; a mounted app has no rights of its own."""
    for route in routes:
        nested = getattr(route, "original_router", None)
        if nested is not None:
            context = route.include_context  # type: ignore[attr-defined]
            yield from rights_of(nested.routes, (*inherited, *context.dependencies, *nested.dependencies))
            continue
        own = getattr(route, "dependencies", [])
        calls = [dependency.dependency for dependency in (*inherited, *own)]
        rights = {call.right for call in calls if hasattr(call, "right")}
        yield getattr(route, "path", "?"), set(getattr(route, "methods", None) or ()), rights


def refuse_routes_without_right(app: FastAPI, public_mounts: frozenset[str]) -> None:
    """Default deny: an app with a route that names no right, or more than one, does not start."""
    for path, _methods, rights in rights_of(app.routes):
        if path not in public_mounts and len(rights) != 1:
            raise RuntimeError(f"route {path} names {len(rights)} rights; give it one: dependencies=[READ]")
