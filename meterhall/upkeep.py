"""Commands for running it for years: backup, restore, doctor and the like."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from devices.settings import Settings
    from meterhall.remarks import Remark

OK, FAILED, INVALID = 0, 1, 2
Config = Annotated[Path, typer.Option("--config", help="the configuration folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead of words")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(backup)
    app.command()(restore)
    app.command("reload")(reload_)
    app.command()(doctor)
    quarantine = typer.Typer(help="Look at rejected payloads, and try them again.", no_args_is_help=True)
    quarantine.command("list")(quarantine_list)
    quarantine.command("show")(quarantine_show)
    quarantine.command("replay")(quarantine_replay)
    app.add_typer(quarantine, name="quarantine")
    service = typer.Typer(help="Run it as a service of systemd.", no_args_is_help=True)
    service.command("install")(service_install)
    service.command("uninstall")(service_uninstall)
    app.add_typer(service, name="service")
    broker_app = typer.Typer(help="Look after an MQTT broker.", no_args_is_help=True)
    broker_app.command("check")(broker_check)
    app.add_typer(broker_app, name="broker")


def backup(
    target: Annotated[Path, typer.Argument(help="a folder that is not there yet")],
    config: Config,
    as_json: AsJson = False,
) -> None:
    """Copy everything that lasts into a folder, while it runs or while it is stopped."""
    from meterhall.backup import make_backup, refuse_used
    from meterhall.configuring import read_or_exit
    from meterhall.node import FolderInUse, open_node
    from metering.explain import ExplainedError

    settings = read_or_exit(config)
    with _explained(as_json), _bar("Backing up") as told:
        refuse_used(target)
        if not settings.data.is_dir():
            raise ExplainedError(str(settings.data), "is not there", "nothing has run on this configuration yet")
        try:
            with open_node(settings) as node:
                readings = make_backup(node, target, told)["readings"]
        except FolderInUse:
            readings = _backup_of_running(settings, target, told)
    _say(f"{readings:,} readings in {target}", {"backup": str(target), "readings": readings}, as_json)


def _backup_of_running(settings: Settings, target: Path, told: Callable[[int, int], None]) -> int:
    """The running server makes it inside the data folder; then it is taken to its place."""
    import shutil
    import time

    from meterhall.backup import FOLDER, read_manifest, verify
    from meterhall.running import ask
    from metering.explain import ExplainedError
    from storage.copying import sync_tree

    name = ask(settings, "POST", "/api/v1/backups")["name"]
    while True:
        found = next(each for each in ask(settings, "GET", "/api/v1/backups") if each["name"] == name)
        told(found["done_bytes"], max(1, found["total_bytes"]))
        if found["state"] != "running":
            break
        time.sleep(0.1)
    if found["state"] == "failed":
        raise ExplainedError(str(settings.data), found["note"], "see the log of the server")
    made = settings.data / FOLDER / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rmdir()  # it is empty: seen before
        shutil.move(made, target)  # a rename, or a copy to another disk
        manifest = read_manifest(target)
        verify(target, manifest, told)
        sync_tree(target)
    except OSError as error:
        raise ExplainedError(
            str(target), f"cannot take the backup: {error}", f"it is whole in {made}: move it from there"
        ) from None
    return int(manifest["readings"])


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="a folder that `meterhall backup` made")],
    config: Config,
    force: Annotated[bool, typer.Option("--force", help="also where data is: it is kept aside in the folder")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the data folder; Meterhall must be stopped."""
    from meterhall.configuring import read_or_exit
    from meterhall.restore import restore_backup

    settings = read_or_exit(config)
    with _explained(as_json), _bar("Restoring") as told:
        found = restore_backup(settings, source, force=force, told=told)
    words = f"{found['readings']:,} readings of {found['made_at']} in {settings.data}"
    if found["pending_messages"]:
        words += f"; {found['pending_messages']:,} messages wait in the spool and are stored at the next start"
    if found["replaced"]:
        words += f"\nwhat was there is kept in {found['replaced']}"
    _say(words, {"data": str(settings.data), **found}, as_json)


