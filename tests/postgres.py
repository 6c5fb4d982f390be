"""A private, real PostgreSQL for tests, on a free loopback port, with a password."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.influx import free_port

USER, PASSWORD = "meterhall", "written by the tests"
_databases = itertools.count()


def find_postgres():
    """The folder of PostgreSQL's programs, the newest; without it the test is skipped, or fails where CI=true."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name.split(".")[0])
    )
    if not folders:
        words = "PostgreSQL is not installed; install it: sudo apt-get install postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    return folders[-1].parent


class Postgres:
    """A server of its own in a folder of its own; as root it runs as nobody, since it refuses to run as root."""

    def __init__(self):
        self.programs, self.port, self.process = find_postgres(), free_port(), None
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, and open to the user it runs as
        self._as = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        os.chmod(secret, 0o644)  # it is no secret
        subprocess.run(
            [self.programs / "initdb", "-D", self.folder / "data", "-U", USER, "--auth=scram-sha-256",
             f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-sync"],
            check=True, capture_output=True, cwd="/", **self._as,
        )  # fmt: skip

    def start(self):
        """Start it, and return when it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", "-h", "127.0.0.1", "-p", str(self.port),
                 "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=30"],
                stdout=log, stderr=log, cwd="/", **self._as,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"PostgreSQL does not answer; see {self.folder}/log")
            time.sleep(0.05)
        return self

    def _answers(self):
        ready = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def stop(self):
        """End it as a crash of the server would: at once."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None

    def remove(self):
        """Stop it, and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, database, *statements):
        """Run statements as the server's owner, each by itself; returns the last one's rows, if any."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        ) as con:
            for statement in statements:
                cursor = con.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def new_database(self):
        """The URL of a fresh database, without the password."""
        name = f"ledger_{next(_databases)}"
        self.execute("postgres", f"CREATE DATABASE {name} TEMPLATE template0")
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"
