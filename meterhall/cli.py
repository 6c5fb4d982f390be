"""The command line. Each command imports what it needs when it runs, so that `meterhall --help` is quick."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from meterhall import databases, people, upkeep, weathercli

app = typer.Typer(
    name="meterhall",
    help="Telemetry of buildings and official vehicles that auditors can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OK, FAILED, INVALID = 0, 1, 2
Folder = Annotated[Path, typer.Argument(help="the configuration folder")]
Config = Annotated[Path, typer.Option("--config", help="the configuration folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead of words")]


def say(words: str, data: dict[str, Any] | None = None, *, as_json: bool = False) -> None:
    """Print words for a person, or the same as JSON for a program."""
    typer.echo(json.dumps(data, ensure_ascii=False) if as_json and data is not None else words)


def fail(words: str, code: int = FAILED) -> typer.Exit:
    """An error on stderr, and the exit with its code."""
    typer.echo(words, err=True)
    return typer.Exit(code)


@app.command()
def init(folder: Folder) -> None:
    """Write a commented configuration to begin with."""
    from meterhall.configuring import write_templates

    written, kept = write_templates(folder)
    for path in written:
        typer.echo(f"wrote {path}")
    for path in kept:
        typer.echo(f"kept  {path} (it was there)")
    typer.echo(f"Next: edit them, then: meterhall check {folder}")


@app.command()
def check(folder: Folder, as_json: AsJson = False) -> None:
    """Validate a configuration: file, line, key, value found, and the mend."""
    from devices.catalog import ConfigurationError
    from meterhall.configuring import read_settings

    try:
        settings = read_settings(folder)
    except ConfigurationError as error:
        rows = [{"where": p.where, "what": p.what, "mend": p.mend} for p in error.problems]
        count = f"{len(rows)} mistake{'s' if len(rows) != 1 else ''} in {folder}:"
        say(
            "\n".join([count, *(f"  {problem}" for problem in error.problems)]),
            {"valid": False, "problems": rows},
            as_json=as_json,
        )
        raise typer.Exit(INVALID) from None
    found = settings.installation
    counts = {
        "sites": len(found.sites),
        "buildings": len(found.buildings),
        "meters": len(found.meters),
        "vehicles": len(found.vehicles),
        "brokers": len(settings.brokers),
    }
    words = ", ".join(f"{n} {name[:-1] if n == 1 else name}" for name, n in counts.items())
    say(f"Valid: {words}.", {"valid": True, **counts}, as_json=as_json)


@app.command()
def run(config: Config) -> None:
    """Collect, store and serve, in one process, until Ctrl-C."""
    from meterhall.configuring import read_or_exit
    from meterhall.run import run_until_stopped

    raise typer.Exit(run_until_stopped(read_or_exit(config)))


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="where page and API are served")] = 8420,
    data: Annotated[Path, typer.Option(help="the data folder, the only thing left behind")] = Path("demo-data"),
    days: Annotated[int, typer.Option(min=0, max=4000, help="days of history at the first start")] = 400,
) -> None:
    """Run the whole product with simulated meters and vehicles, until Ctrl-C."""
    from meterhall.demo import run_demo

    raise typer.Exit(run_demo(port=port, data=data, days=days))


@app.command()
def simulate(
    config: Config,
    seed: Annotated[int | None, typer.Option(help="another seed is another town")] = None,
    truth: Annotated[Path | None, typer.Option(help="where the ground truth of faults is written")] = None,
    size: Annotated[str, typer.Option(help="city: write a configuration of that size and load its history first")] = "",
    buildings: Annotated[int, typer.Option(min=1, help="of the city; each has ten meters and a vehicle")] = 300,
    days: Annotated[int, typer.Option(min=0, max=4000, help="of the city's history")] = 1096,
    broker: Annotated[str, typer.Option(help="where the city's vehicles publish")] = "mqtt://127.0.0.1:1883",
    first_port: Annotated[int, typer.Option(min=1024, help="of the city's Modbus lines")] = 15_020,
) -> None:
    """Answer as the meters and vehicles of a configuration: real Modbus sockets, real MQTT messages."""
    from meterhall.configuring import read_or_exit
    from meterhall.simulating import fill, make_city, simulate_until_stopped
    from metering.explain import ExplainedError

    if size not in ("", "city"):
        raise fail(f'--size: "{size}" is not known; use city, or leave it out for what the folder says', INVALID)
    if size:
        try:
            make_city(config, buildings=buildings, days=days, broker=broker, first_port=first_port)
            stored = fill(read_or_exit(config), days=days)
        except ExplainedError as error:
            raise fail(str(error), INVALID) from None
        say(f"{stored} readings of {days} days. Next, in another terminal: meterhall run --config {config}")
    raise typer.Exit(simulate_until_stopped(read_or_exit(config), truth=truth or config / "truth.json", seed=seed))


@app.command()
def profiles(as_json: AsJson = False) -> None:
    """List the device models that are known."""
    from meterhall.configuring import list_profiles

    rows = list_profiles()
    width = max(len(row["id"]) for row in rows)
    words = "\n".join(f"{row['id']:{width}}  {row['protocol']:7} {row['manufacturer']} {row['model']}" for row in rows)
    say(words, {"profiles": rows}, as_json=as_json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="a CSV file, .gz too", exists=True, dir_okay=False)],
    config: Config,
    meter: Annotated[str, typer.Option(help="the meter's id")],
    column: Annotated[
        list[str],
        typer.Option(
            help="a column and its quantity: COLUMN=QUANTITY[:UNIT][@PHASE], e.g. kwh=active_energy_import:kWh"
        ),
    ],
    time: Annotated[str, typer.Option(help="the column that holds the time")] = "time",
    timezone: Annotated[str, typer.Option(help="IANA zone of times without an offset; empty: the site's")] = "",
    as_json: AsJson = False,
) -> None:
    """Import historical readings; what is there already is counted, not doubled."""
    from meterhall.configuring import read_or_exit
    from meterhall.importing import import_csv
    from metering.explain import ExplainedError

    try:
        report = import_csv(
            read_or_exit(config), file, meter=meter, columns=column, time_column=time, timezone=timezone
        )
    except ExplainedError as error:
        raise fail(str(error), INVALID) from None
    say(report.words(), report.as_dict(), as_json=as_json)
    raise typer.Exit(FAILED if report.rejected else OK)


@app.command()
def version() -> None:
    """The version."""
    from importlib.metadata import version as installed

    typer.echo(f"meterhall {installed('meterhall')}")


upkeep.add_to(app)
databases.add_to(app)
weathercli.add_to(app)
people.add_to(app)


def main() -> None:
    """The console script."""
    try:
        app()
    except BrokenPipeError:
        sys.exit(OK)
