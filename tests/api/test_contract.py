"""The API against its own OpenAPI file: whatever is asked, no server error and no reply that the file does not name."""

import json

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.services import Limits
from tests.api.plant import ADMIN

load_all_checks()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
VALID, INVALID = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
ENDLESS = {"/api/v1/live"}
ELSEWHERE = {"/api/v1/backups"}  # needs a data folder: tests/meterhall/test_backup.py


def asked_for(case) -> None:
    """Put real ids and times in place of every other made-up text, so that not all questions end in 404."""
    for part in (case.path_parameters, case.query):
        for name in part or {}:
            if name in WORDS and isinstance(part[name], str) and len(part[name]) % 2:
                part[name] = WORDS[name]


def send(client, case):
    """The reply to a case, through the client that all other tests use."""
    sent = case.as_transport_kwargs(base_url="http://localhost")
    content = sent.get("data")
    if "json" in sent:
        content = json.dumps(sent["json"]).encode()
    headers = {str(name): str(value).encode("latin-1", "replace") for name, value in sent["headers"].items()}
    headers |= {name: value.encode() for name, value in ADMIN.items()}
    try:
        return client.request(sent["method"], sent["url"], params=sent.get("params"), content=content, headers=headers)
    except httpx2.InvalidURL:  # longer than this client sends
        reject()


def ask_everything(client_of, examples: int, modes: tuple) -> int:
    """Ask each operation so many questions of each mode; returns how many were asked."""
    client = client_of(limits=Limits(expensive=64))
    schema = schemathesis.openapi.from_dict(client.app.openapi())
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in ENDLESS or operation.path in ELSEWHERE:
            continue
        for mode in modes:

            @settings(
                max_examples=examples,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(operation.as_strategy(generation_mode=mode))
            def ask(case):
                nonlocal asked
                asked += 1
                asked_for(case)
                case.validate_response(send(client, case), checks=CHECKS)

            try:
                ask()
            except Unsatisfiable:  # a route without parameters cannot be asked wrongly
                assert mode == INVALID
    return asked


WORDS = {
    "site": "plant", "meter": "main", "building": "hall", "vehicle": "ev-1", "node": "main", "quantity": "active_power",
    "point": "plant/main/active_power", "tz": "Europe/Berlin", "start": "2026-03-28", "end": "2026-03-30",
    "at": "2026-03-29T12:00:00+02:00", "points": "plant/main/active_power",
}  # fmt: skip


def test_no_question_makes_a_server_error_or_an_unnamed_reply(client_of):
    assert ask_everything(client_of, 2, (VALID,)) > 40


@pytest.mark.slow
def test_no_question_of_very_many_makes_a_server_error_or_an_unnamed_reply(client_of):
    assert ask_everything(client_of, 150, (VALID, INVALID)) > 5_000
