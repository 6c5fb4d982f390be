"""What a Mosquitto broker's settings can lose, read from its mosquitto.conf, each with the setting that avoids it.

Options and defaults as in mosquitto.conf(5) of Mosquitto 2.0 and 2.1.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meterhall.remarks import Remark, broken, ok, warning
from metering.explain import ExplainedError

SAFE_VERSION = (2, 0, 16)  # CVE-2023-0809, CVE-2023-3592, CVE-2023-28366 are mended in it
IN_FLIGHT = 5000  # what our receiver takes before it has acknowledged
LEAST_QUEUE_BYTES = 64 << 20
MESSAGE_BYTES = 120  # of a typical reading
LARGEST_PAYLOAD = 256 << 10  # limits.payload_bytes of meterhall.toml
LONGEST_AUTOSAVE_S = 60

_OPTIONS = """
    accept_protocol_versions acl_file address addresses allow_anonymous allow_duplicate_messages
    allow_zero_length_clientid auth_plugin auth_plugin_deny_special_chars auto_id_prefix autosave_interval
    autosave_on_changes bind_address bind_interface bridge_alpn bridge_attempt_unsubscribe bridge_bind_address
    bridge_cafile bridge_capath bridge_certfile bridge_ciphers bridge_ciphers_tls1.3 bridge_identity bridge_insecure
    bridge_keyfile bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain bridge_protocol_version
    bridge_psk bridge_receive_maximum bridge_reload_type bridge_require_ocsp bridge_session_expiry_interval
    bridge_tcp_keepalive bridge_tcp_user_timeout bridge_tls_use_os_certs bridge_tls_version cafile capath certfile
    check_retain_source ciphers ciphers_tls1.3 cleansession clientid clientid_prefixes connection connection_messages
    crlfile dhparamfile disable_client_cert_date_checks enable_control_api enable_proxy_protocol global_max_clients
    global_max_connections global_plugin http_dir idle_timeout include_dir keepalive_interval keyfile listener
    listener_allow_anonymous listener_auto_id_prefix local_cleansession local_clientid local_password local_username
    log_dest log_facility log_timestamp log_timestamp_format log_type max_connections max_inflight_bytes
    max_inflight_messages max_keepalive max_packet_size max_qos max_queued_bytes max_queued_messages max_topic_alias
    max_topic_alias_broker memory_limit message_size_limit mount_point notification_topic notifications
    notifications_local_only packet_buffer_size password password_file per_listener_settings persistence
    persistence_file persistence_location persistent_client_expiration pid_file plugin plugin_load
    plugin_opt plugin_use port protocol proxy_protocol_v2_require_tls psk_file psk_hint queue_qos0_messages
    remote_clientid remote_password remote_username require_certificate restart_timeout retain_available
    retain_expiry_interval retained_persistence retry_interval round_robin set_tcp_nodelay
    socket_domain start_type store_clean_interval sys_interval threshold tls_engine tls_engine_kpass_sha1
    tls_keyform tls_version topic try_private upgrade_outgoing_qos use_identity_as_username use_subject_as_username
    use_username_as_clientid user username websockets_headers_size websockets_log_level websockets_origin"""
OPTIONS = frozenset(_OPTIONS.split())
_FLAGS = """
    allow_anonymous autosave_on_changes cleansession local_cleansession per_listener_settings persistence
    queue_qos0_messages require_certificate retain_available upgrade_outgoing_qos use_identity_as_username
    use_subject_as_username"""
FLAGS = frozenset(_FLAGS.split())
_NUMBERS = """
    autosave_interval max_inflight_messages max_packet_size max_qos max_queued_bytes max_queued_messages
    memory_limit message_size_limit port"""
NUMBERS = frozenset(_NUMBERS.split())


@dataclass(slots=True)
class Setting:
    """A line of the file."""

    place: str  # mosquitto.conf:12
    key: str
    value: str


@dataclass(slots=True)
class Block:
    """A listener or a bridge, with the settings below it."""

    head: Setting
    settings: list[Setting] = field(default_factory=list)

    def find(self, *keys: str) -> Setting | None:
        """The last setting of these names."""
        return next((each for each in reversed(self.settings) if each.key in keys), None)


class Configuration:
    """A mosquitto.conf, with the files it includes."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.name, path
        self.all = list(_lines(path, ()))
        self.listeners: list[Block] = []
        self.bridges: list[Block] = []
        top, block = Block(Setting(self.name, "port", "1883")), None
        for each in self.all:
            if each.key in ("listener", "connection"):
                block = Block(each)
                (self.listeners if each.key == "listener" else self.bridges).append(block)
            elif each.key in ("port", "bind_address"):  # the listener without a name, of old
                top.head = Setting(each.place, "port", each.value if each.key == "port" else top.head.value)
                top.settings.append(each)
            elif block is not None:
                block.settings.append(each)
            else:
                top.settings.append(each)
        if top.find("port", "bind_address"):
            self.listeners.insert(0, top)
        self.local_only = not self.listeners  # Mosquitto 2 without a listener: this machine alone

    def find(self, *keys: str) -> Setting | None:
        """The last setting of these names, anywhere."""
        return next((each for each in reversed(self.all) if each.key in keys), None)

    def number(self, key: str, default: int) -> int:
        """A whole number, its default where it is not set or none."""
        found = self.find(key)
        return int(found.value) if found and re.fullmatch(r"-?\d+", found.value) else default

    def flag(self, key: str, default: bool = False) -> bool:
        """true or false, its default where it is not set."""
        found = self.find(key)
        return found.value == "true" if found else default

    def place(self, *keys: str) -> str:
        """Where a setting stands; the file where it does not."""
        found = self.find(*keys)
        return found.place if found else self.name


