"""What every MQTT source is to the rest of the collector: messages in batches, acknowledged when durable."""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from devices.settings import NO_SECRET, BrokerSettings, Secret
from metering.explain import ExplainedError
from metering.health import LineHealth

CONNECT_TIMEOUT_S = 10.0
KEPT_OF_OVERSIZE = 4096  # bytes of a payload that is too large


class Message(NamedTuple):
    """One message as the broker delivered it.

    packet_id : 0 with QoS 0, which needs no acknowledgement
    generation : the connection it came by; an acknowledgement is good for that connection only
    oversize : the payload was longer than allowed, and only its first 4 KiB are here
    """

    topic: str
    payload: bytes
    packet_id: int
    qos: int
    dup: bool
    retain: bool
    generation: int
    oversize: bool = False


Deliver = Callable[[list[Message]], None]


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """One broker and how to collect from it.

    Attributes
    ----------
    url : mqtt://host:port or mqtts://host:port
    client_id : stable; the broker keeps our session and what we have not acknowledged under it
    topics : filters to subscribe at QoS 1
    receive_maximum : messages in flight without acknowledgement; bounds memory when nothing can be stored
    keepalive_s : silence after which we ask whether the broker is there [s]
    session_expiry_s : how long the broker keeps our session while we are away [s]
    share_group : collectors of one group share the messages ($share)
    max_payload : bytes; of a longer payload the first 4 KiB are delivered, marked oversize
    password : prints as ***
    protocol : of the paho source: "3.1.1" unless "5" is asked for; our receiver speaks MQTT 5
    """

    id: str
    url: str
    client_id: str = "meterhall"
    username: str = ""
    password: str = NO_SECRET
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    topics: tuple[str, ...] = ()
    receive_maximum: int = 5000
    keepalive_s: int = 15
    session_expiry_s: int = 7 * 86_400
    share_group: str = ""
    max_payload: int = 256 << 10
    protocol: Literal["", "5", "3.1.1"] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.password, Secret):
            object.__setattr__(self, "password", Secret(self.password))

    @property
    def secret(self) -> str:
        """The password itself."""
        return self.password.reveal() if isinstance(self.password, Secret) else self.password

    @classmethod
    def of(cls, settings: BrokerSettings, topics: Iterable[str], max_payload: int = 256 << 10) -> BrokerConfig:
        """From a configuration's broker; `topics` are those of its devices, used unless filters are configured."""
        return cls(
            id=settings.id,
            url=settings.url,
            client_id=settings.client_id,
            username=settings.username,
            password=settings.password,
            ca_file=settings.ca_file,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
            topics=settings.topics or tuple(topics),
            share_group=settings.share_group,
            max_payload=max_payload,
        )

    @property
    def tls(self) -> bool:
        """Encrypted?"""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return urlsplit(self.url).hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        """The broker's port."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe: the topics, in the share group if there is one."""
        if not self.share_group:
            return self.topics
        return tuple(f"$share/{self.share_group}/{topic}" for topic in self.topics)

    def tls_context(self) -> ssl.SSLContext | None:
        """TLS 1.2 or newer with the broker's name checked; own authority and client certificate if given.

        Raises
        ------
        ExplainedError
            If a file cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file or None)
        except OSError as error:  # ssl.SSLError is one
            raise ExplainedError(
                f'broker "{self.id}"', f"its TLS files cannot be used: {error}", "check ca_file, cert_file and key_file"
            ) from None
        return context


class MqttSource(Protocol):
    """An MQTT source. All methods but `run` return at once; all are called in the event loop."""

    config: BrokerConfig
    counts: Counter[str]

    async def run(self) -> None:
        """Connect, deliver, reconnect; until cancelled."""
        ...

    def ack(self, generation: int, packet_ids: Sequence[int]) -> None:
        """Acknowledge messages that are durable; those of an older connection are ignored: they come again."""
        ...

    def pause(self) -> None:
        """Take nothing more for a while."""
        ...

    def resume(self) -> None:
        """Take messages again."""
        ...

    def health(self) -> LineHealth:
        """How the connection is."""
        ...


LONGEST_WAIT_S = 5.0
SHORTEST_WAIT_S = 1.0
TAKEOVER_WAIT_S = 30.0
TAKEOVERS = 3  # beyond it somebody else really uses our client id
STEADY_S = 120.0  # a connection that held so long was a good one
SHORTLY_S = 10.0  # Mosquitto 2.0 does not say why it closes: so short a connection smells of a second client


class Backoff:
    """How long to wait before the next connection: 1 s doubling to 5 s; 30 s in a war over the client id."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.failures = 0
        self.takeovers = 0
        self._told = False  # did the broker ever say so itself?

    @property
    def at_war(self) -> bool:
        """Does somebody else use our client id?"""
        return self.takeovers >= TAKEOVERS

    def failed(self) -> float:
        """Seconds to wait after a connection that did not come about."""
        self.failures += 1
        if not self.at_war:
            self.takeovers = 0
        return self._wait()

    def lost(self, held_s: float, *, told: bool, closed: bool) -> float:
        """Seconds to wait after a connection that held for `held_s` seconds.

        `told`: the broker said that another client took the session over. `closed`: it closed the
        connection without a word; soon after it accepted us, and again and again with no failed attempt
        between, that means the same.
        """
        if held_s >= STEADY_S:
            self.takeovers = 0
        self._told = self._told or told
        self.takeovers += told or (closed and held_s < SHORTLY_S)
        self.failures = 1 if held_s >= LONGEST_WAIT_S else self.failures + 1
        return self._wait()

    def note(self, reason: str, wait_s: float) -> str:
        """Why the connection ended, in words."""
        if not self.at_war:
            return reason or "the broker closed the connection"
        return (
            f'{"" if self._told else "it seems that "}another client uses our client_id "{self.client_id}"; '
            f"give each collector its own; next attempt in {wait_s:.0f} s"
        )

    def _wait(self) -> float:
        if self.at_war:
            return TAKEOVER_WAIT_S * random.uniform(1.0, 1.2)
        wait = min(LONGEST_WAIT_S, SHORTEST_WAIT_S * 2.0 ** min(self.failures - 1, 10))
        return wait * random.uniform(0.75, 1.0) if wait > SHORTEST_WAIT_S else wait


class Status:
    """The health of one broker's line, kept by its source."""

    def __init__(self, config: BrokerConfig, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.line = LineHealth(config.id, "mqtt", config.address, since=now_us(), note="not connected yet")

    def set(self, state: Literal["ok", "degraded", "broken"], note: str) -> bool:
        """Note how things are; True if the state or the note changed."""
        if state != self.line.state:
            self.line.state, self.line.since = state, self._now_us()
        elif note == self.line.note:
            return False
        self.line.note = note
        return True


def why_not_connected(error: BaseException, config: BrokerConfig) -> str:
    """Why a connection did not come about, and the mend, in words."""
    match error:
        case ExplainedError():
            return f"{error.what}; {error.mend}"
        case ssl.SSLCertVerificationError():
            words = f"the broker's certificate is refused ({error.verify_message}); nothing was sent"
            return f"{words}; check ca_file and the name in url"
        case ssl.SSLError():
            return f"TLS failed ({error.reason or error}); nothing was sent"
        case TimeoutError():
            return f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
        case ConnectionRefusedError():
            return f'nobody listens there; start the broker, or mend url = "{config.address}"'
        case _:
            return f"cannot connect: {error}"
