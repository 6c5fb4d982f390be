"""Commands about access: users, API keys, the audit log. Through a Meterhall that runs, else into the ledger."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from api.access import Access
    from devices.settings import Settings
    from storage.ledger.access import By

OK, FAILED, INVALID = 0, 1, 2
Config = Annotated[Path, typer.Option("--config", help="the configuration folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead of words")]
Name = Annotated[str, typer.Argument(help="letters a to z, digits and . _ @ -")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    users = typer.Typer(help="Who may sign in at the page.", no_args_is_help=True)
    users.command("add")(users_add)
    users.command("list")(users_list)
    users.command("disable")(users_disable)
    users.command("reset")(users_reset)
    app.add_typer(users, name="users")
    keys = typer.Typer(help="Keys for programs: collectors, Prometheus, scripts.", no_args_is_help=True)
    keys.command("add")(keys_add)
    keys.command("list")(keys_list)
    keys.command("revoke")(keys_revoke)
    app.add_typer(keys, name="keys")
    app.command("audit")(audit)


def users_add(
    name: Name,
    config: Config,
    right: Annotated[str, typer.Option(help="read, or admin: everything")] = "read",
    as_json: AsJson = False,
) -> None:
    """A new user; prints the link by which they choose their password, good once and for a day."""
    settings = _settings(config)
    if right not in ("read", "admin"):
        typer.echo(f'--right: is "{right}"; use read or admin', err=True)
        raise typer.Exit(INVALID)
    made = _done(
        settings,
        lambda ask: ask("POST", "/api/v1/users", {"name": name, "right": right}),
        lambda access, by: {"name": name, "code": access.add_user(name, right, by)},
    )
    _tell_link(settings, made, as_json)


def users_list(config: Config, as_json: AsJson = False) -> None:
    """Who may sign in."""
    rows = _done(
        _settings(config),
        lambda ask: ask("GET", "/api/v1/users?tz=UTC"),
        lambda access, _by: [
            {
                "name": row.name,
                "right": row.right,
                "state": "disabled" if row.disabled_at else "active" if row.password else "no password yet",
                "created_at": _iso(row.created_at),
                "seen_at": _iso(row.seen_at),
            }
            for row in access.users()
        ],
    )
    _table(rows, ("name", "right", "state", "seen_at"), as_json, "nobody: meterhall users add NAME --right admin")


def users_disable(name: Name, config: Config, as_json: AsJson = False) -> None:
    """Sign somebody out everywhere and let them in no more; `users reset` undoes it."""
    _done(
        _settings(config),
        lambda ask: ask("POST", f"/api/v1/users/{_quoted(name)}/disable"),
        lambda access, by: access.disable_user(name, by),
    )
    typer.echo(json.dumps({"name": name}) if as_json else f"{name} is signed out, and cannot sign in")


def users_reset(name: Name, config: Config, as_json: AsJson = False) -> None:
    """Make somebody's password void; prints the link by which they choose another."""
    settings = _settings(config)
    made = _done(
        settings,
        lambda ask: ask("POST", f"/api/v1/users/{_quoted(name)}/reset"),
        lambda access, by: {"name": name, "code": access.reset_user(name, by)},
    )
    _tell_link(settings, made, as_json)


def keys_add(
    name: Name,
    config: Config,
    scope: Annotated[list[str], typer.Option(help="read, write:ingest (send readings), admin; may be repeated")],
    days: Annotated[int, typer.Option(min=0, max=36_500, help="good for so long; 0: until it is revoked")] = 0,
    as_json: AsJson = False,
) -> None:
    """A new key; it is printed once, and only a hash of it is kept."""
    until = datetime.now(UTC) + timedelta(days=days) if days else None
    made = _done(
        _settings(config),
        lambda ask: ask(
            "POST",
            "/api/v1/keys",
            {"name": name, "scopes": scope, "expires_at": until.isoformat() if until else None},
        ),
        lambda access, by: {
            "name": name,
            "key": access.add_key(name, scope, round(until.timestamp() * 1e6) if until else None, by).key,
        },
    )
    typer.echo(json.dumps({"name": made["name"], "key": made["key"]}) if as_json else made["key"])


def keys_list(config: Config, as_json: AsJson = False) -> None:
    """The keys: visible beginning, scopes, last use; never a key itself."""
    rows = _done(
        _settings(config),
        lambda ask: ask("GET", "/api/v1/keys?tz=UTC"),
        lambda access, _by: [
            {
                "name": row.name,
                "prefix": f"mhk_{row.prefix}",
                "scopes": list(row.scopes),
                "created_at": _iso(row.created_at),
                "expires_at": _iso(row.expires_at),
                "used_at": _iso(row.used_at),
                "revoked_at": _iso(row.revoked_at),
            }
            for row in access.list_keys()
        ],
    )
    columns = ("name", "prefix", "scopes", "expires_at", "used_at", "revoked_at")
    _table(rows, columns, as_json, "none: meterhall keys add NAME --scope read")


def keys_revoke(name: Name, config: Config, as_json: AsJson = False) -> None:
    """A key opens nothing any more, at once."""
    _done(
        _settings(config),
        lambda ask: ask("DELETE", f"/api/v1/keys/{_quoted(name)}"),
        lambda access, by: access.revoke_key(name, by),
    )
    typer.echo(json.dumps({"name": name}) if as_json else f"{name} is revoked")


def audit(
    config: Config,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="the newest so many")] = 100,
    as_json: AsJson = False,
) -> None:
    """Who did what: sign-ins, refusals, users, keys, changes."""
    rows = _done(
        _settings(config),
        lambda ask: ask("GET", f"/api/v1/audit?tz=UTC&limit={limit}"),
        lambda access, _by: [
            {"at": _iso(row.at), "who": row.who, "address": row.address, "what": row.what, "subject": row.subject}
            for row in access.audited(None, limit)
        ],
    )
    _table(rows, ("at", "who", "address", "what", "subject"), as_json, "nothing yet")


Ask = Callable[..., Any]


def _settings(config: Path) -> Settings:
    from meterhall.configuring import read_or_exit

    return read_or_exit(config)


def _done(settings: Settings, there: Callable[[Ask], Any], here: Callable[[Access, By], Any]) -> Any:
    """Through the server that holds the data folder, or into the ledger itself; mistakes end the command."""
    from functools import partial

    from api.access import Access
    from meterhall.node import hold_folder, open_ledger
    from meterhall.running import ask, is_running
    from metering.explain import ExplainedError
    from storage.ledger.access import By
    from storage.store import StoreUnavailable

    try:
        if is_running(settings):
            return there(partial(ask, settings))
        with hold_folder(settings.data):
            ledger = open_ledger(settings)
            try:
                return here(Access(ledger.access), By(f"command line {getpass.getuser()}"))
            finally:
                ledger.close()
    except (ExplainedError, StoreUnavailable) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from None


def _tell_link(settings: Settings, made: dict[str, Any], as_json: bool) -> None:
    from meterhall.exposure import link_of

    link = link_of(settings, made["code"])
    words = f"{made['name']} chooses a password here (good once, for a day):\n{link}"
    typer.echo(json.dumps({"name": made["name"], "link": link}) if as_json else words)


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool, empty: str) -> None:
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        typer.echo(empty)
        return
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(columns)]
    for line in ([name.removesuffix("_at") for name in columns], *cells):
        typer.echo("  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return "-" if value is None or value == "" else " ".join(value) if isinstance(value, list) else str(value)


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _iso(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="seconds")
