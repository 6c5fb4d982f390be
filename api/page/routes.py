"""The page: one route a question. Thin: read the address, ask the view, fill the template."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles
from starlette.types import Scope as AsgiScope

from api.deps import READ, TheServices, still_may
from api.errors import NotThere
from api.figures import scope_of
from api.page import building, charts, collector, door, meter, today, vehicles
from api.page.attention import needs_of
from api.page.meter import point_text
from api.page.period import COMPARES, PERIODS, Filters
from api.page.shell import YEAR_S, remember_wishes, surroundings, templates, view_of
from api.page.view import View, line_name, power_now, power_points
from api.periods import Period
from api.services import Services
from metering.site import Building, Meter, Vehicle
from storage.store import StoreUnavailable

log = logging.getLogger("meterhall.page")
HERE = Path(__file__).parent
PAGES = (
    ("today", "/"),
    ("buildings", "/buildings"),
    ("meters", "/meters"),
    ("vehicles", "/vehicles"),
    ("collector", "/collector"),
)
LIVE_PERIOD_S, HEARTBEAT_S = 2.0, 15.0
JS_PREFIX = "js."

router = APIRouter(include_in_schema=False, dependencies=[READ])


class Files(StaticFiles):
    """The page's own files; one asked for by its fingerprint never changes."""

    async def get_response(self, path: str, scope: AsgiScope) -> Response:
        response = await super().get_response(path, scope)
        fixed = b"v=" in scope.get("query_string", b"")
        response.headers["cache-control"] = f"max-age={YEAR_S}, immutable" if fixed else "no-cache"
        return response


def mount_page(app: FastAPI) -> None:
    """Add the page to the app: `create_app(services, mounts=[mount_page])`."""
    from api.page import insights, projects  # they render by this module

    app.include_router(router)
    app.include_router(insights.router)
    app.include_router(projects.router)
    app.include_router(door.router)
    app.mount("/static", Files(directory=HERE / "static"), name="static")


def degraded_line(view: View) -> str:
    """One line under the top bar when something does not run; "" when all does."""
    status = view.services.collector
    if status is None:
        return ""
    ill = [line_name(view, line) for line in status.lines() if line.state in ("broken", "degraded")]
    if not status.spool().accepting:
        return view.words("degraded.spool")
    return view.words("degraded.lines", n=len(ill), names=view.words.joined(ill)) if ill else ""


def frame(request: Request, view: View, page: str, needs: int, expected: bool = False) -> dict[str, Any]:
    """What `base.html` needs around every page; `expected`: its chart shows what is usual, unless asked otherwise."""
    path, filters = request.url.path, view.filters
    own = {key: value for key, value in request.query_params.items() if key in ("carrier", "show", "line")}

    def here(**changes: str | None) -> str:
        return filters.link(path, **own, **changes)

    script = {key.removeprefix(JS_PREFIX): text for key, text in view.words.texts.items() if key.startswith(JS_PREFIX)}
    who = getattr(request.state, "who", None)
    return {
        **surroundings(request, view, **own),
        "link": filters.link,
        "here": here,
        "signed_in": who.name if who is not None and who.session else "",
        "page": page,
        "path": path,
        "pages": [(key, filters.link(href)) for key, href in PAGES],
        "site_name": view.name(view.site) if view.site else "Meterhall",
        "attention": needs,
        "degraded": degraded_line(view),
        "simulated": view.services.simulated,
        "periods": [(each, here(period=each, date=filters.given.get("date"))) for each in PERIODS],
        "compares": [
            (each, filters.compare_choice(each, view.words), here(compare=each))
            for each in COMPARES
            if not (each == "year" and filters.period == "year") and (each != "expected" or expected)
        ],
        "compare_now": "expected" if expected and "compare" not in filters.given else filters.compare,
        "step_links": (filters.link(path, **own, **_step(filters, -1)), filters.link(path, **own, **_step(filters, 1))),
        "own": own,
        "context": {"language": view.language, "zone": view.zone, "now": view.now / 1e6, "text": script},
    }


def _step(filters: Filters, direction: int) -> dict[str, str | None]:
    first = filters.stepped(direction)
    until = first + (filters.until - filters.anchor) if filters.period == "custom" else None
    return {"date": first.isoformat(), "until": until.isoformat() if until else None}


def page_of(
    request: Request, services: Services, page: str, template: str, ask: Callable[[View], dict[str, Any]]
) -> HTMLResponse:
    """A page; when its view fails, a page that says so, with what still works."""
    view = view_of(request, services)
    status, data, name = 200, {}, template
    try:
        data = ask(view)
        needs = len(needs_of(view))
    except NotThere as error:
        status, name, needs = 404, "failed.html", 0
        data = {"kind": "not_there", "detail": error.where}
    except StoreUnavailable:
        log.exception("the store could not answer the page %s", request.url.path)
        status, name, needs, data = 503, "failed.html", 0, {"kind": "store", "detail": ""}
    except Exception:
        log.exception("the page %s failed", request.url.path)
        status, name, needs, data = 500, "failed.html", 0, {"kind": "unexpected", "detail": ""}
    around = frame(request, view, page, needs, data.get("expected", False))
    html = templates().get_template(name).render(**around, **data)
    response = HTMLResponse(html, status_code=status, headers={"vary": "cookie, accept-language"})
    remember_wishes(request, response)
    return response


@router.get("/", response_class=HTMLResponse)
def get_today(request: Request, services: TheServices) -> HTMLResponse:
    """How much today, and what needs me?"""
    return page_of(request, services, "today", "today.html", today.today)


