"""Private, real InfluxDB servers for tests, and stand-ins where none can be had."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

import pytest


def free_port():
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find(program, package):
    """The path of a server; without it the test is skipped, or fails where CI=true."""
    found = shutil.which(program)
    if found is None:
        words = f"{program} is not installed; install it: sudo apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    return found


class Server:
    """A process that listens on a free loopback port."""

    def __init__(self, folder):
        self.folder, self.port, self.process = Path(folder), free_port(), None
        self.folder.mkdir(parents=True, exist_ok=True)

    def command(self):
        """What is started."""
        raise NotImplementedError

    def start(self):
        """Start it, and return when it listens."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return self
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"{self.command()[0]} does not listen; see {self.folder}/log")
            time.sleep(0.02)

    def stop(self, signal_number=signal.SIGKILL):
        """End it, by its process id."""
        if self.process is not None:
            self.process.send_signal(signal_number)
            self.process.wait(30)
            self.process = None


class InfluxDB1(Server):
    """InfluxDB 1.x, from Debian. `lines` go into its [data] section, `http` into [http]."""

    def __init__(self, folder, *, lines=(), http=()):
        super().__init__(folder)
        self.lines, self.http = lines, http

    def command(self):
        """The server with a configuration of its own."""
        config = self.folder / "influxdb.conf"
        config.write_text(
            "\n".join(
                [
                    "reporting-disabled = true",
                    f'bind-address = "127.0.0.1:{free_port()}"',
                    "[meta]",
                    f'dir = "{self.folder}/meta"',
                    "[data]",
                    f'dir = "{self.folder}/data"',
                    f'wal-dir = "{self.folder}/wal"',
                    "query-log-enabled = false",
                    *self.lines,
                    "[http]",
                    f'bind-address = "127.0.0.1:{self.port}"',
                    "log-enabled = false",
                    *self.http,
                    "[monitor]",
                    "store-enabled = false",
                    "",
                ]
            )
        )
        return [find("influxd", "influxdb"), "-config", str(config)]


class VictoriaMetrics(Server):
    """VictoriaMetrics, from Debian: takes what InfluxDB 2.x takes on its write paths."""

    def command(self):
        """The server, with its own folder."""
        return [
            find("victoria-metrics", "victoria-metrics"),
            f"-storageDataPath={self.folder}/data",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=64MB",
        ]


_databases = itertools.count()


def named_server():
    """The server that INFLUX_URL names, as options of a store's URL; None without it.

    INFLUX_TOKEN, INFLUX_ORG and INFLUX_BUCKET go with it: the tests make databases (buckets) whose names begin with
    INFLUX_BUCKET.
    """
    url = os.environ.get("INFLUX_URL")
    if not url:
        return None
    parts = urllib.parse.urlsplit(url)
    scheme = "influxdbs" if parts.scheme == "https" else "influxdb"
    return f"{scheme}://{parts.netloc}", os.environ.get("INFLUX_BUCKET", "meterhall_test")


def fresh_database(root, folder, *, prefix="meterhall_test"):
    """The URL of a store on a new database of a server, with its local file in `folder`."""
    from storage.influx.address import parse_address
    from storage.influx.setup import prepare

    name = f"{prefix}_{os.getpid()}_{next(_databases)}"
    url = f"{root}/{name}?local={urllib.parse.quote(str(folder / 'influx.sqlite'))}"
    steps = prepare(parse_address(url))
    assert not [step for step in steps if step.state == "missing" and "database" in step.what], steps
    return url


def drop_database(url):
    """Remove the database (bucket) of a URL, where the server can."""
    from storage.influx.address import parse_address
    from storage.influx.client import Client
    from storage.influx.setup import client_2

    address = parse_address(url)
    client = Client(address)
    version = client.version()
    if version.startswith("1."):
        client.manage(f'DROP DATABASE "{address.database}"')
    elif version.startswith("2."):
        with client_2(address) as two:
            buckets = two.buckets_api()
            buckets.delete_bucket(buckets.find_bucket_by_name(address.database))
    client.close()
