"""Backups of the running system: one moment of everything that lasts."""

from __future__ import annotations

from fastapi import APIRouter

from api import schemas
from api.asking import refusals
from api.deps import ADMIN, READ, TheServices
from api.errors import Busy, Refused
from api.services import BackupState
from metering.explain import ExplainedError

router = APIRouter(prefix="/api/v1", tags=["backups"])


def _shown(backup: BackupState) -> schemas.BackupOut:
    return schemas.BackupOut(
        name=backup.name,
        state=backup.state,
        done_bytes=backup.done_bytes,
        total_bytes=backup.total_bytes,
        note=backup.note,
        readings=backup.readings,
    )


@router.get("/backups", dependencies=[READ], responses=refusals())
def list_backups(services: TheServices) -> list[schemas.BackupOut]:
    """Backups in the data folder, newest first, and how far the one under way is."""
    return [_shown(each) for each in services.backups.list()] if services.backups else []


@router.post("/backups", dependencies=[ADMIN], status_code=202, responses=refusals(403, 429))
def start_backup(services: TheServices) -> schemas.BackupOut:
    """Begin a backup; follow it by its name in the list. `meterhall backup` does both, and takes it to its place."""
    if services.backups is None:
        raise Refused("backup", "cannot be made here", "ask where the data folder is")
    try:
        return _shown(services.backups.start())
    except ExplainedError as refusal:
        raise Busy(refusal.where, refusal.what, refusal.mend) from None