@router.get("/buildings", response_class=HTMLResponse)
def get_buildings(request: Request, services: TheServices) -> HTMLResponse:
    """Which building is unlike itself?"""
    return page_of(request, services, "buildings", "buildings.html", building.building_list)


@router.get("/buildings/{node}", response_class=HTMLResponse)
def get_building(request: Request, node: str, services: TheServices, carrier: str = "") -> HTMLResponse:
    """What does this building use, where and when?"""

    def ask(view: View) -> dict[str, Any]:
        return building.building(view, thing_of(view, node, Building), carrier)

    return page_of(request, services, "buildings", "building.html", ask)


@router.get("/meters", response_class=HTMLResponse)
def get_meters(request: Request, services: TheServices, carrier: str = "") -> HTMLResponse:
    """Do all meters count?"""
    return page_of(request, services, "meters", "meters.html", lambda view: meter.meter_list(view, carrier))


@router.get("/meters/{node}", response_class=HTMLResponse)
def get_meter(request: Request, node: str, services: TheServices, show: str = "") -> HTMLResponse:
    """Does this meter count, and what?"""

    def ask(view: View) -> dict[str, Any]:
        return meter.meter(view, thing_of(view, node, Meter), show)

    return page_of(request, services, "meters", "meter.html", ask)


@router.get("/vehicles", response_class=HTMLResponse)
def get_vehicles(request: Request, services: TheServices) -> HTMLResponse:
    """Where does the fleet stand?"""
    return page_of(request, services, "vehicles", "vehicles.html", vehicles.vehicle_list)


@router.get("/vehicles/{node}", response_class=HTMLResponse)
def get_vehicle(request: Request, node: str, services: TheServices) -> HTMLResponse:
    """How does this vehicle do?"""

    def ask(view: View) -> dict[str, Any]:
        return vehicles.vehicle(view, thing_of(view, node, Vehicle))

    return page_of(request, services, "vehicles", "vehicle.html", ask)


@router.get("/collector", response_class=HTMLResponse)
def get_collector(request: Request, services: TheServices) -> HTMLResponse:
    """Is everything accounted for?"""
    wanted = request.query_params.get("line", "")
    return page_of(request, services, "collector", "collector.html", lambda view: collector.collector(view, wanted))


def thing_of(view: View, node: str, kind: type) -> Any:
    """The configured thing of an id and kind; NotThere if there is none."""
    thing = view.services.installation.by_id.get(node)
    if not isinstance(thing, kind):
        raise NotThere(node[:64], "is not configured", "see the lists of buildings, meters and vehicles")
    return thing


def json_of(data: Any) -> Response:
    """A small JSON document."""
    return Response(msgspec.json.encode(data), media_type="application/json")


def zoom_of(request: Request) -> Period | None:
    """The part zoomed into: `from` and `to` in seconds since 1970."""
    try:
        start, end = (round(float(request.query_params[key]) * 1e6) for key in ("from", "to"))
    except (KeyError, ValueError, OverflowError):
        return None
    return Period(start, end) if 0 <= start < end <= 8 * 10**15 else None


@router.get("/page/use/{node}/{name}")
def get_use(request: Request, node: str, name: str, services: TheServices) -> Response:
    """Consumption for a chart."""
    view = view_of(request, services)
    view.memo["expected"] = request.query_params.get("expected") == "1"
    return json_of(charts.use_chart(view, scope_of(services, node), node, name, zoom_of(request)))


@router.get("/page/heat/{node}/{name}")
def get_heat(request: Request, node: str, name: str, services: TheServices) -> Response:
    """A year, hour by day."""
    view = view_of(request, services)
    return json_of(charts.heat_chart(view, scope_of(services, node), node, name))


@router.get("/page/readings/{node}/{name}")
def get_readings(request: Request, node: str, name: str, services: TheServices) -> Response:
    """Readings of a point for a chart."""
    view = view_of(request, services)
    device = charts.device_of(view, node)
    point = next((p for p in services.store.points() if p.meter == node and point_text(p) == name), None)
    if device is None or point is None:
        raise NotThere(f'"{node[:64]}"', "has no such readings", "choose one of the points on the meter's page")
    return json_of(charts.readings_chart(view, device, point, zoom_of(request)))


def news(view: View, node: str) -> dict[str, Any]:
    """What a page shows of this moment."""
    now = power_now(view, scope_of(view.services, node), node)
    return {
        "power": {"value": now.value, "at": now.at / 1e6 if now.at is not None else None, "stale": now.stale},
        "needs": len(needs_of(view)),
    }


@router.get("/page/live/{node}")
async def get_live(request: Request, node: str, services: TheServices) -> StreamingResponse:
    """The figures of this moment, whenever they change (server-sent events)."""
    view = view_of(request, services)
    points = [point for _, _, point in power_points(view, scope_of(services, node), node)]
    services.live.check_room()

    async def events() -> AsyncIterator[str]:
        yield "retry: 5000\n\n"
        with services.live.listen(points) as subscription:
            yield f"data: {msgspec.json.encode(await run_in_threadpool(news, view, node)).decode()}\n\n"
            async for changes in subscription.changes(LIVE_PERIOD_S, HEARTBEAT_S):
                if not await run_in_threadpool(still_may, request, request.app.state.services):
                    return
                current = view_of(request, request.app.state.services)
                data = await run_in_threadpool(news, current, node)
                kind = "data" if changes or data["power"]["stale"] else "event: quiet\ndata"
                yield f"{kind}: {msgspec.json.encode(data).decode()}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})
