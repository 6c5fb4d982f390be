"""Errors as problem documents (RFC 9457): what is wrong, where, and the mend."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_problem.error import Problem, StatusProblem
from fastapi_problem.handler import add_exception_handler, new_exception_handler

from api.live import TooManyListeners
from metering.explain import ExplainedError
from storage.store import StoreUnavailable

log = logging.getLogger("meterhall.api")
PROBLEM_TYPE = "application/problem+json"


class Refused(ExplainedError):
    """The request cannot be served as asked (422)."""

    status = 422
    type = "refused"


class NotThere(Refused):
    """No such site, meter, quantity or entry (404)."""

    status = 404
    type = "not-found"


class Busy(Refused):
    """Too much is asked at once (429); try again."""

    status = 429
    type = "busy"


class TooSlow(Exception):
    """A download took longer than it may: the connection is cut, so that the client sees it is not whole."""


class Unexpected(StatusProblem):
    """A fault of ours: the log has it, the reply says nothing of the inside."""

    title = "Something went wrong here"
    status = 500
    type_ = "unexpected"

    def __init__(self, _detail: str | None = None, **_: Any) -> None:
        super().__init__("The fault is in the log of the server; what is stored is not touched by it.")


def problem_of(error: ExplainedError) -> Problem:
    """The problem document of an error a person can act on."""
    status = error.status if isinstance(error, Refused) else 429 if isinstance(error, TooManyListeners) else 503
    type_ = error.type if isinstance(error, Refused) else "busy" if status == 429 else "unavailable"
    headers = {"retry-after": "5"} if status in (429, 503) else None
    return Problem(
        HTTPStatus(status).phrase,
        type_=type_,
        detail=str(error),
        status=status,
        headers=headers,
        where=error.where,
        what=error.what,
        mend=error.mend,
    )


def problem_bytes(status: int, type_: str, detail: str) -> bytes:
    """A problem document for what is refused before any route is reached."""
    document = {"type": type_, "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps(document, separators=(",", ":")).encode()


def _explained(_handler: Any, _request: Request, error: ExplainedError) -> Problem:
    return problem_of(error)


def _invalid(_handler: Any, _request: Request, error: RequestValidationError) -> Problem:
    """What a parameter or body field should be; without what was sent, which may be large or secret."""
    errors = [
        {"where": ".".join(map(str, each["loc"])), "what": str(each["msg"]), "type": str(each["type"])}
        for each in error.errors()[:20]
    ]
    first = errors[0] if errors else {"where": "request", "what": "is not valid"}
    return Problem(
        "Unprocessable Content",
        type_="refused",
        status=422,
        detail=f"{first['where']}: {first['what']}; see /docs for what is expected",
        where=first["where"],
        what=first["what"],
        mend="see /docs for what is expected",
        errors=errors,
    )


def _store_unavailable(_handler: Any, _request: Request, error: StoreUnavailable) -> Problem:
    log.error("the store is unavailable: %s", error)
    return problem_of(
        ExplainedError("store", "can give nothing now", "look at /health/ready, and try again in some seconds")
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of the app a problem document, those of the framework too."""
    handler = new_exception_handler(
        logger=log,
        unhandled_wrappers={"default": Unexpected},
        request_validation_handler=_invalid,
        handlers={ExplainedError: _explained, StoreUnavailable: _store_unavailable},
    )
    add_exception_handler(app, handler, generic_swagger_defaults=False)
    app.add_exception_handler(ExplainedError, handler)
    app.add_exception_handler(StoreUnavailable, handler)
