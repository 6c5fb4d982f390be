"""Prepares a server: database or bucket, retention, mapping; and says in words what it cannot do.

What only 2.x has (buckets, mappings) goes through influxdb-client; 1.x is asked in InfluxQL, 3.x over its own route.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from metering.explain import ExplainedError
from storage.influx.address import Address
from storage.influx.client import Client, QueryRefused
from storage.store import StoreUnavailable

_NAME = re.compile(r"[\w.-]{1,64}")


class Step(NamedTuple):
    """One thing that was looked at: `done` (made now), `present`, or `missing` with what mends it."""

    state: Literal["done", "present", "missing"]
    what: str
    mend: str = ""


def prepare(address: Address, *, retention_days: int = 0) -> list[Step]:
    """Make what is missing on a server, as far as it and the token allow.

    With 0 days a new database keeps all for ever, and the retention of one that is there is left alone.

    Raises
    ------
    ExplainedError
        If the database's name cannot be one, the server does not answer, or what answers is no InfluxDB.
    """
    if not _NAME.fullmatch(address.database) or address.database.startswith("_"):
        raise ExplainedError(
            "store.url",
            f"names the database {address.database!r}",
            "use letters, digits, dots, dashes and underscores, not beginning with an underscore",
        )
    client = Client(address)
    try:
        version = client.version()
        if version.startswith("1."):
            steps = _prepare_1(client, address.database, retention_days)
        elif version.startswith("2."):
            steps = _prepare_2(address, retention_days)
        elif version.startswith("3."):
            steps = _prepare_3(address, retention_days)
        else:
            raise ExplainedError(
                str(address), f"answers with the version {version!r}", "give the address of an InfluxDB 1.x, 2.x or 3.x"
            )
        steps = [Step("present", f"InfluxDB {version} at {address}"), *steps]
        if retention_days:
            steps.append(
                Step(
                    "missing",
                    f"intervals for ever: they stand beside the readings and go with them after {retention_days} days",
                    "make a database without a retention if monthly and yearly figures are to stay",
                )
            )
        return [*steps, *_check(client)]
    except StoreUnavailable as error:
        raise ExplainedError(str(address), str(error), "see that the server runs and lets this user in") from None
    finally:
        client.close()


def _check(client: Client) -> list[Step]:
    """Can it be written and read?"""
    steps = []
    try:
        client.write(b"meterhall_setup,check=setup ok=1 0")
        steps.append(Step("present", "the database can be written"))
    except StoreUnavailable as error:
        steps.append(Step("missing", f"the database cannot be written: {error}", "give the token write access"))
    try:
        list(client.query('SELECT "ok" FROM "meterhall_setup" WHERE time >= 0 AND time < 1'))
        steps.append(Step("present", "the database can be read in InfluxQL"))
    except StoreUnavailable as error:
        steps.append(Step("missing", f"the database cannot be read: {error}", "give the token read access"))
    return steps


def _prepare_1(client: Client, database: str, retention_days: int) -> list[Step]:
    names = [row[0] for piece in client.manage("SHOW DATABASES") for row in piece.values]
    present = database in names
    try:
        if not present:
            client.manage(f'CREATE DATABASE "{database}"')
        if retention_days:
            client.manage(f'ALTER RETENTION POLICY "autogen" ON "{database}" DURATION {retention_days}d')
    except QueryRefused as error:
        return [
            Step("missing", f"the database {database}: {error}", "give the user all rights, or let an admin make it")
        ]
    return [Step("present" if present else "done", f"the database {database}"), *_retention(retention_days)]


def _prepare_2(address: Address, retention_days: int) -> list[Step]:
    with client_2(address) as client:
        from influxdb_client import BucketRetentionRules
        from influxdb_client.rest import ApiException

        buckets = client.buckets_api()
        rules = [BucketRetentionRules(type="expire", every_seconds=retention_days * 86_400)]
        try:
            bucket = buckets.find_bucket_by_name(address.database)
            if bucket is None:
                if not address.org:
                    return [Step("missing", f"the bucket {address.database}", "name the organisation: ?org=")]
                bucket = buckets.create_bucket(
                    bucket_name=address.database, org=address.org, retention_rules=rules if retention_days else None
                )
                step = Step("done", f"the bucket {address.database}")
            else:
                if retention_days:
                    bucket.retention_rules = rules
                    buckets.update_bucket(bucket)
                step = Step("present", f"the bucket {address.database}")
            return [step, *_retention(retention_days), _map(client, address, bucket)]
        except ApiException as error:
            return [
                Step(
                    "missing",
                    f"the bucket {address.database}: {_reason(error)}",
                    "use a token that may read and write buckets, or make the bucket by hand; afterwards a token "
                    "with read and write access to this one bucket is enough",
                )
            ]


def _map(client: Any, address: Address, bucket: Any) -> Step:
    """A mapping from the database's name to the bucket; the server makes one by itself unless another is in the way."""
    from influxdb_client import DBRPCreate
    from influxdb_client.rest import ApiException
    from influxdb_client.service.dbr_ps_service import DBRPsService

    service = DBRPsService(client.api_client)
    what = f"the mapping of the database {address.database} to its bucket"
    try:
        found = service.get_dbr_ps(org_id=bucket.org_id, db=address.database).content or []
        default = [mapping for mapping in found if mapping.default]
        if any(mapping.bucket_id == bucket.id for mapping in default):
            return Step("present", what)
        if default:
            return Step(
                "missing",
                f"{what}: it leads to another bucket",
                "delete that mapping, or use a database of another name",
            )
        service.post_dbrp(
            DBRPCreate(
                bucket_id=bucket.id,
                org_id=bucket.org_id,
                database=address.database,
                retention_policy="autogen",
                default=True,
            )
        )
        return Step("done", what)
    except ApiException as error:
        return Step("missing", f"{what}: {_reason(error)}", "harmless if the database can be read, see below")


