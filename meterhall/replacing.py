"""A data folder that is replaced by a restored one: each step can be gone on from after a crash.

`restoring.new/` is being copied: void until it is whole. `restoring/`: whole; everything else in the folder is old
and goes aside. `restored/`: the old is aside, its entries move up into the folder.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from metering.clock import from_us, now_us
from storage.files import OS_FILES

FRESH, RESTORING, RESTORED = "restoring.new", "restoring", "restored"
ASIDE = "replaced-"
STAYS = ("admin.token", "backups", "logs")


def what_is_old(data: Path) -> list[str]:
    """The entries of a data folder that a restored one replaces."""
    return [
        name
        for name in OS_FILES.names(data)
        if name not in (FRESH, RESTORING, RESTORED, *STAYS) and not name.startswith(ASIDE)
    ]


def finish(data: Path) -> Path | None:
    """Go on with a replacement that was begun, if there is one; returns where the old entries are now, if any."""
    aside = None
    shutil.rmtree(data / FRESH, ignore_errors=True)
    if (data / RESTORING).is_dir():
        old = what_is_old(data)
        if old:
            aside = data / f"{ASIDE}{from_us(now_us()):%Y%m%dT%H%M%SZ}"
            OS_FILES.make_folder(aside)
            for name in old:
                os.replace(data / name, aside / name)
            OS_FILES.sync_folder(aside)
        os.replace(data / RESTORING, data / RESTORED)
        OS_FILES.sync_folder(data)
    if (data / RESTORED).is_dir():
        for name in OS_FILES.names(data / RESTORED):
            os.replace(data / RESTORED / name, data / name)
        OS_FILES.sync_folder(data)
        (data / RESTORED).rmdir()
        OS_FILES.sync_folder(data)
    return aside
