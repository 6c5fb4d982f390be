"""The page's routes of savings (the projects, one project's report, its chart) and of the calendar."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from api.deps import READ, TheServices
from api.page import days, savings
from api.page.routes import json_of, page_of
from api.page.shell import view_of

router = APIRouter(include_in_schema=False, dependencies=[READ])
Id = Annotated[str, Path(max_length=64)]


@router.get("/savings", response_class=HTMLResponse)
def get_savings(request: Request, services: TheServices) -> HTMLResponse:
    """What have we saved?"""
    return page_of(request, services, "buildings", "savings.html", savings.project_list)


@router.get("/savings/{project}", response_class=HTMLResponse)
def get_saving(request: Request, project: Id, services: TheServices) -> HTMLResponse:
    """What did this retrofit save, and how surely?"""
    return page_of(request, services, "buildings", "saving.html", lambda view: savings.project(view, project))


@router.get("/page/saving/{project}")
def get_saving_chart(request: Request, project: Id, services: TheServices) -> Response:
    """The reporting period for a chart."""
    return json_of(savings.saving_chart(view_of(request, services), project))


@router.get("/calendar", response_class=HTMLResponse)
def get_calendar(request: Request, services: TheServices, year: str = "") -> HTMLResponse:
    """Which days are worked?"""
    return page_of(request, services, "buildings", "calendar.html", lambda view: days.year_page(view, year[:4]))