@contextlib.contextmanager
def client_2(address: Address) -> Iterator[Any]:
    from influxdb_client import InfluxDBClient

    options = {"ssl_ca_cert": address.ca_file} if address.ca_file else {}
    with InfluxDBClient(
        url=address.http_url, token=address.token, org=address.org or "-", timeout=30_000, **options
    ) as c:
        yield c


def _reason(error: Any) -> str:
    with contextlib.suppress(ValueError, TypeError):
        return str(json.loads(error.body)["message"])
    return str(error.reason or error)


def _prepare_3(address: Address, retention_days: int) -> list[Step]:
    steps = []
    body: dict[str, Any] = {"db": address.database}
    if retention_days:
        body["retention_period"] = f"{retention_days}d"
    status, words = _post_3(address, "/api/v3/configure/database", body)
    if status == 200:
        steps += [Step("done", f"the database {address.database}"), *_retention(retention_days)]
    elif status == 409:
        steps.append(Step("present", f"the database {address.database}"))
        if retention_days:
            steps.append(
                Step(
                    "missing",
                    f"retention of {retention_days} days",
                    f"set it by hand: influxdb3 update database --database {address.database} "
                    f"--retention-period {retention_days}d",
                )
            )
    else:
        steps.append(
            Step("missing", f"the database {address.database}: {words}", "use an admin token; 3 Core holds 5 databases")
        )
    return [
        *steps,
        Step(
            "missing",
            "long ranges: 3 Core opens 432 files for one query (72 h of dense data)",
            "start it with --query-file-limit 20000, or use InfluxDB 2.x on one machine, 3 Enterprise beyond it",
        ),
        Step(
            "missing",
            "deleting single rows, and overwriting them off a grid of 15 minutes",
            "nothing to do: derived rows stand on that grid and carry void, conflicts are served from the local file",
        ),
    ]


def _post_3(address: Address, path: str, body: dict[str, Any]) -> tuple[int, str]:
    import ssl

    if address.tls:
        context = ssl.create_default_context(cafile=address.ca_file or None)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            address.host, address.port, timeout=30, context=context
        )
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    headers = {"Content-Type": "application/json"}
    if address.token:
        headers["Authorization"] = f"Token {address.token}"
    try:
        connection.request("POST", path, json.dumps(body).encode(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(4000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise StoreUnavailable(f"{address}: {error}") from error
    finally:
        connection.close()


def _retention(retention_days: int) -> list[Step]:
    return [Step("done", f"retention of {retention_days} days")] if retention_days else []
