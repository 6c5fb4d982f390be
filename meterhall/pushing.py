"""Puts data source and dashboards into a Grafana, over its HTTP interface: as often as wanted, nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaUnauthorizedError
from niquests.exceptions import RequestException

from metering.explain import ExplainedError
from storage.influx.address import Address

SOURCE_UID = "meterhall-influxdb"  # as the dashboards' variable has it
FOLDERS = {"en": "Meterhall", "zh": "Meterhall 中文"}
TIMEOUT_S = 20.0
Credential = str | tuple[str, str] | None
Json = dict[str, Any]


class Pushed(NamedTuple):
    """One thing that was looked at: `made`, `changed`, `present`, or `left` with the reason."""

    state: Literal["made", "changed", "present", "left"]
    what: str
    reason: str = ""


def push(
    url: str,
    credential: Credential,
    source: Mapping[str, Any],
    *,
    languages: tuple[str, ...] = ("en", "zh"),
    dry_run: bool = False,
    again: bool = False,
) -> Iterator[Pushed]:
    """Make or change what differs: the data source, a folder a language, the dashboards in it.

    Parameters
    ----------
    url : of Grafana
    credential : a service account's token, or (user, password)
    source : see `data_source`
    dry_run : only say what would be done
    again : write the data source even if it looks the same: its secret cannot be read back

    Raises
    ------
    ExplainedError
        If Grafana is not there, does not let us in, or refuses.
    """
    grafana = _open(url, credential)
    try:
        yield _push_source(grafana, source, dry_run=dry_run, again=again)
        for language in languages:
            folder = f"meterhall-{language}"
            yield _push_folder(grafana, folder, FOLDERS[language], dry_run=dry_run)
            for board in dashboards(language):
                yield _push_board(grafana, board, folder, language, dry_run=dry_run)
    except GrafanaUnauthorizedError:
        raise ExplainedError(
            url,
            "does not let us in",
            "give the token of a service account with the role Admin (it makes a data source)",
        ) from None
    except GrafanaException as error:
        raise ExplainedError(
            url, f"refuses: {error.message}", "see Grafana's log, and the rights of the token"
        ) from None
    except (RequestException, OSError) as error:
        raise ExplainedError(url, f"cannot be reached: {error}", "is Grafana up, and the address right?") from None
    finally:
        grafana.client.s.close()


def _open(url: str, credential: Credential) -> GrafanaApi:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ExplainedError("--url", "is no address of a Grafana", "write http://host:3000; no secret in it")
    return GrafanaApi.from_url(url, credential=credential, timeout=TIMEOUT_S)


def dashboards(language: str) -> list[Json]:
    """The shipped dashboards of a language, by name."""
    folder = files("grafana").joinpath("dashboards", language)
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".json")), key=lambda entry: entry.name)
    return [json.loads(entry.read_text("utf-8")) for entry in found]


def data_source(address: Address, *, url: str = "", token: str = "", user: str = "", password: str = "") -> Json:
    """The data source of a store's database, as Grafana has it.

    url : of the InfluxDB as Grafana reaches it; empty: as we do
    token, or user and password : may only read, best of all; empty: the store's own
    """
    out: Json = {
        "uid": SOURCE_UID,
        "name": "Meterhall",
        "type": "influxdb",
        "access": "proxy",
        "url": url or address.http_url,
        "database": address.database,
        "basicAuth": False,
        "jsonData": {"dbName": address.database, "httpMode": "POST", "version": "InfluxQL", "timeInterval": "1m"},
    }
    user, password = (user, password) if user or token else (address.user, address.password)
    token = token or ("" if user else address.token)
    if token:
        out["jsonData"]["httpHeaderName1"] = "Authorization"
        out["secureJsonData"] = {"httpHeaderValue1": f"Token {token}"}
    elif user:
        out["user"] = user
        out["secureJsonData"] = {"password": password}
    return out


def _asked(ask: Callable[[], Json]) -> Json | None:
    """What Grafana has; None if it has no such thing."""
    try:
        return ask()
    except GrafanaClientError as error:
        if error.status_code == 404:
            return None
        raise


def _push_source(grafana: GrafanaApi, source: Mapping[str, Any], *, dry_run: bool, again: bool) -> Pushed:
    what = f"the data source {source['name']}, {source['url']}, database {source['database']}"
    found = _asked(lambda: grafana.datasource.get_datasource_by_uid(source["uid"]))
    if found is None:
        if not dry_run:
            grafana.datasource.create_datasource(dict(source))
        return Pushed("made", what)
    if found.get("readOnly"):
        return Pushed("left", what, "it was provisioned from a file: change it there")
    secrets = set(source.get("secureJsonData", {}))
    has = {key for key, is_set in (found.get("secureJsonFields") or {}).items() if is_set}
    differs = any(found.get(key) != value for key, value in source.items() if key not in ("secureJsonData", "jsonData"))
    differs |= any((found.get("jsonData") or {}).get(key) != value for key, value in source["jsonData"].items())
    if not differs and secrets <= has and not again:
        return Pushed("present", what)
    if not dry_run:
        more = {"version": found["version"]} if "version" in found else {}
        kept = {**(found.get("jsonData") or {}), **source["jsonData"]}
        grafana.datasource.update_datasource_by_uid(source["uid"], {**source, "jsonData": kept, **more})
    return Pushed("changed", what)


def _push_folder(grafana: GrafanaApi, uid: str, title: str, *, dry_run: bool) -> Pushed:
    what = f"the folder {title}"
    if _asked(lambda: grafana.folder.get_folder(uid)) is not None:
        return Pushed("present", what)  # whatever people call it
    if not dry_run:
        grafana.folder.create_folder(title, uid=uid)
    return Pushed("made", what)


def _push_board(grafana: GrafanaApi, board: Json, folder: str, language: str, *, dry_run: bool) -> Pushed:
    what = f"the dashboard {board['title']} ({language})"
    found = _asked(lambda: grafana.dashboard.get_dashboard(board["uid"]))
    meta = (found or {}).get("meta", {})
    if meta.get("provisioned"):
        return Pushed("left", what, "it was provisioned from a file: change it there")
    if found is not None and _same(found["dashboard"], board) and meta.get("folderUid", folder) == folder:
        return Pushed("present", what)
    if not dry_run:
        body = {
            "dashboard": {**board, "id": None},
            "folderUid": folder,
            "message": "meterhall grafana push",
            "overwrite": True,
        }
        grafana.dashboard.update_dashboard(body)
    return Pushed("made" if found is None else "changed", what)


def _same(found: Mapping[str, Any], board: Mapping[str, Any]) -> bool:
    """Is what Grafana has what is shipped, but for the numbers that it gives itself?"""
    own = ("id", "version")
    return {k: v for k, v in found.items() if k not in own} == {k: v for k, v in board.items() if k not in own}
