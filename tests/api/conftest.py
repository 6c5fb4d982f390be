"""Fixtures of these tests; `tests.api.plant` has them for others too."""

from tests.api.plant import client, client_of, ledger, plant_store, quarantine, services

__all__ = ["client", "client_of", "ledger", "plant_store", "quarantine", "services"]