UnitFolder = Annotated[Path, typer.Option(help="where units lie")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print what would be written, and write nothing")]


def service_install(
    config: Config,
    user: Annotated[str, typer.Option(help="who it runs as; never root")] = "meterhall",
    unit_folder: UnitFolder = Path("/etc/systemd/system"),
    dry_run: DryRun = False,
) -> None:
    """Write a systemd unit, and print what to type."""
    from meterhall.configuring import read_or_exit
    from meterhall.service import commands, install, unit_of

    settings = read_or_exit(config)
    with _explained(False):
        if dry_run:
            typer.echo(unit_of(settings, user))
        else:
            typer.echo(f"wrote {install(settings, unit_folder, user)}")
        typer.echo("Next:")
        for line in commands(settings, user):
            typer.echo(f"  {line}")


def service_uninstall(
    config: Config, unit_folder: UnitFolder = Path("/etc/systemd/system"), dry_run: DryRun = False
) -> None:
    """Remove the systemd unit; data and configuration stay."""
    from meterhall.service import NAME, removal_commands, uninstall

    with _explained(False):
        path = unit_folder / NAME if dry_run else uninstall(unit_folder)
        typer.echo(f"{'would remove' if dry_run else 'removed'} {path}; {config} and its data stay")
        typer.echo("If it runs:")
        for line in removal_commands():
            typer.echo(f"  {line}")


Source = Annotated[str, typer.Option(help="only of this source, as in the books")]
Reason = Annotated[str, typer.Option(help="only those rejected for this reason")]


def quarantine_list(
    config: Config,
    source: Source = "",
    reason: Reason = "",
    limit: Annotated[int, typer.Option(min=1, help="the newest so many")] = 50,
    as_json: AsJson = False,
) -> None:
    """List rejected payloads, newest first."""
    from meterhall.configuring import read_or_exit
    from meterhall.rejected import rejected, words_of

    with _explained(as_json), rejected(read_or_exit(config)) as there:
        rows = list(there.rows(source, reason, limit))
    _say("\n".join(map(words_of, rows)) or "nothing is in quarantine", {"rows": rows}, as_json)


def quarantine_show(
    entry: Annotated[int, typer.Argument(min=0, help="its number in the list")], config: Config, as_json: AsJson = False
) -> None:
    """Show one rejected payload: why, and what it held."""
    from meterhall.configuring import read_or_exit
    from meterhall.rejected import rejected, words_of

    with _explained(as_json), rejected(read_or_exit(config)) as there:
        row = there.one(entry)
    _say(f"{words_of(row)}\n{row['text']}", row, as_json)


def quarantine_replay(
    config: Config,
    entries: Annotated[list[int] | None, typer.Argument(min=0, help="numbers in the list")] = None,
    source: Source = "",
    reason: Reason = "",
    everything: Annotated[bool, typer.Option("--all", help="all that were not tried again yet")] = False,
    as_json: AsJson = False,
) -> None:
    """Put rejected payloads into the spool again, after a mapping or a profile was mended."""
    from meterhall.configuring import read_or_exit
    from meterhall.rejected import rejected

    if bool(entries) == bool(source or reason or everything):
        typer.echo("name entries by number, or --source, --reason or --all", err=True)
        raise typer.Exit(INVALID)
    with _explained(as_json), rejected(read_or_exit(config)) as there:
        ids = entries or sorted(row["id"] for row in there.rows(source, reason, None) if not row["replayed"])
        done = there.replay(ids)
    words = f"{done['taken']} of {len(ids)} were put into the spool again"
    if "decoded" in done:
        words += f": {done['decoded']} are readings now, {done['rejected_again']} were rejected again"
    if done["taken"] < len(ids):
        words += "; of the others only the beginning was kept, or they are not there"
    _say(words, {"asked": len(ids), **done}, as_json)


def broker_check(
    file: Annotated[Path, typer.Argument(help="the broker's mosquitto.conf")],
    version: Annotated[str, typer.Option(help="of Mosquitto, e.g. 2.0.18; empty: the one on this machine")] = "",
    as_json: AsJson = False,
) -> None:
    """Explain what a Mosquitto's settings can lose, and what avoids it; exit code 1 if they lose readings."""
    from meterhall.broker import find_mosquitto
    from meterhall.brokercheck import check_broker, installed_version, parse_version

    with _explained(as_json):
        program = find_mosquitto()
        known = parse_version(version) if version else installed_version(program) if program else None
        _report(check_broker(file, known), as_json)


def reload_(config: Config, as_json: AsJson = False) -> None:
    """Let the running Meterhall take the configuration as it is on disk now: all of it, or nothing."""
    from meterhall.configuring import read_or_exit
    from meterhall.running import ask

    settings = read_or_exit(config)
    with _explained(as_json):
        changed = ask(settings, "POST", "/api/v1/reload")["changed"]
    _say("reloaded: " + (", ".join(changed) or "nothing is different"), {"changed": changed}, as_json)


def doctor(config: Config, as_json: AsJson = False) -> None:
    """Look at an installation, running or stopped, and say what to do; exit code 1 if something is broken."""
    from meterhall.doctor import examine

    _report(examine(config), as_json)


def _report(remarks: Iterable[Remark], as_json: bool) -> None:
    """Print remarks, the worst last; exit code 1 if one is broken."""
    from meterhall.remarks import as_json as rows_of

    rows = list(remarks)
    order = ("ok", "warning", "broken")
    rows.sort(key=lambda each: order.index(each.state))
    _say("\n".join(map(str, rows)), rows_of(rows), as_json)
    if any(each.state == "broken" for each in rows):
        raise typer.Exit(FAILED)


def _say(words: str, data: dict[str, Any], as_json: bool) -> None:
    import json

    typer.echo(json.dumps(data, ensure_ascii=False) if as_json else words)


@contextlib.contextmanager
def _explained(as_json: bool) -> Iterator[None]:
    """An error a person can act on becomes a line on stderr, or JSON, and exit code 1."""
    from metering.explain import ExplainedError

    try:
        yield
    except ExplainedError as problem:
        if as_json:
            _say("", {"error": {"where": problem.where, "what": problem.what, "mend": problem.mend}}, True)
        else:
            typer.echo(str(problem), err=True)
        raise typer.Exit(FAILED) from None


@contextlib.contextmanager
def _bar(words: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, on terminals only; give it what is done, of how much."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
