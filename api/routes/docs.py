"""The OpenAPI file, and a plain page that lists the routes; nothing from another host."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from api.deps import READ

router = APIRouter(tags=["docs"], dependencies=[READ])
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 24px 16px;
  color: #1a2127; background: #f4f6f7; }
h1 { font-size: 24px; } h2 { font-size: 18px; margin-top: 32px; }
article { background: #fff; border: 1px solid #dde2e6; border-radius: 6px; padding: 12px 16px; margin: 8px 0; }
code { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; } a { color: #0b62c4; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 2px 16px 2px 0; vertical-align: top; }
p { white-space: pre-line; margin: 4px 0 8px; }
@media (prefers-color-scheme: dark) {
  body { color: #e8ecef; background: #0e1215; } article { background: #14181c; border-color: #2a3239; }
  a { color: #5aa2f5; } }
"""


@router.get("/openapi.json", include_in_schema=False)
def get_openapi(request: Request) -> dict[str, Any]:
    """The OpenAPI file."""
    document: dict[str, Any] = request.app.openapi()
    return document


@router.get("/docs/style.css", include_in_schema=False)
def get_style() -> Response:
    """The style of the list of routes."""
    return Response(STYLE, media_type="text/css; charset=utf-8", headers={"cache-control": "max-age=3600"})


@router.get("/docs", include_in_schema=False)
def get_docs(request: Request) -> HTMLResponse:
    """Every route, from the OpenAPI file."""
    document = request.app.openapi()
    parts: list[str] = []
    last = ""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or [""])[0]
            if tag != last:
                parts.append(f"<h2>{escape(tag)}</h2>")
                last = tag
            parts.append(_route(method.upper(), path, operation))
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(document["info"]["title"])} API</title><link rel="stylesheet" href="/docs/style.css"></head>'
        f"<body><h1>{escape(document['info']['title'])} API</h1><p>{escape(document['info']['description'])}</p>"
        '<p>The same for machines: <a href="/openapi.json">openapi.json</a></p>' + "".join(parts) + "</body></html>"
    )


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{'needed' if each.get('required') else ''}</td><td>{escape(each.get('description', ''))}</td></tr>"
        for each in operation.get("parameters", [])
    )
    table = f"<table>{rows}</table>" if rows else ""
    description = escape(operation.get("description", ""))
    return f"<article><code><b>{method}</b> {escape(path)}</code><p>{description}</p>{table}</article>"
