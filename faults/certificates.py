"""Certificates of our own making, and a TLS listener that counts what it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


def secret(place: Path) -> Path:
    """A password file."""
    path = place / "password"
    path.write_text("a-secret-that-must-not-leave\n")
    path.chmod(0o600)
    return path


def certificates(place: Path, name: str, *, expired: bool = False) -> tuple[Path, Path, Path]:
    """An authority of our own, and a certificate with its key, made with openssl."""
    place.mkdir(parents=True, exist_ok=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-days",
        "30",
        "-subj",
        "/CN=faults",
    )
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "b.key", "-out", "b.csr", "-subj", f"/CN={name}")
    kind = "IP" if name[0].isdigit() else "DNS"
    (place / "names").write_text(f"subjectAltName={kind}:{name}\n")
    (place / "index.txt").touch()
    (place / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\n"
        "unique_subject=no\ncopy_extensions=none\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\n"
        f"subjectAltName={kind}:{name}\n"
    )
    (place / "serial").write_text("01\n")
    start, end = ("20200101000000Z", "20210101000000Z") if expired else ("20200101000000Z", "20991231000000Z")
    openssl("ca", "-batch", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key", "-in", "b.csr",
            "-out", "b.crt",
            "-startdate", start, "-enddate", end, "-notext")  # fmt: skip
    return place / "ca.crt", place / "b.crt", place / "b.key"


@contextlib.contextmanager
def listening(certificate: Path, key: Path) -> Iterator[tuple[int, list[int]]]:
    """A TLS listener: its port, and for each connection how many bytes came after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = socket.create_server(("127.0.0.1", 0))
    heard: list[int] = []

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            received = 0
            client.settimeout(3)
            with contextlib.suppress(OSError, ssl.SSLError), context.wrap_socket(client, server_side=True) as secure:
                while data := secure.recv(4096):
                    received += len(data)
            heard.append(received)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1], heard
    finally:
        server.close()
