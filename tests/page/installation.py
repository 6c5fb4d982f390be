"""What the page's tests stand on: the small plant of the API's tests, served for real on a free loopback port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from api.app import create_app
from api.known import KnownMeasures
from api.page.routes import mount_page
from api.services import Services
from api.serving import server_of
from metering.quantity import Carrier
from metering.site import Building, Dated, Installation, Meter, Name, Site, Vehicle

HOSTILE = '<img src=x onerror="document.title=1">'
DEADLINE_S = 10.0


def app_of(services: Services):
    """API and page of these services."""
    return create_app(services, mounts=[mount_page])


@contextmanager
def served(services: Services) -> Iterator[str]:
    """API and page on a free loopback port; gives the address."""
    server = server_of(app_of(services), port=0)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    deadline = time.monotonic() + DEADLINE_S
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        listening.close()


def hostile(services: Services) -> Services:
    """The same, with a meter, a vehicle, a building and a site that name themselves in HTML."""
    name = Name(HOSTILE, HOSTILE)
    inside = services.installation
    return replace(
        services,
        installation=Installation(
            sites=tuple(replace(site, name=name) for site in inside.sites),
            buildings=tuple(replace(building, name=name, in_charge=HOSTILE) for building in inside.buildings),
            meters=tuple(replace(meter, name=name, profile=HOSTILE) for meter in inside.meters),
            vehicles=tuple(replace(vehicle, name=name, plate=HOSTILE) for vehicle in inside.vehicles),
        ),
    )


def later(services: Services, us: int) -> Services:
    """The same installation, looked at so much later: nothing has been heard since."""
    then = services.now() + us
    return replace(services, now=lambda: then)


class NoLedger:
    """A ledger in which nothing stands."""

    def events(self, **_):
        return []


def newborn(services: Services, store: object) -> Services:
    """Nothing configured, nothing heard."""
    bare = replace(services, installation=Installation(), ledger=NoLedger(), collector=None)
    return replace(bare, store=store, known=KnownMeasures())


def unheard(services: Services, store: object) -> Services:
    """Configured, and nothing heard yet."""
    installation = Installation(
        sites=(Site("plant", Name("Plant", "厂区"), "Europe/Berlin", country="DE"),),
        buildings=(Building("hall", "plant", Name("Hall", "大厅"), floor_area=(Dated(1000.0, 0),)),),
        meters=(
            Meter("main", "plant", "hall", Name("Main", "总表"), Carrier.ELECTRICITY, "grid", "p", "mqtt://demo/main"),
        ),
        vehicles=(Vehicle("ev-1", "plant", Name("Car 1", "1号车"), "electric", "p", "mqtt://demo/ev-1"),),
    )
    return replace(services, installation=installation, store=store, ledger=NoLedger(), known=KnownMeasures())
