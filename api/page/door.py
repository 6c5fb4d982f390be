"""The way in: sign in, sign out, and choosing a password by a one-time link.

The code of a link stands behind the # of its address, which browsers never send: it is in no log of a server or proxy.
A script puts it into the form; without scripts it can be pasted.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from api.access import Access, Opened, Wrong
from api.deps import PUBLIC, TheServices, address_of, cookie_name, refuse_strange_pages, who_asks
from api.errors import Busy, NotThere, Refused
from api.page.shell import remember_wishes, surroundings, templates, view_of
from api.passwords import SHORTEST
from api.services import Services

FORM_BYTES = 8192

router = APIRouter(include_in_schema=False, dependencies=[PUBLIC])


def access_of(services: Services) -> Access:
    """The access control; NotThere where there is none."""
    if services.access is None:
        raise NotThere("sign-in", "is not needed here", "open the page")
    return services.access


def inside(path: str) -> str:
    """A path of this server to go to, whatever was given: nobody is sent elsewhere from here."""
    return path if re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", path) and len(path) < 2000 else "/"


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that was sent by a page of ours."""
    refuse_strange_pages(request, None)
    body = await request.body()
    if len(body) > FORM_BYTES:
        raise Refused("the form", "is too long", "shorten it")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=10, errors="strict"))
    except ValueError:
        raise Refused("the form", "cannot be read", "send it from the page") from None


def door(request: Request, services: Services, template: str, status: int = 200, **data: Any) -> HTMLResponse:
    """A page before the sign-in: it says nothing of what is inside."""
    view = view_of(request, services)
    around = surroundings(request, view, **({"next": data["next"]} if data.get("next", "/") != "/" else {}))
    html = templates().get_template(template).render(**around, least=SHORTEST, **data)
    response = HTMLResponse(html, status_code=status, headers={"vary": "cookie, accept-language"})
    remember_wishes(request, response)
    return response


def let_in(services: Services, opened: Opened, to: str) -> Response:
    """Into the page, with the session's cookie."""
    response = RedirectResponse(to, 303)
    response.set_cookie(
        cookie_name(services), opened.cookie, max_age=opened.lasts_s, path="/", secure=services.secure, httponly=True,
        samesite="lax",
    )  # fmt: skip
    return response


@router.get("/sign-in", response_class=HTMLResponse)
def get_sign_in(request: Request, services: TheServices, next: str = "/") -> Response:
    """Name and password."""
    access_of(services)
    if who_asks(request, services) is not None:
        return RedirectResponse(inside(next), 303)
    return door(request, services, "sign_in.html", next=inside(next), name="", wrong="")


@router.post("/sign-in", response_class=HTMLResponse)
async def sign_in(request: Request, services: TheServices) -> Response:
    """Begin a session."""
    access, form = access_of(services), await form_of(request)
    name, to = form.get("name", ""), inside(form.get("next", "/"))
    old, address = request.cookies.get(cookie_name(services), ""), address_of(request, services)
    try:
        opened = await run_in_threadpool(access.sign_in, name, form.get("password", ""), address, old)
    except (Wrong, Busy) as error:
        key = "busy" if isinstance(error, Busy) else "wrong"
        return await run_in_threadpool(
            door, request, services, "sign_in.html", error.status, next=to, name=name[:64], wrong=key
        )
    return let_in(services, opened, to)


@router.post("/sign-out")
async def sign_out(request: Request, services: TheServices) -> Response:
    """End the session."""
    access = access_of(services)
    who = await run_in_threadpool(who_asks, request, services)
    refuse_strange_pages(request, who)
    cookie = request.cookies.get(cookie_name(services))
    if cookie and who is not None:
        await run_in_threadpool(access.sign_out, cookie, who, address_of(request, services))
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(cookie_name(services), path="/", secure=services.secure, httponly=True, samesite="lax")
    response.headers["clear-site-data"] = '"cache"'
    return response


@router.get("/set-up", response_class=HTMLResponse)
def get_set_up(request: Request, services: TheServices) -> Response:
    """The code of a one-time link."""
    access_of(services)
    return door(request, services, "set_up.html", code="", owner="", wrong="", known=False, name="")


@router.post("/set-up", response_class=HTMLResponse)
async def set_up(request: Request, services: TheServices) -> Response:
    """First the code, then name and password."""
    access, form = access_of(services), await form_of(request)
    code, name, password = form.get("code", "").strip(), form.get("name", ""), form.get("password")
    good, owner = await run_in_threadpool(access.owner_of, code)
    status, wrong = 200, "" if good else "used"
    if good and password is not None:
        address = address_of(request, services)
        try:
            if password != form.get("again"):
                raise Refused("again", "is not the same", "type it twice")
            mine = await run_in_threadpool(access.set_password, code, name, password, address)
            return let_in(services, await run_in_threadpool(access.sign_in, mine, password, address), "/")
        except Refused as error:
            status = error.status
            wrong = {Busy: "busy", Wrong: "used"}.get(type(error), error.where)
    return await run_in_threadpool(
        door, request, services, "set_up.html", status if good else 401, code=code if good else "", owner=owner,
        wrong=wrong, known=good, name=name[:64],
    )  # fmt: skip
