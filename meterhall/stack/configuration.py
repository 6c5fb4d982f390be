"""The configuration that docker-compose.yml begins with: the simulated town, or templates to fill in."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from pathlib import Path

from meterhall.configuring import TEMPLATES

FIRST_LINE = 15020  # the Modbus ports of the simulated town, one after another
LINE = re.compile(r"127\.0\.0\.1:\$\{(LINE_[A-Z0-9_]+)\}")
HOST = "${METERHALL_SIMULATORS}"


def write_configuration(folder: Path, *, demo: bool) -> list[str]:
    """Write a configuration where there is none; returns what was written, in words. What is there is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"meterhall.toml": _template("stack.toml")}
    if not (folder / "site.toml").exists():
        if demo:
            bureau = files("simulators").joinpath("bureau")
            for name in ("factors.toml", "story.toml"):
                wanted[name] = bureau.joinpath(name).read_text(encoding="utf-8")
            wanted["site.toml"] = in_containers(bureau.joinpath("site.toml").read_text(encoding="utf-8"))
        else:
            wanted |= {name: _template(name) for name in TEMPLATES if name != "meterhall.toml"}
    written = [name for name in wanted if not (folder / name).exists()]
    for name in written:
        (folder / name).write_text(wanted[name], encoding="utf-8")
        (folder / name).chmod(0o644)
        if os.geteuid() == 0:
            os.chown(folder / name, folder.stat().st_uid, folder.stat().st_gid)  # of whoever will edit it
    return [f"Configuration: wrote {', '.join(sorted(written))}"] if written else []


def in_containers(site: str) -> str:
    """The simulated town's site.toml with its Modbus lines in another container, each at a port of its own."""
    lines = sorted(set(LINE.findall(site)))
    ports = {name: FIRST_LINE + i for i, name in enumerate(lines)}
    return LINE.sub(lambda found: f"{HOST}:{ports[found.group(1)]}", site)


def _template(name: str) -> str:
    return files("meterhall").joinpath("templates", name).read_text(encoding="utf-8")
