"""The configuration, read again while everything runs."""

from __future__ import annotations

from fastapi import APIRouter

from api import schemas
from api.asking import refusals
from api.deps import ADMIN, TheServices
from api.errors import Refused
from devices.catalog import ConfigurationError
from metering.explain import ExplainedError

router = APIRouter(prefix="/api/v1", tags=["reload"])


@router.post("/reload", dependencies=[ADMIN], responses=refusals(403))
def reload(services: TheServices) -> schemas.ReloadOut:
    """Take the configuration as it is on disk now: all of it, or, on any mistake, nothing."""
    if services.reload is None:
        raise Refused("reload", "is not possible here", "ask where the collector runs")
    try:
        return schemas.ReloadOut(changed=list(services.reload()))
    except ConfigurationError as error:
        first, *others = error.problems
        more = f" (and {len(others)} mistakes more)" if others else ""
        raise Refused(first.where, f"{first.what}{more}; the old configuration goes on", first.mend) from None
    except ExplainedError as problem:
        raise Refused(problem.where, problem.what, problem.mend) from None
