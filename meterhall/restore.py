"""A backup put in the place of a data folder; what was there is kept aside."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from devices.settings import Settings
from meterhall.backup import MANIFEST, Told, read_manifest, verify
from meterhall.node import FolderInUse, open_node
from meterhall.replacing import FRESH, RESTORING, finish, what_is_old
from metering.explain import ExplainedError
from storage.copying import copy_bytes, sync_tree
from storage.files import OS_FILES

NOT_DATA = ("configuration", MANIFEST)


def restore_backup(
    settings: Settings, backup: Path, *, force: bool = False, told: Told = lambda done, of: None
) -> dict[str, Any]:
    """Put a backup in the place of the data folder of a configuration, and open it.

    Parameters
    ----------
    force : also if the folder holds something, which goes into `replaced-<time>/` in it

    Returns
    -------
    `{"readings", "pending_messages", "position", "made_at", "replaced"}` of what is there now

    Raises
    ------
    ExplainedError
        If the backup is not whole or of a newer version, the folder is in use or not empty, the disk has not enough
        room: nothing was changed then.
    """
    if settings.store_url:
        raise ExplainedError(
            "store.url", "names a store outside the data folder", "restore into the embedded store: leave url empty"
        )
    manifest = read_manifest(backup)
    verify(backup, manifest, told)
    with contextlib.ExitStack() as closing:
        data = settings.data
        OS_FILES.make_folder(data)
        lock = OS_FILES.lock(data)
        if lock is None:
            raise FolderInUse(str(data), "is in use by a running Meterhall", "stop it first")
        closing.callback(os.close, lock)
        names = [name for name in manifest["sha256"] if Path(name).parts[0] not in NOT_DATA]
        finish(data)
        old = what_is_old(data)
        if old and not force:
            raise ExplainedError(
                str(data),
                f"is not empty ({', '.join(old[:3])}{', ...' if len(old) > 3 else ''})",
                "add --force: what is there is kept aside in it; or name an empty folder under [data]",
            )
        _copy_in(backup, data / FRESH, names)
        os.replace(data / FRESH, data / RESTORING)
        OS_FILES.sync_folder(data)
        aside = finish(data)
    with open_node(settings) as node:
        found = {
            "readings": node.store.count(),
            "pending_messages": sum(node.spool.pending(node.pipeline.position).values()),
            "position": str(node.pipeline.position),
            "made_at": manifest["began_at"],
            "replaced": str(aside) if aside else None,
        }
    if (found["readings"], found["position"]) != (manifest["readings"], manifest["position"]):
        raise ExplainedError(
            str(data),
            f"holds {found['readings']} readings up to {found['position']}, and the backup says "
            f"{manifest['readings']} up to {manifest['position']}",
            "use another backup",
        )
    return found


def _copy_in(backup: Path, fresh: Path, names: list[str]) -> None:
    """Copy the backup's files into a new folder, durably; the data folder's own files are not touched."""
    shutil.rmtree(fresh, ignore_errors=True)
    size = sum((backup / name).stat().st_size for name in names)
    free = shutil.disk_usage(fresh.parent).free
    if free < size:
        raise ExplainedError(
            str(fresh.parent), f"has {free:,} bytes free, and the backup takes {size:,}", "make room first"
        )
    try:
        OS_FILES.make_folder(fresh)
        for name in names:
            OS_FILES.make_folder((fresh / name).parent)
            copy_bytes(backup / name, fresh / name)
        sync_tree(fresh)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ExplainedError(
            str(fresh.parent), f"cannot be written: {error}", "nothing was changed; make room, or give rights"
        ) from None
