"""Ledgers for tests: each test that asks for one runs on SQLite, and on a real PostgreSQL (slow)."""

import pytest

from storage.ledger.ledger import Ledger
from tests.postgres import PASSWORD, Postgres


@pytest.fixture(scope="session")
def postgres():
    """A private, real PostgreSQL."""
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def ledger_address(request, tmp_path):
    """URL and password of a ledger that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}", ""
    return request.getfixturevalue("postgres").new_database(), PASSWORD


@pytest.fixture
def ledger(ledger_address):
    """A new, empty ledger."""
    ledger = Ledger.open(*ledger_address)
    yield ledger
    ledger.close()
