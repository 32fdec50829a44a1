"""Logins: browsers where users are logged in. A row each, so that whatever ends one ends it at once."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, exists, func, insert, select

from penstock_relay.store.database import Database
from penstock_relay.store.endings import end_logins
from penstock_relay.store.models import FactorRow, LoginRow, UserRow
from penstock_relay.store.users import USERS, User

MAX_LOGINS: Final = 100
"""Browsers where one user is logged in at a time; the oldest login makes room."""

_BY_WHOM: Final = "the pages record it, with how the user was known"


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """A login without its secret; ``sid`` is the identity provider's session, if there is one."""

    secret_hash: bytes
    user: str
    created_at: float
    expires_at: float
    sid: str | None = None


class Logins:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, login: LoginRecord, password_hash: str | None, *, alone: bool = False) -> bool:
        """False when ``password_hash``, by which the user was let in, is no longer the user's, or the user is
        disabled; or has a second factor, where that was ``alone``. Forgets logins that have expired, too.
        """
        async with self._database.writing(unrecorded=_BY_WHOM) as connection:
            still = select(UserRow.name).where(
                UserRow.name == login.user,
                UserRow.disabled_at.is_(None),
                UserRow.password_hash.is_not_distinct_from(password_hash),
            )
            if alone:
                still = still.where(~exists().where(FactorRow.user == login.user))
            if (await connection.execute(still)).first() is None:
                return False
            await connection.execute(delete(LoginRow).where(LoginRow.expires_at <= login.created_at))
            oldest = (
                select(LoginRow.secret_hash)
                .where(LoginRow.user == login.user)
                .order_by(LoginRow.created_at.desc())
                .offset(MAX_LOGINS - 1)
            )
            found = (await connection.execute(oldest)).scalars().all()
            await connection.execute(delete(LoginRow).where(LoginRow.secret_hash.in_(found)))
            await connection.execute(
                insert(LoginRow).values(
                    secret_hash=login.secret_hash,
                    user=login.user,
                    sid=login.sid,
                    created_at=login.created_at,
                    expires_at=login.expires_at,
                )
            )
            return True

    async def find(self, secret_hash: bytes, now: float) -> User | None:
        """Who is logged in there; None when nobody is, or a user who is disabled."""
        query = USERS.join(LoginRow, LoginRow.user == UserRow.name).where(
            LoginRow.secret_hash == secret_hash, LoginRow.expires_at > now
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None or row.disabled_at is not None else User(*row)

    async def end(self, secret_hash: bytes, now: float) -> bool:
        """False when it had ended already."""
        async with self._database.writing(unrecorded=_BY_WHOM) as connection:
            return await end_logins(connection, now, LoginRow.secret_hash == secret_hash) > 0

    async def count(self, user: str, now: float) -> int:
        """In how many browsers the user is logged in."""
        query = select(func.count()).select_from(LoginRow)
        async with self._database.reading() as connection:
            found = await connection.execute(query.where(LoginRow.user == user, LoginRow.expires_at > now))
            return found.scalar_one()
