"""Configuration folders from the command line: write one, read one, or say what is wrong with it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import typer

from collector.decoders import list_known_profiles, profile_protocols
from devices.catalog import ConfigurationError, load_settings
from devices.settings import Settings

TEMPLATES = ("meterhall.toml", "site.toml", "factors.toml")


def write_templates(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the commented templates into a folder; what is there is kept. (written, kept)"""
    folder.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for name in TEMPLATES:
        path = folder / name
        if path.exists():
            kept.append(path)
        else:
            path.write_text(
                files("meterhall").joinpath("templates", name).read_text(encoding="utf-8"), encoding="utf-8"
            )
            written.append(path)
    return written, kept


def read_settings(folder: Path) -> Settings:
    """The settings of a folder, profiles checked. Raises ConfigurationError with every mistake."""
    return load_settings(folder, profile_ids=profile_protocols)


def read_or_exit(folder: Path) -> Settings:
    """The settings, or the mistakes on stderr and exit code 2: nothing is opened before."""
    try:
        return read_settings(folder)
    except ConfigurationError as error:
        typer.echo(f"{folder} cannot be used:", err=True)
        for problem in error.problems:
            typer.echo(f"  {problem}", err=True)
        raise typer.Exit(2) from None


def list_profiles() -> list[dict[str, Any]]:
    """Each shipped profile: id, protocol, manufacturer, model, source."""
    return list_known_profiles()
