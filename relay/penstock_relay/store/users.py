"""Users: those with an account of this relay's own, the invitations by which they choose a password, and
those of the company's identity provider (see ``people``), who have none here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Select, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Change, Kind, invite_id
from penstock_relay.store.database import Database, StoreError
from penstock_relay.store.endings import Ended, end_grants_of, end_logins
from penstock_relay.store.models import (
    FactorRow,
    LoginRow,
    RecoveryCodeRow,
    RelayAdminRow,
    UpstreamUserRow,
    UserInviteRow,
    UserRow,
)
from penstock_relay.store.record import record


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
            f"The user {name!r} is disabled. End that with: penstock-relay user enable {name}"
            if disabled
            else f"There is no user {name!r}. Make the account with: penstock-relay user add {name}"
        )


class NoPasswordHere(StoreError):
    """The user logs in through the identity provider, and has no password here."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The user {name!r} logs in through the identity provider, where the password is. For somebody "
            "without an account there: penstock-relay user add NAME"
        )


@dataclass(frozen=True, slots=True)
class User:
    """An account; times since the epoch.

    ``password_hash`` is None until the invitation was accepted, and for users of an identity provider: those
    have ``issuer`` and ``subject``, which are who they are there, and the name that they have there.
    """

    name: str
    email: str
    password_hash: str | None
    created_at: float
    disabled_at: float | None = None
    issuer: str | None = None
    subject: str | None = None
    full_name: str = ""
    admin: bool = False
    """A relay administrator by name. Others are by their groups."""
    factor: bool = False
    """Whether there is a second factor besides the password."""

    @property
    def state(self) -> str:
        """``active``, ``invited`` or ``disabled``."""
        if self.disabled_at is not None:
            return "disabled"
        return "active" if self.password_hash is not None or self.issuer is not None else "invited"


class Users:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user: User, invite_hash: bytes, invite_expires_at: float) -> None:
        """The user, who may be a relay administrator, and one invitation. Raises UserExists."""
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
            if user.admin:
                await _set_admin(connection, user.name, user.created_at)

    async def invite(self, name: str, invite_hash: bytes, now: float, expires_at: float) -> None:
        """A new invitation in the place of those that were not used.

        Raises NoSuchUser, if disabled too; NoPasswordHere.
        """
        async with self._database.writing() as connection:
            row = (await connection.execute(USERS.where(UserRow.name == name))).first()
            if row is None or row.disabled_at is not None:
                raise NoSuchUser(name, disabled=row is not None)
            if row.issuer is not None:
                raise NoPasswordHere(name)
            await connection.execute(
                delete(UserInviteRow).where(UserInviteRow.user == name, UserInviteRow.used_at.is_(None))
            )
            await _invite(connection, Kind.USER_INVITED, name, invite_hash, expires_at)

    async def reset(self, name: str, now: float) -> Ended:
        """For an account in wrong hands: password and second factor are good no more, logins and grants end.

        Raises NoSuchUser.
        """
        async with self._database.writing() as connection:
            user = await _known(connection, name)
            await connection.execute(update(UserRow).where(UserRow.name == name).values(password_hash=None))
            if await forget_factor(connection, name):  # who had the password may have set it up
                await record(connection, Kind.FACTOR_RESET, user=name)
            ended = await end_all(connection, name, now, reason="user_reset")
            after = replace(user, password_hash=None).state
            await record(
                connection,
                Kind.USER_RESET,
                user=name,
                state=Change(user.state, after),
                grants=ended.grants,
                logins=ended.logins,
            )
            return ended

    async def invited(self, invite_hash: bytes, now: float) -> User | None:
        """Whose invitation it is, while it can be used."""
        async with self._database.reading() as connection:
            return await _invited(connection, invite_hash, now)

    async def accept(self, invite_hash: bytes, password_hash: str, now: float) -> User | None:
        """Uses the invitation up and sets the password; None when it cannot be used (any more).

        With it end the logins of the user: whoever knew the old password is logged out everywhere.
        """
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
            await end_logins(connection, now, LoginRow.user == user.name)
            await record(
                connection,
                Kind.PASSWORD_SET,
                user=user.name,
                invite=invite_id(invite_hash),
                state=Change(user.state, "active"),
            )
            return replace(user, password_hash=password_hash)

    async def find(self, name: str) -> User | None:
        """The user, a disabled one too."""
        async with self._database.reading() as connection:
            row = (await connection.execute(USERS.where(UserRow.name == name))).first()
        return None if row is None else User(*row)

    async def list(self) -> list[User]:
        """All users by name, disabled ones too."""
        async with self._database.reading() as connection:
            return [User(*row) for row in await connection.execute(USERS.order_by(UserRow.name))]

    async def disable(self, name: str, now: float) -> Ended:
        """Ends the account, its logins and its grants; what that ended. Raises NoSuchUser."""
        async with self._database.writing(unrecorded="disabled before, and recorded then") as connection:
            user = await _known(connection, name)
            ended = await end_all(connection, name, now, reason="user_disabled")
            if user.disabled_at is None:
                await connection.execute(update(UserRow).where(UserRow.name == name).values(disabled_at=now))
                await record(
                    connection,
                    Kind.USER_DISABLED,
                    user=name,
                    state=Change(user.state, "disabled"),
                    grants=ended.grants,
                    logins=ended.logins,
                )
            return ended

    async def enable(self, name: str) -> bool:
        """Lets the account be used again; what ended with it stays ended. False when it was not disabled.

        Raises NoSuchUser.
        """
        async with self._database.writing() as connection:
            user = await _known(connection, name)
            if user.disabled_at is None:
                return False
            await connection.execute(update(UserRow).where(UserRow.name == name).values(disabled_at=None))
            change = Change(user.state, replace(user, disabled_at=None).state)
            await record(connection, Kind.USER_ENABLED, user=name, state=change)
            return True

    async def set_admin(self, name: str, admin: bool, now: float) -> bool:
        """Makes the user a relay administrator, or takes that back. False when it was so already.

        Raises NoSuchUser.
        """
        async with self._database.writing() as connection:
            user = await _known(connection, name)
            if user.admin == admin:
                return False
            if admin:
                await _set_admin(connection, name, now)
            else:
                await connection.execute(delete(RelayAdminRow).where(RelayAdminRow.user == name))
                await record(connection, Kind.RELAY_ADMIN_REMOVED, user=name)
            return True

    async def admins(self) -> Sequence[tuple[str, float]]:
        """Relay administrators by name, and since when each."""
        query = select(RelayAdminRow.user, RelayAdminRow.created_at).order_by(RelayAdminRow.user)
        async with self._database.reading() as connection:
            return [(row.user, row.created_at) for row in await connection.execute(query)]


