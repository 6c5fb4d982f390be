"""The app: routers, guard, problems, rights. Thin."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse
from starlette.types import ASGIApp

from api.deps import SignInFirst, refuse_routes_without_right
from api.errors import add_problem_handlers
from api.guard import Guard
from api.routes import (
    access,
    anomalies,
    backups,
    baselines,
    collector,
    consumption,
    days,
    degrees,
    docs,
    events,
    explain,
    health,
    ingest,
    live,
    places,
    quarantine,
    reload,
    savings,
    series,
)
from api.services import Services

PUBLIC_MOUNTS = frozenset({"/static"})  # files that belong to the product itself, nothing of a user's

ROUTERS: tuple[APIRouter, ...] = (
    places.router,
    series.router,
    consumption.router,
    days.router,
    degrees.router,
    live.router,
    explain.router,
    events.router,
    baselines.router,
    anomalies.router,
    savings.router,
    collector.router,
    quarantine.router,
    ingest.router,
    backups.router,
    reload.router,
    access.router,
    health.router,
    docs.router,
)


class App(FastAPI):
    """FastAPI with the guard around everything, error pages too."""

    def build_middleware_stack(self) -> ASGIApp:
        return Guard(super().build_middleware_stack(), services=lambda: self.state.services)


def create_app(services: Services, mounts: Iterable[Callable[[FastAPI], None]] = ()) -> FastAPI:
    """The app of these services; `mounts` add the page (each is called with the app).

    `app.state.services` may be replaced as a whole while it runs (a reload).

    Raises
    ------
    RuntimeError
        If any route names no right: default deny.
    """
    app = App(
        title="Meterhall",
        version="1",
        description="Telemetry of buildings and official vehicles: readings, consumption, quality.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    app.state.ingest_keys = ingest.Keys()
    app.state.places = threading.BoundedSemaphore(services.limits.expensive)
    add_problem_handlers(app)
    app.add_exception_handler(SignInFirst, to_sign_in)
    for router in ROUTERS:
        app.include_router(router)
    for mount in mounts:
        mount(app)
    refuse_routes_without_right(app, PUBLIC_MOUNTS)
    return app


def to_sign_in(request: Request, _error: Exception) -> RedirectResponse:
    """The sign-in page, which leads back to what was asked for."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    kept = {key: request.query_params[key] for key in ("lang", "theme") if key in request.query_params}
    return RedirectResponse(f"/sign-in?{urlencode({'next': asked, **kept})}", 303)


def openapi_text(app: FastAPI) -> str:
    """The OpenAPI file of the product's own routes, as it stands in the repository."""
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":  # python -m api.app > api/openapi.json
    import sys
    from pathlib import Path
    from typing import Any, cast

    from api.live import LiveFeed
    from metering.site import Installation

    nothing = cast(Any, None)
    bare = Services(
        Installation(), nothing, nothing, nothing, None, LiveFeed(), "no token at all, only words", Path(), 0
    )
    sys.stdout.write(openapi_text(create_app(bare)))
