"""The page's routes of incidents: the list, one of them, and the chart of its evidence."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from api.deps import READ, TheServices
from api.page import incidents
from api.page.routes import json_of, page_of, view_of

router = APIRouter(include_in_schema=False, dependencies=[READ])
Number = Annotated[int, Path(ge=0, le=2**62)]


@router.get("/incidents", response_class=HTMLResponse)
def get_incidents(request: Request, services: TheServices, show: str = "", node: str = "") -> HTMLResponse:
    """What is not usual, and what does it cost?"""
    return page_of(
        request, services, "today", "incidents.html", lambda view: incidents.incident_list(view, show, node[:128])
    )


@router.get("/incidents/{number}", response_class=HTMLResponse)
def get_incident(request: Request, number: Number, services: TheServices) -> HTMLResponse:
    """What speaks for this incident?"""
    return page_of(request, services, "today", "incident.html", lambda view: incidents.incident(view, number))


@router.get("/page/incident/{number}")
def get_evidence(request: Request, number: Number, services: TheServices) -> Response:
    """The hours around an incident for a chart."""
    return json_of(incidents.evidence_chart(view_of(request, services), number))