def _lines(path: Path, within: tuple[Path, ...]) -> Iterator[Setting]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExplainedError(str(path), f"cannot be read: {error}", "name a mosquitto.conf") from None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, _, value = line.partition(" ")
        setting = Setting(f"{path.name}:{number}", key, value.strip())
        yield setting
        if key == "include_dir" and path not in within:
            folder = path.parent / setting.value
            for each in sorted(folder.glob("*.conf")) if folder.is_dir() else ():
                yield from _lines(each, (*within, path))


def check_broker(path: Path, version: tuple[int, ...] | None = None) -> list[Remark]:
    """Everything that can be said of a mosquitto.conf.

    Parameters
    ----------
    version : of the Mosquitto it is for; None if it is not known

    Raises
    ------
    ExplainedError
        If the file cannot be read.
    """
    found = Configuration(path)
    remarks = [*_spelling(found)]
    for part in (_persistence, _queue, _flow, _sizes, _access, _listeners, _bridges):
        remarks += part(found)
    remarks += say_version(version)
    return remarks


def _spelling(found: Configuration) -> Iterator[Remark]:
    for each in found.all:
        if each.key not in OPTIONS and not each.key.startswith(("plugin_opt_", "auth_opt_")):
            near = difflib.get_close_matches(each.key, OPTIONS, n=1)
            yield broken(
                each.place,
                f"{each.key} is no option of Mosquitto, which does not start with it",
                f"did you mean {near[0]}?" if near else "remove the line",
            )
        elif each.key in FLAGS and each.value not in ("true", "false"):
            yield broken(each.place, f'{each.key} is "{each.value}"', "write true or false")
        elif each.key in NUMBERS and not re.fullmatch(r"-?\d+", each.value):
            yield broken(each.place, f'{each.key} is "{each.value}"', "write a whole number")


def _persistence(found: Configuration) -> Iterator[Remark]:
    if not found.flag("persistence"):
        yield broken(
            found.place("persistence"),
            "persistence is off: a restart of the broker loses every waiting message and every session",
            "persistence true",
        )
        return
    yield ok(found.place("persistence"), "what waits survives a restart of the broker")
    if found.find("persistence_location") is None:
        yield warning(
            found.name,
            "persistence_location is not set: the queue lies wherever the broker was started",
            "persistence_location /var/lib/mosquitto/",
        )
    if found.flag("autosave_on_changes"):
        yield ok(found.place("autosave_on_changes"), "saved after a number of changes")
        return
    seconds = found.number("autosave_interval", 1800)
    place = found.place("autosave_interval")
    if seconds <= 0:
        yield broken(
            place,
            "autosave_interval 0: the queue is saved only when the broker ends in order; a power cut loses all of it",
            "autosave_interval 5",
        )
    elif seconds > LONGEST_AUTOSAVE_S:
        yield broken(
            place,
            f"autosave_interval {seconds}: a power cut loses what was waiting since the last save, up to {seconds} s",
            "autosave_interval 5",
        )
    else:
        yield ok(place, f"a power cut of the broker loses at most {seconds} s of what was waiting")


