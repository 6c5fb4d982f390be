"""What a configuration folder says: settings of the product, apart from the installation it watches."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from metering.site import Installation
from metering.timetable import Timetable

if TYPE_CHECKING:
    from devices.stations import Fetch

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104


class Secret(str):
    """A text that prints as ***; read it with `reveal()`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        """The secret itself, for the one place that needs it."""
        return str.__str__(self)


NO_SECRET = Secret("")


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """One MQTT broker to collect from."""

    id: str
    url: str  # mqtt://host:port or mqtts://host:port
    client_id: str = "meterhall"
    username: str = ""
    password: Secret = NO_SECRET
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    topics: tuple[str, ...] = ()  # filters to subscribe; empty: exactly the topics of its devices
    share_group: str = ""
    client: str = "meterhall"  # "meterhall": our receiver (MQTT 5); "paho": MQTT 3.1.1


@dataclass(frozen=True, slots=True)
class ModbusSettings:
    """How Modbus lines are polled."""

    timeout_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What is bounded, so that one flood cannot take the rest down."""

    spool_bytes: int = 4 << 30
    payload_bytes: int = 256 << 10
    quarantine_rows: int = 10_000
    store_memory_mb: int = 512


@dataclass(frozen=True, slots=True)
class Retention:
    """How long readings are kept; 0 for ever. Intervals are kept for ever."""

    raw_days: int = 0
    position_days: int = 90  # of vehicles, where they are kept at all


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a figure asks for attention, on dashboards. Each in percent, but `waiting`."""

    missing: float = 5.0  # of a meter's readings that did not come
    estimated: float = 5.0  # of an amount that was spread over gaps
    base_load: float = 50.0  # of the mean load that is there at the quietest hour
    charge: float = 25.0  # of a vehicle's battery: less
    rejected: float = 1.0  # of the messages that could not be read
    waiting: float = 10_000  # messages that wait to be stored
    disk: float = 85.0  # of the data folder's disk in use


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where the log goes, and how much of it is kept."""

    file: str = ""  # empty: stderr
    level: str = "info"
    format: str = "text"  # or "json": one document a line
    max_mb: int = 10
    keep: int = 5  # older files


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How page and API are reached beyond this machine."""

    cert_file: str = ""  # TLS: certificate chain and key, PEM
    key_file: str = ""
    behind_proxy: str = ""  # the address people type: a proxy there does TLS and passes on to us
    proxies: tuple[str, ...] = ("127.0.0.1/32", "::1/128")  # whose word on a client's address is taken
    allowed_hosts: tuple[str, ...] = ()  # more names a Host header may carry
    sign_in: bool = False  # ask for it on loopback too


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything configured, valid as a whole.

    Attributes
    ----------
    folder : the configuration folder
    data : the data folder (spool, store, quarantine, ledger, admin.token)
    host, port : where API and page are served
    server : how they are reached beyond this machine
    """

    folder: Path
    data: Path
    installation: Installation
    host: str = "127.0.0.1"
    port: int = 8420
    server: ServerSettings = field(default_factory=ServerSettings)
    store_url: str = ""
    ledger_url: str = ""  # empty: a file in the data folder
    ledger_password: Secret = NO_SECRET
    brokers: tuple[BrokerSettings, ...] = ()
    modbus: ModbusSettings = field(default_factory=ModbusSettings)
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=Retention)
    thresholds: Thresholds = field(default_factory=Thresholds)
    log: LogSettings = field(default_factory=LogSettings)
    timetable: Timetable = field(default_factory=Timetable)
    fetches: tuple[Fetch, ...] = ()

    @property
    def sign_in(self) -> bool:
        """Whether reading needs sign-in or a key: always, where others than this machine may come."""
        return self.server.sign_in or self.host not in LOOPBACK or bool(self.server.behind_proxy)

    @property
    def url(self) -> str:
        """The address people type."""
        if self.server.behind_proxy:
            return self.server.behind_proxy
        names = self.server.allowed_hosts if self.host in EVERYWHERE else (self.host,)
        name = names[0] if names else "127.0.0.1"
        scheme = "https" if self.server.cert_file else "http"
        return f"{scheme}://{f'[{name}]' if ':' in name else name}:{self.port}"

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Names a Host header may carry, without port."""
        hosts = [
            "localhost",
            "127.0.0.1",
            "[::1]",
            *self.server.allowed_hosts,
            urlsplit(self.server.behind_proxy).netloc,
        ]
        if self.host not in EVERYWHERE:
            hosts.append(f"[{self.host}]" if ":" in self.host else self.host)
        return tuple(dict.fromkeys(_without_port(each.lower()) for each in hosts if each))

    @property
    def secrets(self) -> list[str]:
        """What must never be written anywhere, the log first of all."""
        keys = [*(broker.password for broker in self.brokers), *(each.key for each in self.fetches)]
        found = (*keys, self.ledger_password)
        return [secret.reveal() for secret in found if secret.reveal()]


def _without_port(host: str) -> str:
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