async def end_all(connection: AsyncConnection, name: str, now: float, *, reason: str) -> Ended:
    """Ends the logins and grants of a user, and the identity provider's refresh token with them."""
    logins = await end_logins(connection, now, LoginRow.user == name)
    await connection.execute(update(UpstreamUserRow).where(UpstreamUserRow.user == name).values(refresh=None))
    return replace(await end_grants_of(connection, name, now, reason=reason), logins=logins)


async def forget_factor(connection: AsyncConnection, name: str) -> bool:
    """Removes a user's second factor with its recovery codes; False when there is none."""
    await connection.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user == name))
    return (await connection.execute(delete(FactorRow).where(FactorRow.user == name))).rowcount > 0


async def _set_admin(connection: AsyncConnection, name: str, now: float) -> None:
    await connection.execute(insert(RelayAdminRow).values(user=name, created_at=now))
    await record(connection, Kind.RELAY_ADMIN_ADDED, user=name)


async def _known(connection: AsyncConnection, name: str) -> User:
    """Raises NoSuchUser."""
    row = (await connection.execute(USERS.where(UserRow.name == name))).first()
    if row is None:
        raise NoSuchUser(name)
    return User(*row)


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
    query = USERS.join(UserInviteRow, UserInviteRow.user == UserRow.name).where(
        UserInviteRow.secret_hash == invite_hash,
        UserInviteRow.used_at.is_(None),
        UserInviteRow.expires_at > now,
        UserRow.disabled_at.is_(None),
    )
    row = (await connection.execute(query)).first()
    return None if row is None else User(*row)


# SQLAlchemy's types know nine columns one by one.
USERS: Select[*tuple[Any, ...]] = select(
    UserRow.name,
    UserRow.email,
    UserRow.password_hash,
    UserRow.created_at,
    UserRow.disabled_at,
    UpstreamUserRow.issuer,
    UpstreamUserRow.subject,
    func.coalesce(UpstreamUserRow.full_name, ""),
    exists().where(RelayAdminRow.user == UserRow.name),
    exists().where(FactorRow.user == UserRow.name),
).outerjoin_from(UserRow, UpstreamUserRow, UpstreamUserRow.user == UserRow.name)
"""Columns of a :class:`User`."""