def _queue(found: Configuration) -> Iterator[Remark]:
    messages, size = found.number("max_queued_messages", 1000), found.number("max_queued_bytes", 0)
    place = found.place("max_queued_messages", "max_queued_bytes")
    if messages > 0:
        yield broken(
            place,
            f"max_queued_messages {messages}: while the collector is away, every message beyond {messages} is dropped "
            "without a word (at 100 messages a second: after "
            f"{messages / 100:g} s)",
            "max_queued_messages 0, with max_queued_bytes 2147483648",
        )
    elif size == 0:
        yield warning(
            place,
            "the queue has no limit: a collector that stays away fills the broker's memory",
            "max_queued_bytes 2147483648",
        )
    elif size < LEAST_QUEUE_BYTES:
        yield broken(
            place,
            f"max_queued_bytes {size}: beyond about {size // MESSAGE_BYTES} messages all are dropped without a word",
            "max_queued_bytes 2147483648",
        )
    else:
        yield ok(place, f"about {size // MESSAGE_BYTES:,} messages wait for a collector that is away")
    if not found.flag("queue_qos0_messages"):
        yield warning(
            found.place("queue_qos0_messages"),
            "messages published with QoS 0 are lost while the collector is away, however short",
            "let devices publish with QoS 1; for those that cannot: queue_qos0_messages true",
        )
    if found.number("max_qos", 2) == 0:
        yield broken(
            found.place("max_qos"), "max_qos 0: nobody can publish with an acknowledgement", "remove it, or max_qos 1"
        )
    expiry = found.find("persistent_client_expiration")
    if expiry is None:
        yield warning(
            found.name,
            "persistent_client_expiration is not set: the queue of a client that never comes back grows for ever",
            "persistent_client_expiration 14d",
        )
    elif (match := re.fullmatch(r"(\d+)([hdwmy])", expiry.value)) is None:
        yield broken(expiry.place, f'persistent_client_expiration is "{expiry.value}"', "write 14d, 2w or 1m")
    elif match[2] == "h" and int(match[1]) < 72:
        yield broken(
            expiry.place,
            f"persistent_client_expiration {expiry.value}: a collector that is away longer, say over a weekend, loses "
            "its queue",
            "persistent_client_expiration 14d",
        )
    if found.number("memory_limit", 0) > 0:
        yield warning(
            found.place("memory_limit"),
            "memory_limit: at the limit the broker refuses messages of everybody",
            "remove it; bound the queue with max_queued_bytes",
        )


def _flow(found: Configuration) -> Iterator[Remark]:
    flight, place = found.number("max_inflight_messages", 20), found.place("max_inflight_messages")
    if 0 < flight < 1000:
        yield warning(
            place,
            f"max_inflight_messages {flight}: the broker sends no more before they are acknowledged, which throttles a "
            "collector that acknowledges when they are on its disk",
            f"max_inflight_messages {IN_FLIGHT}",
        )
    else:
        yield ok(place, f"{flight or 'any number of'} messages may be under way to the collector")


def _sizes(found: Configuration) -> Iterator[Remark]:
    sizes = [n for key in ("message_size_limit", "max_packet_size") if (n := found.number(key, 0)) > 0]
    place = found.place("message_size_limit", "max_packet_size")
    if not sizes:
        yield warning(
            place, "messages of any size are taken: one device can fill the memory", "message_size_limit 1048576"
        )
    elif min(sizes) < 4096:
        yield broken(
            place,
            f"messages longer than {min(sizes)} bytes are refused, readings too",
            "message_size_limit 1048576",
        )
    elif min(sizes) < LARGEST_PAYLOAD:
        yield warning(
            place,
            f"messages longer than {min(sizes)} bytes are refused; Meterhall takes {LARGEST_PAYLOAD}",
            "message_size_limit 1048576",
        )
    else:
        yield ok(place, f"messages have at most {min(sizes)} bytes")


def _of(found: Configuration, listener: Block | None, *keys: str) -> Setting | None:
    """A setting of a listener: its own where `per_listener_settings` is true, else that of the whole broker."""
    if listener is not None and found.flag("per_listener_settings"):
        return listener.find(*keys)
    return found.find(*keys)


def _access(found: Configuration) -> Iterator[Remark]:
    for listener in found.listeners or [None]:
        where = f"listener {listener.head.value}: " if listener is not None and len(found.listeners) > 1 else ""
        anonymous = _of(found, listener, "allow_anonymous", "listener_allow_anonymous")
        password = _of(found, listener, "password_file", "psk_file")
        plugin = _of(found, listener, "plugin", "global_plugin", "auth_plugin", "plugin_use")
        certificate = listener.find("require_certificate") if listener is not None else None
        near = listener is None or _is_loopback(listener)
        opened = anonymous.value == "true" if anonymous else found.local_only
        if opened:
            remark = warning if near else broken
            yield remark(
                anonymous.place if anonymous else found.name,
                f"{where}anybody who reaches the broker may publish readings and read them all",
                "allow_anonymous false, and password_file /etc/mosquitto/passwords",
            )
        elif not (password or plugin or (certificate and certificate.value == "true")):
            yield broken(
                found.name,
                f"{where}nobody can connect: there is no password_file, no certificate is asked for, no plugin",
                "password_file /etc/mosquitto/passwords",
            )
        else:
            yield ok((password or plugin or certificate or Setting(found.name, "", "")).place, f"{where}no anonymous")
        acl = _of(found, listener, "acl_file")
        if acl is None and plugin is None:
            yield (warning if near else broken)(
                found.name,
                f"{where}there is no ACL: each device may publish readings in the name of every other",
                "acl_file /etc/mosquitto/mosquitto.acl, with: pattern write site/%u/#",
            )
        elif acl is not None:
            yield from _acl(found, acl)


