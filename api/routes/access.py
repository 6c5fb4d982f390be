"""Users, API keys, and who did what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from api import schemas
from api.access import Access, Who
from api.asking import BODY, Tz, refusals, zone_or
from api.deps import ADMIN, TheServices, address_of
from api.errors import NotThere
from api.periods import iso
from api.services import Services
from metering.clock import to_us
from storage.ledger.access import By, KeyRow, UserRow

UserName = Annotated[str, Path(max_length=64)]

router = APIRouter(prefix="/api/v1", tags=["access"], dependencies=[ADMIN])


def access_of(services: Services) -> Access:
    """The access control; NotThere where there is none."""
    if services.access is None:
        raise NotThere("access control", "is not there", "only admin.token opens what is not open")
    return services.access


def by(request: Request, services: Services) -> By:
    """Who asks, for the audit log."""
    who: Who = request.state.who
    return By(str(who), address_of(request, services))


def _shown(row: KeyRow, services: Services, tz: str | None) -> schemas.KeyOut:
    zone = zone_or(services, tz)

    def said(at: int | None) -> str | None:
        return None if at is None else iso(at, zone)

    return schemas.KeyOut(
        name=row.name,
        prefix=f"mhk_{row.prefix}",
        scopes=list(row.scopes),
        created_at=iso(row.created_at, zone),
        expires_at=said(row.expires_at),
        used_at=said(row.used_at),
        revoked_at=said(row.revoked_at),
    )


@router.get("/keys", responses=refusals(404))
def list_keys(services: TheServices, tz: Tz = None) -> list[schemas.KeyOut]:
    """API keys by name, also revoked ones; never a key itself, of which only a hash is kept."""
    return [_shown(each, services, tz) for each in access_of(services).list_keys()]


@router.post("/keys", status_code=201, responses=refusals(*BODY, 404))
def add_key(request: Request, services: TheServices, asked: schemas.KeyIn, tz: Tz = None) -> schemas.NewKeyOut:
    """A new key. It is in this answer, and never shown again."""
    until = None if asked.expires_at is None else to_us(asked.expires_at)
    made = access_of(services).add_key(asked.name, asked.scopes, until, by(request, services))
    return schemas.NewKeyOut(key=made.key, **_shown(made.row, services, tz).model_dump())


@router.delete("/keys/{name}", status_code=204, responses=refusals(404))
def revoke_key(request: Request, services: TheServices, name: Annotated[str, Path(max_length=64)]) -> None:
    """It opens nothing any more, at once; a key of the same name can be made anew."""
    access_of(services).revoke_key(name, by(request, services))


def _user(row: UserRow, services: Services, tz: str | None) -> schemas.UserOut:
    zone = zone_or(services, tz)
    return schemas.UserOut(
        name=row.name,
        right=row.right,  # type: ignore[arg-type]
        state="disabled" if row.disabled_at is not None else "active" if row.password else "no password yet",
        created_at=iso(row.created_at, zone),
        seen_at=None if row.seen_at is None else iso(row.seen_at, zone),
    )


@router.get("/users", responses=refusals(404))
def list_users(services: TheServices, tz: Tz = None) -> list[schemas.UserOut]:
    """Who may sign in."""
    return [_user(each, services, tz) for each in access_of(services).users()]


@router.post("/users", status_code=201, responses=refusals(*BODY, 404))
def add_user(request: Request, services: TheServices, asked: schemas.UserIn) -> schemas.LinkOut:
    """A new user, and the link by which they choose their password."""
    code = access_of(services).add_user(asked.name, asked.right, by(request, services))
    return schemas.LinkOut(name=asked.name, code=code)


@router.post("/users/{name}/disable", status_code=204, responses=refusals(404))
def disable_user(request: Request, services: TheServices, name: UserName) -> None:
    """They are signed out everywhere and not let in again, until a reset."""
    access_of(services).disable_user(name, by(request, services))


@router.post("/users/{name}/reset", status_code=201, responses=refusals(404))
def reset_user(request: Request, services: TheServices, name: UserName) -> schemas.LinkOut:
    """Their password is void, and this link lets them choose another."""
    return schemas.LinkOut(name=name, code=access_of(services).reset_user(name, by(request, services)))


@router.get("/audit", responses=refusals(404))
def list_audit(
    services: TheServices,
    before: Annotated[int | None, Query(ge=1, le=1 << 62, description="only ids below this one")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    tz: Tz = None,
) -> list[schemas.AuditOut]:
    """Who signed in, was refused, made or revoked a key, changed something: newest first."""
    zone = zone_or(services, tz)
    return [
        schemas.AuditOut(
            id=row.id, at=iso(row.at, zone), who=row.who, address=row.address, what=row.what, subject=row.subject
        )
        for row in access_of(services).audited(before, limit)
    ]
