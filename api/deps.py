"""What routes depend on: the services, the right to be there, a place among the expensive ones."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request
from fastapi_problem.error import Problem
from starlette.routing import BaseRoute

from api.errors import Busy
from api.services import Services

Right = Literal["public", "read", "write:ingest", "admin"]


def services_of(request: Request) -> Services:
    """The services of this app, as they are now."""
    services: Services = request.app.state.services
    return services


TheServices = Annotated[Services, Depends(services_of)]


def may(services: Services, right: Right, token: str | None) -> bool:
    """Whether a bearer of this token, or of none, has a right: the one place that decides."""
    if right == "public":
        return True
    if token is None:
        return right == "read" and services.open_reading
    return hmac.compare_digest(token.encode(), services.admin_token.encode())


def requires(right: Right) -> Callable[..., None]:
    """A dependency that lets pass who has a right; each route has exactly one."""

    def check(request: Request, services: TheServices) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else None
        if not may(services, right, given):
            raise Problem(
                "Unauthorized",
                type_="unauthorized",
                status=401,
                detail=f"this needs the right {right!r}: send 'Authorization: Bearer <token>'; "
                "the token is in admin.token in the data folder",
                headers={"www-authenticate": 'Bearer realm="meterhall"'},
            )

    check.right = right  # type: ignore[attr-defined]
    return check


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
