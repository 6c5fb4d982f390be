"""What has to be in order before others than this machine may come, and the link that lets the first of them in."""

from __future__ import annotations

import stat
import sys

from api.access import Access
from api.serving import Tls, try_tls
from devices.settings import Settings
from metering.explain import ExplainedError

SHORTEST_TOKEN = 16


def refuse_exposed(settings: Settings) -> None:
    """Refuse to start where a secret is empty or can be read by others, or a certificate cannot be used.

    Raises
    ------
    ExplainedError
        Naming the file and the mend; nothing has been opened.
    """
    if not settings.sign_in:
        return
    path = settings.data / "admin.token"
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        pass  # the first start makes one
    except OSError as error:
        raise ExplainedError(str(path), f"cannot be read: {error.strerror}", "run as the user it belongs to") from None
    else:
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ExplainedError(
                str(path),
                "can be read or changed by others on this machine",
                f"rm {path}: the next start makes a new one (others may know this one)",
            )
        if len(token) < SHORTEST_TOKEN:
            raise ExplainedError(str(path), "is empty or too short", f"rm {path}: the next start makes a new one")
    tls = tls_of(settings)
    if tls is not None:
        try_tls(tls)


def tls_of(settings: Settings) -> Tls | None:
    """Certificate and key; None without TLS."""
    return Tls(settings.server.cert_file, settings.server.key_file) if settings.server.cert_file else None


def address_of(settings: Settings, host: str, port: int) -> str:
    """Where it answers now; the port may have been chosen by the system."""
    if settings.server.behind_proxy or settings.server.cert_file:
        return settings.url
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def link_of(settings: Settings, code: str) -> str:
    """A one-time link. Its code stands behind the #, which browsers do not send: it comes into no log on the way."""
    return f"{settings.url}/set-up#{code}"


def offer_first_account(settings: Settings, access: Access) -> None:
    """Where sign-in is asked for and nobody has an account: print the link that makes the first, once."""
    if not settings.sign_in:
        return
    code = access.offer_first_account()
    if code is not None:
        print(f"The first account (good once, for a day): {link_of(settings, code)}", file=sys.stderr, flush=True)
