"""InfluxDB for docker-compose.yml: bucket and mapping, and for each reader a token that opens no more than it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meterhall.stack.vault import Vault
from metering.explain import ExplainedError
from storage.influx.address import Address
from storage.influx.client import Client
from storage.influx.setup import client_2, prepare
from storage.store import StoreUnavailable

# What each reader does in the bucket.
READERS: Mapping[str, tuple[str, ...]] = {
    "server": ("read", "write"),
    "grafana": ("read",),
}
TOKEN = "influx-token"  # noqa: S105


def prepare_influx(vault: Vault, address: Address) -> list[str]:
    """Prepare the server that `address` means (with the admin's token), and give each reader its own token.

    Done again, tokens that still open the bucket stay as they are. Returns what was done, in words.

    Raises
    ------
    ExplainedError
        If something is missing on the server, or it does not answer.
    """
    steps = prepare(address)
    missing = [step for step in steps if step.state == "missing"]
    if missing:
        raise ExplainedError(str(address), f"has no {missing[0].what}", missing[0].mend)
    said = [f"InfluxDB: {step.what}" for step in steps if step.state == "done"]
    for reader, rights in READERS.items():
        name = f"{TOKEN}-{reader}"
        token, fresh = vault.keep(name, lambda reader=reader, rights=rights: _new_token(address, reader, rights))  # type: ignore[misc]
        if not fresh and not _opens(replace(address, token=token)):
            token = _new_token(address, reader, rights)
            vault.give(reader, TOKEN, token, anew=True)  # first: cut short here, all of it is done once more
            vault.replace(name, token)
            said.append(f"InfluxDB: another token for {reader}, the one before opened nothing")
        if vault.give(reader, TOKEN, token):
            said.append(f"InfluxDB: a token of {reader}'s own, to {' and '.join(rights)}")
    return said


def _new_token(address: Address, reader: str, rights: tuple[str, ...]) -> str:
    """A token for the bucket alone; older ones of this reader are deleted."""
    from influxdb_client import Permission, PermissionResource
    from influxdb_client.rest import ApiException

    description = f"meterhall {reader}"
    with client_2(address) as client:
        try:
            bucket = client.buckets_api().find_bucket_by_name(address.database)
            if bucket is None:
                raise ExplainedError(str(address), f"has no bucket {address.database}", "look at the server's log")
            tokens = client.authorizations_api()
            for old in tokens.find_authorizations(org_id=bucket.org_id):
                if old.description == description:
                    tokens.delete_authorization(old)
            resource = PermissionResource(type="buckets", id=bucket.id, org_id=bucket.org_id)
            return _make(tokens, bucket.org_id, description, [Permission(each, resource) for each in rights])
        except ApiException as error:
            raise ExplainedError(
                str(address),
                f"gives no token: {error.status} {error.reason}",
                "see its log; is this the admin's token?",
            ) from None


def _make(tokens: Any, org: str, description: str, permissions: list[Any]) -> str:
    from influxdb_client import Authorization

    made = tokens.create_authorization(
        authorization=Authorization(org_id=org, permissions=permissions, description=description)
    )
    return str(made.token)


def _opens(address: Address) -> bool:
    """May the bucket be read with this token?"""
    client = Client(address)
    try:
        list(client.query("SHOW MEASUREMENTS LIMIT 1"))
        return True
    except StoreUnavailable:
        return False
    finally:
        client.close()