def _acl(found: Configuration, acl: Setting) -> Iterator[Remark]:
    path = found.path.parent / acl.value
    if not path.is_file():
        path = found.path.parent / Path(acl.value).name  # beside it, where it has not been copied to its place yet
    if not path.is_file():
        yield ok(acl.place, "each device has its rights (the ACL file is not here to be looked at)")
        return
    user = ""
    wide = False
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split()
        if words[:1] == ["user"]:
            user = " ".join(words[1:])
        elif words[:1] == ["topic"] and words[-1] == "#" and (len(words) == 2 or words[1] in ("readwrite", "write")):
            wide = True
            yield warning(
                f"{path.name}:{number}",
                f"{'user ' + user if user else 'everybody'} may publish on every topic",
                "give each device its own: pattern write site/%u/#",
            )
    if not wide:
        yield ok(acl.place, "each device publishes on its own topics")


def _is_loopback(listener: Block) -> bool:
    words = listener.head.value.split()
    bound = listener.find("bind_address")
    address = words[1] if len(words) > 1 else bound.value if bound else ""
    if address == "localhost" or address.startswith("/") or words[:1] == ["0"]:
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _listeners(found: Configuration) -> Iterator[Remark]:
    for listener in found.listeners:
        encrypted = listener.find("certfile", "psk_hint", "psk_file") is not None
        if _is_loopback(listener):
            yield ok(listener.head.place, f"{listener.head.key} {listener.head.value}: this machine alone")
        elif not encrypted:
            yield broken(
                listener.head.place,
                f"{listener.head.key} {listener.head.value} listens to the network without TLS: passwords and readings "
                "pass in clear, and can be changed on the way",
                "add cafile, certfile and keyfile, or bind it to this machine: listener 1883 127.0.0.1",
            )
        else:
            version = listener.find("tls_version")
            if version is not None and version.value in ("tlsv1", "tlsv1.1"):
                yield broken(version.place, f"{version.value} is broken since long", "tls_version tlsv1.2")
            else:
                yield ok(listener.head.place, f"{listener.head.key} {listener.head.value}: encrypted")


def _bridges(found: Configuration) -> Iterator[Remark]:
    for bridge in found.bridges:
        clean = bridge.find("cleansession")
        if clean is not None and clean.value == "true":
            yield broken(
                clean.place,
                f"the bridge {bridge.head.value} forgets what waits each time the link breaks",
                "cleansession false",
            )
        for topic in (each for each in bridge.settings if each.key == "topic"):
            words = topic.value.split()
            if len(words) < 3 or words[2] == "0":
                yield warning(
                    topic.place,
                    f"the bridge {bridge.head.value} passes {words[0] if words else 'messages'} with QoS 0: lost when "
                    "the link breaks",
                    f"topic {words[0] if words else '#'} {words[1] if len(words) > 1 else 'out'} 1",
                )


def say_version(version: tuple[int, ...] | None) -> Iterator[Remark]:
    """Whether a Mosquitto of this version has known faults."""
    if version is None:
        return
    shown = ".".join(map(str, version))
    if version < (2,):
        yield broken("version", f"Mosquitto {shown} is no longer looked after", "install 2.0.16 or newer")
    elif version < SAFE_VERSION:
        yield warning(
            "version",
            f"Mosquitto {shown} has known faults (CVE-2023-0809, CVE-2023-3592, CVE-2023-28366: memory that grows)",
            "install 2.0.16 or newer, or make sure that your distribution has mended them",
        )
    else:
        yield ok("version", f"Mosquitto {shown}")


def installed_version(program: str) -> tuple[int, ...] | None:
    """The version of a mosquitto on this machine; None if it does not say."""
    import subprocess

    done = subprocess.run([program, "-h"], capture_output=True, text=True, check=False, timeout=10)
    found = re.search(r"mosquitto version (\d+(?:\.\d+)+)", done.stdout + done.stderr)
    return tuple(map(int, found[1].split("."))) if found else None


def parse_version(text: str) -> tuple[int, ...]:
    """`2.0.18` as numbers. ExplainedError if it is none."""
    if not re.fullmatch(r"\d+(\.\d+){0,3}", text):
        raise ExplainedError("--version", f'is "{text}"', "write a version such as 2.0.18")
    return tuple(map(int, text.split(".")))
