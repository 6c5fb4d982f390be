"""What every page stands in: templates, assets, language, theme."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import Response

from api.page.numbers import THIN
from api.page.period import Filters
from api.page.view import View
from api.page.wording import LANGUAGES, pick_language, words
from api.periods import local_date, zone_of
from api.services import Services

HERE = Path(__file__).parent
THEMES = ("auto", "light", "dark")
YEAR_S = 31_536_000


@cache
def templates() -> jinja2.Environment:
    """The templates; everything is escaped, an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(asset=asset, thin=THIN)
    return environment


@cache
def asset(name: str) -> str:
    """A file's address with its fingerprint."""
    digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def view_of(request: Request, services: Services) -> View:
    """What this request's address, cookies and headers ask for."""
    sites = services.installation.sites
    site = next((s for s in sites if s.id == request.query_params.get("site")), sites[0] if sites else None)
    zone = site.timezone if site else "UTC"
    language = pick_language(
        request.query_params.get("lang"), request.cookies.get("lang"), request.headers.get("accept-language")
    )
    now = services.now()
    filters = Filters.read(request.query_params, local_date(now, zone_of(zone)), zone, language)
    return View(services, site, filters, words(language), now)


def theme_of(request: Request) -> str:
    """`auto`, `light` or `dark`, by address, else cookie."""
    for wish in (request.query_params.get("theme"), request.cookies.get("theme")):
        if wish in THEMES:
            return str(wish)
    return "auto"


def surroundings(request: Request, view: View, **own: str) -> dict[str, Any]:
    """Language and theme, and the links that change them; `own` stays in the address."""
    path, filters, theme = request.url.path, view.filters, theme_of(request)
    other = LANGUAGES[1 - LANGUAGES.index(view.language)]
    next_theme = THEMES[(THEMES.index(theme) + 1) % len(THEMES)]
    return {
        "view": view,
        "t": view.words,
        "lang": "zh-CN" if view.language == "zh" else "en",
        "theme": theme,
        "other_language": filters.link(path, **own, lang=other),
        "next_theme": (next_theme, filters.link(path, **own, theme=next_theme)),
        "version": view.services.version,
    }


def remember_wishes(request: Request, response: Response) -> None:
    """Keep the language and theme that the address asks for."""
    for key, allowed in (("lang", LANGUAGES), ("theme", THEMES)):
        if (wish := request.query_params.get(key)) in allowed:
            response.set_cookie(key, str(wish), max_age=YEAR_S, samesite="lax", httponly=True)
