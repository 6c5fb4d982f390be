"""Commands about databases: prepare an InfluxDB, move from one store to another, bring dashboards into a Grafana."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from devices.settings import Settings

Config = Annotated[Path, typer.Option("--config", help="the configuration folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead of words")]
OK, FAILED, INVALID = 0, 1, 2


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    influx = typer.Typer(help="Prepare an InfluxDB.", no_args_is_help=True)
    influx.callback()(_group)
    influx.command("setup")(setup)
    app.add_typer(influx, name="influx")
    app.command("migrate")(migrate)
    grafana = typer.Typer(help="Bring data source and dashboards into a Grafana.", no_args_is_help=True)
    grafana.callback()(_grafana_group)
    grafana.command("push")(push)
    app.add_typer(grafana, name="grafana")


def _group() -> None:
    """Prepare an InfluxDB."""


def _grafana_group() -> None:
    """Bring data source and dashboards into a Grafana."""


def push(
    config: Config,
    url: Annotated[str, typer.Option(help="of Grafana")] = "http://127.0.0.1:3000",
    token_file: Annotated[
        Path | None, typer.Option(help="a service account's token, role Admin; else GRAFANA_TOKEN")
    ] = None,
    influx_url: Annotated[str, typer.Option(help="of the InfluxDB as Grafana reaches it; empty: as we do")] = "",
    influx_token_file: Annotated[
        Path | None, typer.Option(help="a token that may read the database; else the store's own")
    ] = None,
    language: Annotated[list[str] | None, typer.Option(help="en, zh; may be repeated; both if left out")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="write the data source anew: after a change of its token")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make or change data source, folders and dashboards; what is there already is left alone."""
    from meterhall import pushing
    from meterhall.configuring import read_or_exit
    from metering.explain import ExplainedError
    from storage.influx.address import parse_address

    settings = read_or_exit(config)
    languages = tuple(language or pushing.FOLDERS)
    done: list[pushing.Pushed] = []
    try:
        if unknown := set(languages) - set(pushing.FOLDERS):
            raise ExplainedError("--language", f'is "{min(unknown)}"', f"use {' or '.join(pushing.FOLDERS)}")
        source = pushing.data_source(
            parse_address(settings.store_url),
            url=influx_url,
            token=_secret_of(influx_token_file, ""),
        )
        credential = _secret_of(token_file, os.environ.get("GRAFANA_TOKEN", "").strip())
        if not credential:
            raise ExplainedError("--token-file", "is missing", "make a service account in Grafana and give its token")
        for step in pushing.push(url, credential, source, languages=languages, dry_run=dry_run, again=again):
            done.append(step)
            if not as_json:
                typer.echo(f"{step.state:8} {step.what}" + (f"\n         {step.reason}" if step.reason else ""))
    except ExplainedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(INVALID) from None
    if as_json:
        typer.echo(json.dumps([step._asdict() for step in done], ensure_ascii=False))
    elif dry_run:
        typer.echo("Nothing was changed: --dry-run.")


def _secret_of(file: Path | None, otherwise: str) -> str:
    """The secret in a file. ExplainedError if it cannot be read or holds none."""
    from metering.explain import ExplainedError

    if file is None:
        return otherwise
    try:
        found = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ExplainedError(str(file), f"cannot be read: {error}", "let the user who runs this read it") from None
    if not found or not found.isprintable():
        raise ExplainedError(str(file), "holds no secret", "write the secret alone into it, on one line")
    return found


def setup(
    config: Config,
    retention_days: Annotated[
        int, typer.Option(min=0, help="keep readings and intervals so long; 0: leave it as it is")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Make the database or bucket that store.url names, and say what the server cannot do."""
    from meterhall.configuring import read_or_exit
    from metering.explain import ExplainedError
    from storage.influx.address import parse_address
    from storage.influx.setup import prepare

    settings = read_or_exit(config)
    try:
        steps = prepare(parse_address(settings.store_url), retention_days=retention_days)
    except ExplainedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(INVALID) from None
    if as_json:
        typer.echo(json.dumps([step._asdict() for step in steps], ensure_ascii=False))
    else:
        for step in steps:
            typer.echo(f"{step.state:8} {step.what}" + (f"\n         -> {step.mend}" if step.mend else ""))
    blocking = any(step.state == "missing" and "database" in step.what for step in steps)
    raise typer.Exit(FAILED if blocking else OK)


def migrate(
    target: Annotated[
        str,
        typer.Argument(help="where to: a store (influxdb://, duckdb://), or a database for the ledger (postgresql://)"),
    ],
    config: Config,
    as_json: AsJson = False,
) -> None:
    """Move everything from the configured store into another; stopped, it goes on where it was.

    With postgresql:// it is the ledger that moves; its password is the one of [ledger] in meterhall.toml.
    """
    from contextlib import closing
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import Progress

    from meterhall.configuring import read_or_exit
    from meterhall.migrate import migrate as move
    from metering.explain import ExplainedError
    from storage.opening import duckdb_url, open_store
    from storage.store import StoreUnavailable

    settings = read_or_exit(config)
    if target.startswith("postgresql://"):
        raise typer.Exit(_move_ledger(settings, target, as_json=as_json))
    data = settings.data
    console = Console(stderr=True)
    try:
        url = settings.store_url or duckdb_url(data / "meterhall.duckdb")
        if target == url:
            raise ExplainedError("the target", "is the store that is configured", "name another one")
        with (
            closing(open_store(url, folder=data)) as source,
            closing(open_store(target, folder=data)) as to,
            Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
        ):
            task = bar.add_task("Moving", total=None)

            def told(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total)

            report = move(source, to, data / "migration.json", told)
    except (ExplainedError, StoreUnavailable) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(INVALID if isinstance(error, ExplainedError) else FAILED) from None
    typer.echo(json.dumps(asdict(report), ensure_ascii=False) if as_json else report.words())
    if report.is_whole and not as_json:
        typer.echo("All of it is there. Now name the new store in meterhall.toml: [store] url")
    raise typer.Exit(OK if report.is_whole else FAILED)


def _move_ledger(settings: Settings, target: str, *, as_json: bool) -> int:
    """Move the ledger into a database; returns the exit code."""
    from contextlib import closing

    from meterhall.node import hold_folder, open_ledger
    from metering.explain import ExplainedError
    from storage.ledger.ledger import Ledger
    from storage.ledger.moving import move_ledger
    from storage.store import StoreUnavailable

    try:
        if target == settings.ledger_url:
            raise ExplainedError("the target", "is the ledger that is configured", "name another one")
        with (
            hold_folder(settings.data),
            closing(open_ledger(settings)) as source,
            closing(Ledger.open(target, settings.ledger_password.reveal())) as to,
        ):
            moved = move_ledger(source, to)
    except (ExplainedError, StoreUnavailable) as error:
        typer.echo(str(error), err=True)
        return INVALID if isinstance(error, ExplainedError) else FAILED
    if as_json:
        typer.echo(json.dumps(moved))
        return OK
    typer.echo(", ".join(f"{count} {name}" for name, count in moved.items()))
    typer.echo("All of it is there. Now name the database in meterhall.toml: [ledger] url")
    return OK
