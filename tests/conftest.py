"""What several tests need: a private, real MQTT broker."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: test processes share the cores already

# No timing assertions in tests: a busy machine is no failure.
hypothesis.settings.register_profile("meterhall", deadline=None)
hypothesis.settings.load_profile("meterhall")


def free_port():
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, timeout_s=10.0, what="the condition"):
    """Return the condition's first true value; fail after the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {timeout_s:g} s")
        time.sleep(0.01)


def find_mosquitto():
    """The path of Mosquitto; without it the test is skipped, or fails where CI=true."""
    found = shutil.which("mosquitto") or ("/usr/sbin/mosquitto" if Path("/usr/sbin/mosquitto").exists() else None)
    if found is None:
        words = "Mosquitto is not installed; install it: sudo apt-get install mosquitto"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    return found


class Mosquitto:
    """A private Mosquitto on a free loopback port, with persistence.

    `anonymous` False, or `users` {name: password}, closes it to anonymous clients; `tls` (ca, certificate, key
    files) encrypts it, with `client_certificates` it asks for one.
    """

    def __init__(self, folder, *, users=None, tls=None, client_certificates=False, lines=(), anonymous=None):
        self.folder, self.port = Path(folder), free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.url = f"{'mqtts' if tls else 'mqtt'}://127.0.0.1:{self.port}"
        self.process = None
        settings = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'true' if (not users if anonymous is None else anonymous) else 'false'}",
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            *lines,
        ]
        if os.getuid() == 0:
            settings.append("user root")
        if users:
            passwords = self.folder / "passwords"
            passwords.touch(mode=0o600)
            for name, password in users.items():
                subprocess.run(["mosquitto_passwd", "-b", passwords, name, password], check=True, capture_output=True)
            settings.append(f"password_file {passwords}")
        if tls:
            settings += [f"cafile {tls[0]}", f"certfile {tls[1]}", f"keyfile {tls[2]}", "tls_version tlsv1.2"]
            settings += ["require_certificate true"] if client_certificates else []
        self.config = self.folder / "mosquitto.conf"
        self.config.write_text("\n".join(settings) + "\n")

    def start(self):
        """Start it, and return when it listens."""
        log = (self.folder / "mosquitto.log").open("ab")
        self.process = subprocess.Popen([find_mosquitto(), "-c", self.config], stdout=log, stderr=log)
        log.close()
        wait_until(self._listens, what=f"Mosquitto listening (see {self.folder}/mosquitto.log)")
        return self

    def _listens(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False

    def stop(self, signal_number=signal.SIGTERM):
        """End it, by its process id."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(signal_number)
            self.process.wait(10)
            self.process = None

    def kill(self):
        """End it as a power cut would: nothing is saved."""
        self.stop(signal.SIGKILL)

    def restart(self):
        """Stop it properly, and start it again."""
        self.stop()
        return self.start()

    def freeze(self):
        """Let it hang: connections stay, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def start_mosquitto(tmp_path):
    """A function that starts a `Mosquitto` with the settings given; all are ended afterwards."""
    started = []

    def start(**settings):
        broker = Mosquitto(tmp_path / f"mosquitto-{len(started)}", **settings)
        find_mosquitto()
        started.append(broker)
        return broker.start()

    yield start
    for broker in started:
        broker.kill()


@pytest.fixture
def mosquitto(start_mosquitto):
    """A private, real Mosquitto."""
    return start_mosquitto()


@pytest.fixture(scope="session")
def usual(tmp_path_factory):
    """A small installation with a baseline of everything, and one incident: made once."""
    from tests.usual import make_usual

    made = make_usual(tmp_path_factory.mktemp("usual"))
    yield made
    made.store.close()
