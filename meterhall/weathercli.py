"""`meterhall weather`: a station's temperature from a file, or from the service weather.toml names."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

weather = typer.Typer(help="Outdoor temperature of weather stations.", no_args_is_help=True)
Config = Annotated[Path, typer.Option("--config", help="the configuration folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead of words")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(weather, name="weather")


@weather.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="a CSV file, .gz too", exists=True, dir_okay=False)],
    config: Config,
    station: Annotated[str, typer.Option(help="id of the station, a meter of site.toml")],
    column: Annotated[str, typer.Option(help="the column that holds the temperature")] = "temperature",
    unit: Annotated[str, typer.Option(help="its unit")] = "degC",
    time: Annotated[str, typer.Option(help="the column that holds the time")] = "time",
    timezone: Annotated[str, typer.Option(help="IANA zone of times without an offset; empty: the site's")] = "",
    as_json: AsJson = False,
) -> None:
    """Import a station's temperature from a file; what is there already is counted, not doubled."""
    from meterhall.configuring import read_or_exit
    from meterhall.importing import import_csv
    from metering.explain import ExplainedError

    mapped = [f"{column}=outdoor_temperature:{unit}"]
    try:
        report = import_csv(
            read_or_exit(config), file, meter=station, columns=mapped, time_column=time, timezone=timezone
        )
    except ExplainedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    typer.echo(json.dumps(report.as_dict(), ensure_ascii=False) if as_json else report.words())
    raise typer.Exit(1 if report.rejected else 0)


@weather.command()
def fetch(
    config: Config,
    days: Annotated[int, typer.Option(min=1, max=3660, help="how many days back")] = 14,
    station: Annotated[str, typer.Option(help="only this one; default: all of weather.toml")] = "",
    as_json: AsJson = False,
) -> None:
    """Ask the services of weather.toml now; beside a running Meterhall, too."""
    from meterhall.configuring import read_or_exit
    from meterhall.importing import ImportReport, store_rows
    from meterhall.stations import fetch_days
    from metering.clock import from_us, now_us
    from metering.explain import ExplainedError

    settings = read_or_exit(config)
    wanted = [each for each in settings.fetches if station in ("", each.station)]
    if not wanted:
        typer.echo("weather.toml names no such station; see docs/calendar-and-weather.md", err=True)
        raise typer.Exit(2)
    now, report = now_us(), ImportReport()
    last = from_us(now).date()
    try:
        for each in wanted:
            found = fetch_days(settings.installation, each, last - timedelta(days=days), last, now)
            report.rows += len(found.rows) + found.empty + found.future + found.refused
            report.values += len(found.rows)
            report.empty += found.empty
            if found.refused:
                report.rejected["range"] += found.refused
            store_rows(settings, found.rows, report)
    except ExplainedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(report.as_dict(), ensure_ascii=False) if as_json else report.words())
