"""Users with an account of this relay's own, and the invitations by which they choose a password."""

from dataclasses import dataclass, replace

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Change, Kind, invite_id
from penstock_relay.store.database import Database, StoreError
from penstock_relay.store.models import GrantRow, UserInviteRow, UserRow
from penstock_relay.store.record import record
from penstock_relay.store.revocation import end_grants


class UserExists(StoreError):
    """There is a user of that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is a user {name!r} already. For a new password: penstock-relay user invite {name}"
        )


class NoSuchUser(StoreError):
    """There is no user of that name."""

    def __init__(self, name: str, *, disabled: bool = False) -> None:
        super().__init__(
            f"The user {name!r} is disabled, and stays so. Make another account with: penstock-relay user add"
            if disabled
            else f"There is no user {name!r}. Make the account with: penstock-relay user add {name}"
        )


@dataclass(frozen=True, slots=True)
class User:
    """An account; times since the epoch. ``password_hash`` is None until the invitation was accepted."""

    name: str
    email: str
    password_hash: str | None
    created_at: float
    disabled_at: float | None = None


class Users:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user: User, invite_hash: bytes, invite_expires_at: float) -> None:
        """The user and one invitation. Raises UserExists."""
        async with self._database.writing() as connection:
            if await has_user(connection, user.name):
                raise UserExists(user.name)
            await connection.execute(
                insert(UserRow).values(
                    name=user.name,
                    email=user.email,
                    password_hash=user.password_hash,
                    created_at=user.created_at,
                    disabled_at=user.disabled_at,
                )
            )
            await _invite(connection, Kind.USER_ADDED, user.name, invite_hash, invite_expires_at)

    async def invite(self, name: str, invite_hash: bytes, now: float, expires_at: float) -> None:
        """A new invitation in the place of those that were not used. Raises NoSuchUser, if disabled too."""
        async with self._database.writing() as connection:
            row = (await connection.execute(_COLUMNS.where(UserRow.name == name))).first()
            if row is None or row.disabled_at is not None:
                raise NoSuchUser(name, disabled=row is not None)
            await connection.execute(
                delete(UserInviteRow).where(UserInviteRow.user == name, UserInviteRow.used_at.is_(None))
            )
            await _invite(connection, Kind.USER_INVITED, name, invite_hash, expires_at)

    async def invited(self, invite_hash: bytes, now: float) -> User | None:
        """Whose invitation it is, while it can be used."""
        async with self._database.reading() as connection:
            return await _invited(connection, invite_hash, now)

    async def accept(self, invite_hash: bytes, password_hash: str, now: float) -> User | None:
        """Uses the invitation up and sets the password; None when it cannot be used (any more)."""
        async with self._database.writing() as connection:
            user = await _invited(connection, invite_hash, now)
            if user is None:
                return None
            await connection.execute(
                update(UserInviteRow).where(UserInviteRow.secret_hash == invite_hash).values(used_at=now)
            )
            await connection.execute(
                update(UserRow).where(UserRow.name == user.name).values(password_hash=password_hash)
            )
            await record(
                connection,
                Kind.PASSWORD_SET,
                user=user.name,
                invite=invite_id(invite_hash),
                state=Change(_state(user), "active"),
            )
            return replace(user, password_hash=password_hash)

    async def find(self, name: str) -> User | None:
        """The user, a disabled one too."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_COLUMNS.where(UserRow.name == name))).first()
        return None if row is None else User(*row)

    async def list(self) -> list[User]:
        """All users by name, disabled ones too."""
        async with self._database.reading() as connection:
            return [User(*row) for row in await connection.execute(_COLUMNS.order_by(UserRow.name))]

    async def disable(self, name: str, now: float) -> int:
        """Ends the account and its grants; how many grants that ended. Raises NoSuchUser."""
        async with self._database.writing() as connection:
            row = (await connection.execute(_COLUMNS.where(UserRow.name == name))).first()
            if row is None:
                raise NoSuchUser(name)
            good = (GrantRow.user == name, GrantRow.expires_at > now, GrantRow.idle_at > now)
            ended = await end_grants(connection, now, *good, reason="user_disabled")
            if row.disabled_at is None:
                await connection.execute(update(UserRow).where(UserRow.name == name).values(disabled_at=now))
                change = Change(_state(User(*row)), "disabled")
                await record(connection, Kind.USER_DISABLED, user=name, state=change, grants=ended)
            return ended


async def has_user(connection: AsyncConnection, name: str) -> bool:
    query = select(UserRow.name).where(UserRow.name == name)
    return (await connection.execute(query)).first() is not None


async def _invite(
    connection: AsyncConnection, kind: Kind, name: str, invite_hash: bytes, expires_at: float
) -> None:
    await connection.execute(
        insert(UserInviteRow).values(secret_hash=invite_hash, user=name, expires_at=expires_at)
    )
    await record(connection, kind, user=name, invite=invite_id(invite_hash), expires_at=expires_at)


async def _invited(connection: AsyncConnection, invite_hash: bytes, now: float) -> User | None:
    query = _COLUMNS.join(UserInviteRow, UserInviteRow.user == UserRow.name).where(
        UserInviteRow.secret_hash == invite_hash,
        UserInviteRow.used_at.is_(None),
        UserInviteRow.expires_at > now,
        UserRow.disabled_at.is_(None),
    )
    row = (await connection.execute(query)).first()
    return None if row is None else User(*row)


def _state(user: User) -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "invited" if user.password_hash is None else "active"


_COLUMNS = select(
    UserRow.name,
    UserRow.email,
    UserRow.password_hash,
    UserRow.created_at,
    UserRow.disabled_at,
)
