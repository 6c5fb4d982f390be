"""Beyond this machine: what keeps it from starting, and a real server with TLS that others sign in to."""

import http.client
import json
import re
import ssl
import subprocess
import sys
import urllib.parse

import pytest

from api.serving import Tls, server_of, try_tls
from devices.catalog import ConfigurationError
from devices.settings import ServerSettings
from meterhall.exposure import link_of, refuse_exposed
from metering.explain import ExplainedError
from tests.conftest import free_port, wait_until
from tests.filled import configure

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of our own for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "server.key", "-out",
         "server.crt"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "server.key").chmod(0o600)
    return folder


def configured(folder, certificate=None, port=8420, **server):
    """A folder's settings with these lines in [server]; texts and lists as they are written in TOML."""
    configure(folder, port=port)
    if certificate:
        for name in ("server.crt", "server.key"):
            (folder / name).write_bytes((certificate / name).read_bytes())
            (folder / name).chmod(0o600)
        server = {"cert_file": "server.crt", "key_file": "server.key", **server}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in server.items())
    path = folder / "meterhall.toml"
    path.write_text(path.read_text().replace("[server]\n", "[server]\n" + lines))
    from collector.decoders import profile_protocols
    from devices.catalog import load_settings

    return load_settings(folder, profile_ids=profile_protocols)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"host": "0.0.0.0", "allowed_hosts": ["a.example"]}, "where others can listen in; add cert_file and key_file"),
        ({"host": "::", "behind_proxy": "http://meter.example"}, "in clear; let the proxy do TLS"),
        ({"behind_proxy": "https://meter.example/path"}, "write the address people type"),
        ({"behind_proxy": "https://anna:word@meter.example"}, "holds more than scheme, name and port"),
        ({"behind_proxy": "https://meter.example", "proxies": ["all"]}, "write addresses or networks"),
        ({"allowed_hosts": ["https://a.example:1/"]}, "write names without port"),
        ({"cert_file": "site.toml"}, "key_file: is missing beside cert_file"),
    ],
)
def test_a_server_that_others_could_abuse_is_no_valid_configuration(tmp_path, server, said):
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        configured(tmp_path, **server)


def test_a_key_that_others_can_read_or_that_is_empty_is_refused(tmp_path, certificate):
    everywhere = {"host": "0.0.0.0", "allowed_hosts": ["localhost"]}
    settings = configured(tmp_path, certificate, **everywhere)
    refuse_exposed(settings)
    (tmp_path / "server.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"can be read or changed by others; chmod 600"):
        configured_again(tmp_path)
    (tmp_path / "server.key").chmod(0o600)
    (tmp_path / "server.key").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is empty; write the key into it"):
        configured_again(tmp_path)
    with pytest.raises(ExplainedError, match="cannot be used"):
        refuse_exposed(settings)


def configured_again(folder):
    from devices.catalog import load_settings

    return load_settings(folder)


def test_an_admin_token_that_is_empty_or_known_to_others_is_refused_where_others_come(tmp_path):
    settings = configured(tmp_path, behind_proxy="https://meter.example")
    settings.data.mkdir()
    token = settings.data / "admin.token"
    for text, mode, said in (("", 0o600, "empty or too short"), ("x" * 43, 0o644, "read or changed by others")):
        token.write_text(text)
        token.chmod(mode)
        with pytest.raises(ExplainedError, match=f"{said}.*; rm "):
            refuse_exposed(settings)
        refuse_exposed(configured(tmp_path)), "on loopback as ever"
    token.chmod(0o600)
    refuse_exposed(settings)


def test_the_server_itself_binds_nothing_that_the_configuration_should_have_refused(services_like):
    app = services_like(open_reading=True)
    with pytest.raises(ExplainedError, match="everybody on the network"):
        server_of(app, host="0.0.0.0")
    app = services_like(open_reading=False, access=None)
    with pytest.raises(ExplainedError, match="everybody on the network"):
        server_of(app, host="0.0.0.0")
    app = services_like(open_reading=False, access=object())
    with pytest.raises(ExplainedError, match="in clear"):
        server_of(app, host="0.0.0.0")
    server_of(services_like(open_reading=False, access=object(), public_url="https://meter.example"), host="0.0.0.0")


@pytest.fixture
def services_like():
    from types import SimpleNamespace

    def make(**services):
        defaults = {"open_reading": True, "access": None, "public_url": ""}
        return SimpleNamespace(state=SimpleNamespace(services=SimpleNamespace(**defaults | services)))

    return make


def test_certificate_and_key_that_do_not_fit_are_refused(tmp_path, certificate):
    try_tls(Tls(str(certificate / "server.crt"), str(certificate / "server.key")))
    with pytest.raises(ExplainedError, match="give a PEM certificate chain"):
        try_tls(Tls(str(certificate / "server.key"), str(certificate / "server.crt")))


def test_addresses_and_links_come_from_the_configuration_alone(tmp_path):
    assert configured(tmp_path / "a").url == "http://127.0.0.1:8420"
    proxied = configured(tmp_path / "b", behind_proxy="https://Meter.example:8443/")
    assert link_of(proxied, "code") == "https://meter.example:8443/set-up#code"
    assert proxied.sign_in and "meter.example" in proxied.allowed_hosts
    assert not configured(tmp_path / "c").sign_in and configured(tmp_path / "d", sign_in=True).sign_in
    assert ServerSettings().proxies == ("127.0.0.1/32", "::1/128")


class Served:
    """`meterhall run` on every address of this machine, with TLS."""

    def __init__(self, folder, certificate):
        self.folder, self.port = folder, free_port()
        configured(folder, certificate, port=self.port, host="0.0.0.0", allowed_hosts=["localhost"])
        self.context = ssl.create_default_context(cafile=str(folder / "server.crt"))
        self.log = folder / "run.log"
        self.start()

    def start(self):
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "meterhall", "run", "--config", str(self.folder)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: "runs at https://localhost" in self.log.read_text(), 60, "the server runs")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.context, timeout=20)
        if isinstance(body, dict):
            body = urllib.parse.urlencode(body)
            headers |= {"content-type": "application/x-www-form-urlencoded", "origin": f"https://localhost:{self.port}"}
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply, text

    def command(self, *words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "meterhall", *words, "--config", str(self.folder)], capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        return done.stdout


