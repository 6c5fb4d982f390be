"""Who is asking: the one place that decides about passwords, sessions, API keys and one-time links.

Nothing that opens a door is kept: of keys, cookies and links SHA-256 (they are 256 random bits), of passwords argon2id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from api import passwords
from api.errors import Busy, Refused
from api.throttle import Remembered, Throttle, network_of
from metering.clock import DAY_US, HOUR_US, MINUTE_US, now_us
from storage.ledger.access import AccessTables, AuditRow, By, KeyRow, UserRow

Right = Literal["public", "read", "write:ingest", "admin"]
SCOPES: tuple[Right, ...] = ("read", "write:ingest", "admin")
USER_RIGHTS: tuple[Right, ...] = ("read", "admin")

SESSION_US = 30 * DAY_US  # the longest
IDLE_US = 24 * HOUR_US  # not used for so long, it ends
SEEN_US = 5 * MINUTE_US  # how exactly its use is written down
LINK_US = DAY_US
USED_US = MINUTE_US
KEY = re.compile(r"mhk_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who is known, and what they may.

    kind : user, key or token (admin.token); session : whether a browser's cookie says so
    """

    kind: Literal["user", "key", "token"]
    name: str
    rights: frozenset[str]
    session: bool = False

    def may(self, right: Right) -> bool:
        """Admin may everything."""
        return right == "public" or right in self.rights or "admin" in self.rights

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Opened(NamedTuple):
    """A session that has begun: what goes into the cookie, and how long it lasts."""

    cookie: str
    lasts_s: int


class Made(NamedTuple):
    """A new key: its row, and the key itself, which is shown once."""

    row: KeyRow
    key: str


class Wrong(Refused):
    """Name or password is wrong: which of them is not said (401)."""

    status = 401
    type = "unauthorized"


