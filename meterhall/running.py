"""The running server, asked over its own API by the command line beside it."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from typing import Any

from devices.settings import Settings
from metering.explain import ExplainedError
from storage.files import OS_FILES

TIMEOUT_S = 60.0


def is_running(settings: Settings) -> bool:
    """Does a process hold the data folder?"""
    if not settings.data.is_dir():
        return False
    lock = OS_FILES.lock(settings.data)
    if lock is None:
        return True
    os.close(lock)
    return False


def ask(settings: Settings, method: str, path: str, body: Any = None) -> Any:
    """The JSON answer of the server that runs on this configuration, asked with its admin.token.

    Raises
    ------
    ExplainedError
        If it does not answer, or refuses.
    """
    url = f"{local_url(settings)}{path}"
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {_token(settings)}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
    try:
        with opener_for(settings).open(request, timeout=TIMEOUT_S) as reply:
            body = reply.read()
            return json.loads(body) if body else None
    except urllib.error.HTTPError as error:
        raise ExplainedError(url, f"answers {error.code}: {_detail(error)}", "see the log of the server") from None
    except (urllib.error.URLError, TimeoutError, OSError, ValueError) as error:
        raise ExplainedError(
            url, f"does not answer: {error}", "is the server that uses this data folder up, at this address?"
        ) from None


def local_url(settings: Settings) -> str:
    """Where this machine reaches its own server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    scheme = "https" if settings.server.cert_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def opener_for(settings: Settings) -> urllib.request.OpenerDirector:
    """Opens our own server, past any proxy; over TLS it must show the very certificate of the settings."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if settings.server.cert_file:
        context = ssl.create_default_context(cafile=settings.server.cert_file)
        context.check_hostname = False  # it is reached by an address, and known by its certificate
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def _token(settings: Settings) -> str:
    path = settings.data / "admin.token"
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ExplainedError(str(path), f"cannot be read: {error}", "run this as the user the server runs as") from None


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error).get("detail", error.reason))
    except (ValueError, AttributeError):
        return str(error.reason)