@pytest.mark.slow
def test_others_sign_in_over_tls_and_programs_show_keys(tmp_path, certificate):
    server = Served(tmp_path, certificate)
    try:
        code = re.search(r"/set-up#(\S+)", server.log.read_text())[1]
        reply, _ = server.ask("GET", "/meters", accept="text/html")
        assert (reply.status, reply.headers["location"]) == (303, "/sign-in?next=%2Fmeters")
        assert server.ask("GET", "/api/v1/meters")[0].status == 401
        assert server.ask("GET", "/metrics")[0].status == 401
        assert server.ask("GET", "/health/live")[0].status == 200
        fields = {"code": code, "name": "anna", "password": PASSWORD, "again": PASSWORD}
        reply, _ = server.ask("POST", "/set-up", fields)
        cookie = reply.headers["set-cookie"]
        assert reply.status == 303 and cookie.startswith("__Host-") and "Secure" in cookie
        signed_in = {"cookie": cookie.partition(";")[0]}
        assert server.ask("GET", "/api/v1/meters", **signed_in)[0].status == 200
        assert server.ask("GET", "/sign-in", host="evil.example")[0].status == 421

        key = server.command("keys", "add", "prom", "--scope", "read", "--days", "2").strip()
        bearer = {"authorization": f"Bearer {key}"}
        assert server.ask("GET", "/metrics", **bearer)[0].status == 200
        assert server.ask("POST", "/api/v1/reload", **bearer)[0].status == 403
        assert "mhk_" in server.command("keys", "list") and key not in server.command("keys", "list")
        server.command("keys", "revoke", "prom")
        assert server.ask("GET", "/metrics", **bearer)[0].status == 401
        assert f"https://localhost:{server.port}/set-up#" in server.command("users", "add", "bert")
        assert "no password yet" in server.command("users", "list")
        server.command("users", "disable", "anna")
        assert server.ask("GET", "/api/v1/meters", **signed_in)[0].status == 401
        assert "user_disabled" in server.command("audit")
        server.command("users", "disable", "nobody", code=1)
        server.stop()

        assert "no password yet" in server.command("users", "list"), "also while it is stopped"
        server.command("keys", "add", "later", "--scope", "write:ingest")
        server.start()
        assert "/set-up#" not in server.log.read_text(), "somebody has an account"
        ours = (key, code, cookie.partition("=")[2].partition(";")[0], PASSWORD)
        kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
        assert not any(secret.encode() in kept for secret in ours)
    finally:
        if server.process.poll() is None:
            server.stop()