class Access:
    """May be used from any thread."""

    def __init__(self, tables: AccessTables, now: Callable[[], int] = now_us) -> None:
        self._tables, self._now = tables, now
        self._by_address = Throttle(10, 30.0)
        self._by_name = Throttle(20, 30.0)
        self._at_home = Remembered()  # (name, address) that signed in: not held up by what others fail

    # ---- passwords and sessions ----

    def sign_in(self, name: str, password: str, address: str, old_cookie: str = "") -> Opened:
        """Begin a session under a new secret; one that the browser held ends.

        Raises
        ------
        Wrong
            If name or password is wrong, or the account is disabled: the same words, after the same time.
        Busy
            If this address, or somebody under this name, failed too often.
        """
        name, network = plain_name(name), network_of(address)
        at_home = (name, network) in self._at_home
        self._hold_up((self._by_address, network), *(() if at_home else ((self._by_name, name),)))
        user = self._tables.user(name) if NAME.fullmatch(name) else None
        hash_ = user.password if user is not None and user.disabled_at is None else ""
        if not passwords.fits(password, hash_) or user is None:
            self._tables.note(By("nobody", address), "sign_in_refused", name, self._now())
            raise Wrong("name or password", "is wrong", "try again, or ask who looks after Meterhall for a new link")
        self._by_address.give_back(network)
        if not at_home:
            self._by_name.give_back(name)
        self._at_home.add((name, network))
        by, now = By(f"user {name}", address), self._now()
        cookie = secrets.token_urlsafe(32)
        if not self._tables.open_session(user, digest(cookie), now + SESSION_US, by, now):
            raise Wrong("name or password", "is wrong", "try again")
        if old_cookie:
            self._tables.close_session(digest(old_cookie), by, now)
        if passwords.is_outdated(hash_):
            self._tables.rehash(user.id, hash_, passwords.hashed(password))
        return Opened(cookie, SESSION_US // 1_000_000)

    def _hold_up(self, *throttles: tuple[Throttle, str]) -> None:
        taken: list[tuple[Throttle, str]] = []
        for throttle, name in throttles:
            wait_s = throttle.take(name)
            if wait_s:
                for other, its_name in taken:
                    other.give_back(its_name)
                raise Busy("sign-in", "failed too often", f"try again in {wait_s:.0f} s")
            taken.append((throttle, name))

    def session(self, cookie: str) -> Who | None:
        """Whose session a cookie is; None if it is none, or has ended."""
        hashed, now = digest(cookie), self._now()
        found = self._tables.session(hashed, now, now - IDLE_US)
        if found is None:
            return None
        user, used_at = found
        if now - used_at > SEEN_US:
            self._tables.touch_session(hashed, now)
        return Who("user", user.name, frozenset((user.right,)), session=True)

    def sign_out(self, cookie: str, who: Who, address: str) -> None:
        """End a session."""
        self._tables.close_session(digest(cookie), By(str(who), address), self._now())

    # ---- one-time links ----

    def offer_first_account(self) -> str | None:
        """The code by which the first account is made, as long as there is none; older codes are void."""
        code = secrets.token_urlsafe(32)
        return code if self._tables.offer_first_account(digest(code), self._now() + LINK_US) else None

    def owner_of(self, code: str) -> tuple[bool, str]:
        """(is this code good, whose it is): "" for the first account."""
        return self._tables.link(digest(code), self._now())

    def set_password(self, code: str, name: str, password: str, address: str) -> str:
        """Use a one-time code; returns the name whose password it is now.

        Raises
        ------
        Refused
            If the password is weak or the name is none: the code stays good.
        Wrong
            If the code was used, is too old, or never was one.
        """
        network = network_of(address)
        self._hold_up((self._by_address, network))
        good, owner = self.owner_of(code)
        if not good:
            raise Wrong("the link", "was used, or is older than a day", "ask for a new one: meterhall users reset NAME")
        self._by_address.give_back(network)
        name = owner or checked_name(name)
        passwords.refuse_weak(password, name)
        by = By(f"user {name}", address)
        done = self._tables.use_link(digest(code), name, passwords.hashed(password), by, self._now())
        if done is None:
            raise Wrong("the link", "was used, or is older than a day", "ask for a new one: meterhall users reset NAME")
        return done

    # ---- users ----

    def users(self) -> list[UserRow]:
        """All of them, by name."""
        return self._tables.users()

    def add_user(self, name: str, right: str, by: By) -> str:
        """A new user; returns the code of the link by which they choose their password."""
        if right not in USER_RIGHTS:
            raise Refused("right", f'is "{right}"', f"use {' or '.join(USER_RIGHTS)}")
        code, now = secrets.token_urlsafe(32), self._now()
        self._tables.add_user(checked_name(name), right, digest(code), now + LINK_US, by, now)
        return code

    def disable_user(self, name: str, by: By) -> None:
        """Signed out everywhere, and not let in again until a reset."""
        if not self._tables.disable_user(plain_name(name), by, self._now()):
            raise _unknown(name)

    def reset_user(self, name: str, by: By) -> str:
        """The code of the link by which somebody chooses a new password; the old one is void."""
        code, now = secrets.token_urlsafe(32), self._now()
        if not self._tables.reset_user(plain_name(name), digest(code), now + LINK_US, by, now):
            raise _unknown(name)
        return code

    # ---- API keys ----

    def list_keys(self) -> list[KeyRow]:
        """All of them, by name."""
        return self._tables.keys()

    def add_key(self, name: str, scopes: Sequence[str], expires_at: int | None, by: By) -> Made:
        """A new key; the key itself is in the answer and nowhere else."""
        name, now = checked_name(name, "key"), self._now()
        wanted = tuple(each for each in SCOPES if each in scopes)
        if not wanted or set(scopes) - set(SCOPES):
            raise Refused("scopes", f"are {list(scopes)}", f"name one or more of {', '.join(SCOPES)}")
        if expires_at is not None and expires_at <= now:
            raise Refused("expiry", "is past", "give a later one, or none")
        prefix = "".join(secrets.choice(_LETTERS) for _ in range(8))
        key = f"mhk_{prefix}_{secrets.token_urlsafe(32)}"
        return Made(self._tables.add_key(name, prefix, digest(key), wanted, expires_at, by, now), key)

    def revoke_key(self, name: str, by: By) -> None:
        """It opens nothing any more, at once."""
        if not self._tables.revoke_key(name, by, self._now()):
            raise Refused(f'key "{name[:64]}"', "is not in use", "see the list of keys")

    def key(self, key: str) -> Who | None:
        """Whose key it is; None if it is none, was revoked or has expired."""
        parsed = KEY.fullmatch(key)
        if parsed is None:
            return None
        row, now = self._tables.key(parsed[1]), self._now()
        if row is None or not hmac.compare_digest(row.hash, digest(key)):
            return None
        if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
            return None
        if row.used_at is None or now - row.used_at > USED_US:
            self._tables.touch_key(row.id, now)
        return Who("key", row.name, frozenset(row.scopes))

    # ---- audit ----

    def note(self, who: str, address: str, what: str, subject: str = "") -> None:
        """Write down what is about to be done; StoreUnavailable if that cannot be, and then it is not done."""
        self._tables.note(By(who, address), what, subject, self._now())

    def audited(self, before: int | None, limit: int) -> list[AuditRow]:
        """What was done, newest first."""
        return self._tables.audited(before, limit)


def digest(secret: str) -> str:
    """SHA-256 of 256 random bits: nothing to guess, so nothing slow is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def plain_name(name: str) -> str:
    """A name as it is compared."""
    return name.strip().casefold()[:64]


def checked_name(name: str, what: str = "name") -> str:
    """A name that may be given to somebody.

    Raises
    ------
    Refused
        If it holds anything but letters a to z, digits and . _ @ -
    """
    plain = plain_name(name)
    if not NAME.fullmatch(plain) or len(name.strip()) > 64:
        raise Refused(what, f'is "{name[:64]}"', "use letters a to z, digits and . _ @ -, at most 64")
    return plain


def _unknown(name: str) -> Refused:
    return Refused(f'user "{name[:64]}"', "is not known", "see: meterhall users list")
