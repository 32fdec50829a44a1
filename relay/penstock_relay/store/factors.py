"""Second factors: the key that a local user's app has too, and the recovery codes, each good once."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Kind
from penstock_relay.store.database import Database
from penstock_relay.store.endings import end_logins
from penstock_relay.store.models import FactorRow, LoginRow, RecoveryCodeRow, UserRow
from penstock_relay.store.record import record
from penstock_relay.store.users import NoSuchUser, forget_factor, has_user

_USE: Final = "the login, or the change, that it was used for is recorded"
_AGAIN: Final = "the same key, sealed again"


@dataclass(frozen=True, slots=True)
class Factor:
    """A user's second factor, without its recovery codes."""

    user: str
    secret: bytes
    """The key, sealed: see ``sealed``."""
    created_at: float
    last_step: int
    """The newest time step of which a code was used."""


class Factors:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        factor: Factor,
        recovery: Collection[bytes],
        *,
        password_hash: str | None,
        keep: bytes | None = None,
    ) -> bool:
        """Adds the factor, and hashes of its recovery codes; ends the user's logins but ``keep``.

        False when the user has one already, is disabled, or has another password than ``password_hash``, by
        which whoever asks for it was known.
        """
        async with self._database.writing() as connection:
            still = select(UserRow.name).where(
                UserRow.name == factor.user,
                UserRow.disabled_at.is_(None),
                UserRow.password_hash == password_hash,
            )
            if (await connection.execute(still)).first() is None:
                return False
            if await _found(connection, factor.user) is not None:
                return False
            await connection.execute(
                insert(FactorRow).values(
                    user=factor.user,
                    secret=factor.secret,
                    created_at=factor.created_at,
                    last_step=factor.last_step,
                )
            )
            await connection.execute(
                insert(RecoveryCodeRow), [{"secret_hash": each, "user": factor.user} for each in recovery]
            )
            others = [LoginRow.user == factor.user]
            if keep is not None:
                others.append(LoginRow.secret_hash != keep)
            ended = await end_logins(connection, factor.created_at, *others)
            await record(connection, Kind.FACTOR_ADDED, user=factor.user, logins=ended)
            return True

    async def find(self, user: str) -> Factor | None:
        async with self._database.reading() as connection:
            return await _found(connection, user)

    async def recovery_left(self, user: str) -> int:
        """How many recovery codes were not used."""
        async with self._database.reading() as connection:
            return await _left(connection, user)

    async def use_step(self, factor: Factor, step: int) -> bool:
        """Uses the code of a time step up. False when it, or a later one, was used: of many at once one wins.

        False also when ``factor`` is not the user's any more.
        """
        async with self._database.writing(unrecorded=_USE) as connection:
            used = await connection.execute(
                update(FactorRow)
                .where(
                    FactorRow.user == factor.user,
                    FactorRow.secret == factor.secret,
                    FactorRow.last_step < step,
                )
                .values(last_step=step)
            )
            return used.rowcount > 0

    async def use_recovery(self, user: str, secret_hash: bytes) -> int | None:
        """Uses a recovery code up, and says how many are left; None when it is not one of the user's."""
        async with self._database.writing() as connection:
            used = await connection.execute(
                delete(RecoveryCodeRow).where(
                    RecoveryCodeRow.user == user, RecoveryCodeRow.secret_hash == secret_hash
                )
            )
            if used.rowcount == 0:
                return None
            left = await _left(connection, user)
            await record(connection, Kind.RECOVERY_CODE_USED, user=user, left=left)
            return left

    async def remove(self, user: str) -> bool:
        """Takes it away, with its recovery codes, because the user wants that. False when there is none."""
        async with self._database.writing() as connection:
            if not await forget_factor(connection, user):
                return False
            await record(connection, Kind.FACTOR_REMOVED, user=user)
            return True

    async def reset(self, user: str, now: float) -> int | None:
        """The same because the user has lost it; ends the user's logins, and says how many that were.

        None when there is none. Raises NoSuchUser.
        """
        async with self._database.writing() as connection:
            if not await has_user(connection, user):
                raise NoSuchUser(user)
            if not await forget_factor(connection, user):
                return None
            ended = await end_logins(connection, now, LoginRow.user == user)
            await record(connection, Kind.FACTOR_RESET, user=user, logins=ended)
            return ended

    async def all(self) -> list[Factor]:
        """By user."""
        async with self._database.reading() as connection:
            return [Factor(*row) for row in await connection.execute(_FACTORS.order_by(FactorRow.user))]

    async def seal_again(self, factor: Factor, secret: bytes) -> bool:
        """Keeps ``secret`` in the place of the sealed key of ``factor``; False when that has changed."""
        async with self._database.writing(unrecorded=_AGAIN) as connection:
            changed = await connection.execute(
                update(FactorRow)
                .where(FactorRow.user == factor.user, FactorRow.secret == factor.secret)
                .values(secret=secret)
            )
            return changed.rowcount > 0


_FACTORS: Final = select(FactorRow.user, FactorRow.secret, FactorRow.created_at, FactorRow.last_step)


async def _found(connection: AsyncConnection, user: str) -> Factor | None:
    row = (await connection.execute(_FACTORS.where(FactorRow.user == user))).first()
    return None if row is None else Factor(*row)


async def _left(connection: AsyncConnection, user: str) -> int:
    query = select(func.count()).select_from(RecoveryCodeRow).where(RecoveryCodeRow.user == user)
    return (await connection.execute(query)).scalar_one()
