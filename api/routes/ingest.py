"""Batches of readings over HTTP: durable before the answer, each row answered for."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Request
from fastapi_problem.error import Problem

from api import schemas
from api.asking import BODY, refusals
from api.batches import read_batch
from api.deps import INGEST, TheServices
from api.errors import Refused
from api.services import Services
from metering.explain import ExplainedError

router = APIRouter(prefix="/api/v1", tags=["ingest"], dependencies=[INGEST])
SOURCE = "ingest"
KEYS = 10_000  # remembered Idempotency-Keys
JSON, NDJSON = "application/json", "application/x-ndjson"
BATCH: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["rows"],
                    "additionalProperties": False,
                    "properties": {"rows": {"type": "array", "items": schemas.RowIn.model_json_schema()}},
                }
            },
            NDJSON: {"schema": {"type": "string", "description": "the same rows, one a line"}},
        },
    }
}


class Keys:
    """Replies by Idempotency-Key: a repeated batch gets the reply of the first, and waits for it if need be.

    Lost with the process, which costs nothing: a reading is identified by point and time, so a batch
    that is taken again counts as repeated readings.
    """

    def __init__(self, at_most: int = KEYS) -> None:
        self._at_most = at_most
        self._known: OrderedDict[str, tuple[bytes, asyncio.Future[schemas.IngestOut]]] = OrderedDict()

    def find(self, key: str, digest: bytes) -> asyncio.Future[schemas.IngestOut] | None:
        """The reply to this key, under way or done.

        Raises
        ------
        Problem
            409, if the key came with another body.
        """
        found = self._known.get(key)
        if found is None:
            return None
        if found[0] != digest:
            raise Problem(
                "Conflict",
                type_="key-reused",
                status=409,
                detail="this Idempotency-Key came before with another body; use a new key for a new batch",
            )
        return found[1]

    def begin(self, key: str, digest: bytes) -> asyncio.Future[schemas.IngestOut]:
        """Remember that a batch of this key is under way."""
        future: asyncio.Future[schemas.IngestOut] = asyncio.get_running_loop().create_future()
        self._known[key] = (digest, future)
        while len(self._known) > self._at_most:
            self._known.popitem(last=False)
        return future

    def forget(self, key: str) -> None:
        """The batch failed: the next one of this key is a first one."""
        self._known.pop(key, None)


@router.post(
    "/ingest",
    responses=refusals(*BODY, 409, 415),
    openapi_extra=BATCH,
)
async def ingest(
    request: Request,
    services: TheServices,
    idempotency_key: Annotated[
        str, Header(min_length=1, max_length=200, pattern=r"^[!-~]+$", description="names the batch; a repeat is safe")
    ],
) -> schemas.IngestOut:
    """Take a batch of readings, JSON `{"rows": [...]}` or NDJSON, one row a line.

    The reply comes when the accepted rows are on disk. Rows that are refused are named with their reason; they do
    not hinder the others. Sending the same batch again with the same key takes nothing twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, NDJSON):
        raise HTTPException(415, f"send {JSON} or {NDJSON}")
    if services.collector is None:
        raise ExplainedError("ingest", "no collector runs here", "start one, or send to the server that has one")
    payload = await request.body()
    digest = hashlib.sha256(kind.encode() + b"\0" + payload).digest()
    keys: Keys = request.app.state.ingest_keys
    before = keys.find(idempotency_key, digest)
    if before is not None:
        reply = await asyncio.shield(before)
        return reply.model_copy(update={"repeated": True})
    future = keys.begin(idempotency_key, digest)
    try:
        reply = await _take(services, idempotency_key, kind, payload)
    except BaseException as error:
        keys.forget(idempotency_key)
        if isinstance(error, Exception):
            future.set_exception(error)
            future.exception()  # seen here: it is raised below too
        else:
            future.cancel()
        raise
    future.set_result(reply)
    return reply


async def _take(services: Services, key: str, kind: str, payload: bytes) -> schemas.IngestOut:
    assert services.collector is not None
    rows, rejected = await asyncio.to_thread(
        read_batch, payload, kind == NDJSON, services.installation, services.now(), services.limits.ingest_rows
    )
    if not rows and not rejected:
        raise Refused("body", "has no rows", "send at least one")
    position = await services.collector.ingest(SOURCE, key, payload, rows, rejected)
    return schemas.IngestOut(
        received=len(rows) + len(rejected),
        accepted=len(rows),
        rejected=[schemas.RowRefused(**row._asdict()) for row in rejected],
        position=position,
        repeated=False,
    )
