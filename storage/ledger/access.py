"""Who may come in: users, sessions, one-time links, API keys; and who did what. Only hashes of secrets are kept.

Each change and its line in the audit log are one transaction: what cannot be written down is not done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import sqlalchemy as sa

from metering.explain import ExplainedError
from storage.ledger.tables import api_keys, audit, links, sessions, users

SESSIONS = 50  # of one user; the oldest ends for the 51st


@dataclass(frozen=True, slots=True)
class By:
    """Who does something, and from which address of the network; "" at the machine itself."""

    who: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class UserRow:
    """A person who may sign in. `password` is a hash, or "" until one is chosen; times [us since 1970]."""

    id: int
    name: str
    right: str  # read, admin
    password: str
    created_at: int
    disabled_at: int | None
    seen_at: int | None

    def __repr__(self) -> str:
        return f"UserRow({self.id}, {self.name!r}, {self.right!r})"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key, without the key itself. Times [us since 1970]."""

    id: int
    name: str
    prefix: str
    hash: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None
    used_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Something that was done, or refused. `at` [us since 1970]"""

    id: int
    at: int
    who: str
    address: str
    what: str
    subject: str


class AccessTables:
    """Durable when a call returns. May be used from any thread; made by `Ledger`.

    Every method may raise StoreUnavailable: then nothing was changed.
    """

    def __init__(self, begin: Callable[[], AbstractContextManager[sa.Connection]], writing: Lock) -> None:
        self._begin, self._writing = begin, writing

    # ---- audit ----

    def note(self, by: By, what: str, subject: str, now: int) -> None:
        """Write down that something is done or was refused."""
        with self._writing, self._begin() as con:
            _note(con, by, what, subject, now)

    def audited(self, before: int | None = None, limit: int = 1000) -> list[AuditRow]:
        """What was done, the newest first; only ids below `before`."""
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        with self._begin() as con:
            return [AuditRow(**row) for row in con.execute(query).mappings()]

    # ---- users ----

    def users(self) -> list[UserRow]:
        """All of them, by name."""
        with self._begin() as con:
            return [UserRow(**row) for row in con.execute(sa.select(users).order_by(users.c.name)).mappings()]

    def user(self, name: str) -> UserRow | None:
        """One of them; None if there is none of that name."""
        with self._begin() as con:
            row = con.execute(sa.select(users).where(users.c.name == name)).mappings().first()
        return None if row is None else UserRow(**row)

    def add_user(self, name: str, right: str, link_hash: str, link_until: int, by: By, now: int) -> None:
        """A new user, and the link by which they choose their password.

        Raises
        ------
        ExplainedError
            If the name is taken.
        """
        with self._writing, self._begin() as con:
            number = _new_user(con, name, right, "", now)
            con.execute(sa.insert(links).values(hash=link_hash, user=number, expires_at=link_until))
            _note(con, by, "user_added", f"{name}: {right}", now)

    def disable_user(self, name: str, by: By, now: int) -> bool:
        """They cannot sign in any more and are signed out everywhere; False if there is none of that name."""
        with self._writing, self._begin() as con:
            number = _id_of(con, name)
            if number is None:
                return False
            con.execute(sa.update(users).where(users.c.id == number).values(disabled_at=now))
            _forget(con, number)
            _note(con, by, "user_disabled", name, now)
        return True

    def reset_user(self, name: str, link_hash: str, link_until: int, by: By, now: int) -> bool:
        """Their password is void, they are signed out, may sign in again, and choose a new one by the link."""
        with self._writing, self._begin() as con:
            number = _id_of(con, name)
            if number is None:
                return False
            con.execute(sa.update(users).where(users.c.id == number).values(password="", disabled_at=None))
            _forget(con, number)
            con.execute(sa.insert(links).values(hash=link_hash, user=number, expires_at=link_until))
            _note(con, by, "user_reset", name, now)
        return True

    def rehash(self, user: int, old: str, new: str) -> None:
        """The same password, hashed with today's cost; nothing if it was changed meanwhile."""
        with self._writing, self._begin() as con:
            con.execute(sa.update(users).where(users.c.id == user, users.c.password == old).values(password=new))

    # ---- one-time links ----

    def offer_first_account(self, link_hash: str, until: int) -> bool:
        """Make the link by which the first account is made, in the place of an older one; False if there is a user."""
        with self._writing, self._begin() as con:
            if con.execute(sa.select(users.c.id).limit(1)).first() is not None:
                return False
            con.execute(sa.delete(links).where(links.c.user.is_(None)))
            con.execute(sa.insert(links).values(hash=link_hash, user=None, expires_at=until))
        return True

    def link(self, link_hash: str, now: int) -> tuple[bool, str]:
        """(is it good, whose it is): "" is that of the first account."""
        query = (
            sa.select(links.c.user, users.c.name, users.c.disabled_at)
            .outerjoin(users, users.c.id == links.c.user)
            .where(links.c.hash == link_hash, links.c.expires_at > now)
        )
        with self._begin() as con:
            row = con.execute(query).first()
        if row is None or (row.user is not None and (row.name is None or row.disabled_at is not None)):
            return False, ""
        return True, row.name or ""

    def use_link(self, link_hash: str, name: str, password: str, by: By, now: int) -> str | None:
        """Set the password a link allows, once: of its user, or of a first account called `name`. The name, or None.

        The link is gone when this returns, so that of two who come at once, one gets in.
        """
        with self._writing, self._begin() as con:
            row = con.execute(sa.select(links).where(links.c.hash == link_hash, links.c.expires_at > now)).first()
            if row is None or not con.execute(sa.delete(links).where(links.c.id == row.id)).rowcount:
                return None
            if row.user is None:
                if con.execute(sa.select(users.c.id).limit(1)).first() is not None:
                    return None
                _new_user(con, name, "admin", password, now)
                _note(con, by, "first_account_made", name, now)
                return name
            mine = sa.and_(users.c.id == row.user, users.c.disabled_at.is_(None))
            if not con.execute(sa.update(users).where(mine).values(password=password)).rowcount:
                return None
            owner: str = con.execute(sa.select(users.c.name).where(users.c.id == row.user)).scalar_one()
            _forget(con, row.user)
            _note(con, by, "password_set", owner, now)
            return owner

    # ---- sessions ----

    def open_session(self, user: UserRow, hashed: str, until: int, by: By, now: int) -> bool:
        """Sign somebody in; False if their password was changed or they were disabled since they were looked up."""
        with self._writing, self._begin() as con:
            same = sa.and_(users.c.id == user.id, users.c.password == user.password, users.c.disabled_at.is_(None))
            if not con.execute(sa.update(users).where(same).values(seen_at=now)).rowcount:
                return False
            values = {"hash": hashed, "user": user.id, "created_at": now, "seen_at": now, "expires_at": until}
            con.execute(sa.insert(sessions).values(values))
            con.execute(sa.delete(sessions).where(sessions.c.expires_at <= now))
            kept = sa.select(sessions.c.id).where(sessions.c.user == user.id).order_by(sessions.c.id.desc())
            oldest = [row.id for row in con.execute(kept.offset(SESSIONS))]
            if oldest:
                con.execute(sa.delete(sessions).where(sessions.c.id.in_(oldest)))
            _note(con, by, "sign_in", user.name, now)
        return True

    def session(self, hashed: str, now: int, seen_since: int) -> tuple[UserRow, int] | None:
        """Whose session it is and when it was last used; None if it ended, or was not used since `seen_since`."""
        query = (
            sa.select(users, sessions.c.seen_at.label("used_at"))
            .join(sessions, sessions.c.user == users.c.id)
            .where(
                sessions.c.hash == hashed,
                sessions.c.expires_at > now,
                sessions.c.seen_at >= seen_since,
                users.c.disabled_at.is_(None),
            )
        )
        with self._begin() as con:
            row = con.execute(query).mappings().first()
        if row is None:
            return None
        values = dict(row)
        used_at = values.pop("used_at")
        return UserRow(**values), used_at

    def touch_session(self, hashed: str, now: int) -> None:
        """It is in use."""
        with self._writing, self._begin() as con:
            con.execute(sa.update(sessions).where(sessions.c.hash == hashed).values(seen_at=now))

    def close_session(self, hashed: str, by: By, now: int) -> None:
        """Sign out."""
        with self._writing, self._begin() as con:
            if con.execute(sa.delete(sessions).where(sessions.c.hash == hashed)).rowcount:
                _note(con, by, "sign_out", "", now)

    # ---- API keys ----

    def keys(self) -> list[KeyRow]:
        """All of them, also revoked ones, by name."""
        with self._begin() as con:
            return [_key(row) for row in con.execute(sa.select(api_keys).order_by(api_keys.c.name)).mappings()]

    def key(self, prefix: str) -> KeyRow | None:
        """The one with this visible beginning."""
        with self._begin() as con:
            row = con.execute(sa.select(api_keys).where(api_keys.c.prefix == prefix)).mappings().first()
        return None if row is None else _key(row)

    def add_key(
        self, name: str, prefix: str, hashed: str, scopes: Sequence[str], expires_at: int | None, by: By, now: int
    ) -> KeyRow:
        """A new key.

        Raises
        ------
        ExplainedError
            If a key of that name is in use.
        """
        values = {
            "name": name, "prefix": prefix, "hash": hashed, "scopes": list(scopes), "created_at": now,
            "expires_at": expires_at,
        }  # fmt: skip
        with self._writing, self._begin() as con:
            standing = con.execute(sa.select(api_keys).where(api_keys.c.name == name)).mappings().first()
            if standing is not None and standing["revoked_at"] is None:
                raise ExplainedError(f'key "{name}"', "is there already", "revoke it first, or choose another name")
            con.execute(sa.delete(api_keys).where(api_keys.c.name == name))
            made = con.execute(sa.insert(api_keys).values(values)).inserted_primary_key[0]  # type: ignore[index]
            until = "" if expires_at is None else f", until {expires_at}"
            _note(con, by, "key_added", f"{name} ({prefix}): {' '.join(scopes)}{until}", now)
        return KeyRow(int(made), name, prefix, hashed, tuple(scopes), now, expires_at, None, None)

    def revoke_key(self, name: str, by: By, now: int) -> bool:
        """It opens nothing any more; False if no key of that name is in use."""
        with self._writing, self._begin() as con:
            mine = sa.and_(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
            if not con.execute(sa.update(api_keys).where(mine).values(revoked_at=now)).rowcount:
                return False
            _note(con, by, "key_revoked", name, now)
        return True

    def touch_key(self, key: int, now: int) -> None:
        """It is in use."""
        with self._writing, self._begin() as con:
            con.execute(sa.update(api_keys).where(api_keys.c.id == key).values(used_at=now))


def _note(con: sa.Connection, by: By, what: str, subject: str, now: int) -> None:
    con.execute(sa.insert(audit).values(at=now, who=by.who, address=by.address, what=what, subject=subject))


def _new_user(con: sa.Connection, name: str, right: str, password: str, now: int) -> int:
    if _id_of(con, name) is not None:
        raise ExplainedError(f'user "{name}"', "is there already", "choose another name, or reset this one")
    values = {"name": name, "right": right, "password": password, "created_at": now}
    return int(con.execute(sa.insert(users).values(values)).inserted_primary_key[0])  # type: ignore[index]


def _id_of(con: sa.Connection, name: str) -> int | None:
    return con.execute(sa.select(users.c.id).where(users.c.name == name)).scalar()


def _forget(con: sa.Connection, user: int) -> None:
    """End what somebody holds: sessions and links."""
    con.execute(sa.delete(sessions).where(sessions.c.user == user))
    con.execute(sa.delete(links).where(links.c.user == user))


def _key(row: Mapping[Any, Any]) -> KeyRow:
    return KeyRow(**{**row, "scopes": tuple(row["scopes"])})
