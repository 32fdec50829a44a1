"""Users of the company's identity provider: who they are there, their groups, and when it last said so.

A user is the pair of issuer and subject, and nothing else: an address that a user of this relay has too makes
nobody the same person.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Kind
from penstock_relay.oauth.upstream.person import Person
from penstock_relay.store.database import Database
from penstock_relay.store.endings import Ended, end_grants_of, end_logins
from penstock_relay.store.models import (
    GroupMembershipRow,
    LoginRow,
    LogoutTokenRow,
    UpstreamUserRow,
    UserGroupRow,
    UserRow,
)
from penstock_relay.store.record import record
from penstock_relay.store.users import USERS, User, has_user

MAX_GROUPS: Final = 100
"""Groups of a user that travel to a site. Of one who is in more only those that memberships name do."""

_SAID: Final = "what the provider says of a user, and when it is asked"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of an identity provider, and what is known since ``checked_at``."""

    user: User
    checked_at: float
    refresh: bytes | None
    """The provider's refresh token, sealed."""


class People:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def welcome(self, person: Person, now: float, *, name: str, spare: str) -> User:
        """The user that ``person`` is, made at the first login; with what the provider says now.

        A new one is called ``name``, or ``spare`` where somebody has that name. A disabled one stays so.
        """
        async with self._database.writing(unrecorded=_SAID) as connection:
            row = (await connection.execute(_of(person.issuer, person.subject))).first()
            if row is None:
                called = spare if await has_user(connection, name) else name
                await connection.execute(
                    insert(UserRow).values(
                        name=called, email=person.email, password_hash=None, created_at=now
                    )
                )
                await connection.execute(
                    insert(UpstreamUserRow).values(
                        issuer=person.issuer,
                        subject=person.subject,
                        user=called,
                        full_name=person.name,
                        checked_at=now,
                    )
                )
                await record(
                    connection,
                    Kind.USER_JOINED,
                    user=called,
                    issuer=person.issuer,
                    subject=person.subject,
                )
            else:
                called = row.user
            await _said(connection, called, person, now)
            return User(*(await connection.execute(USERS.where(UserRow.name == called))).one())

    async def find(self, user: str) -> Account | None:
        """None for a user of this relay's own, and for nobody."""
        query = USERS.add_columns(UpstreamUserRow.checked_at, UpstreamUserRow.refresh)
        async with self._database.reading() as connection:
            row = (
                await connection.execute(query.where(UserRow.name == user, UpstreamUserRow.user.is_not(None)))
            ).first()
        return None if row is None else Account(User(*row[:-2]), row[-2], row[-1])

    async def person(self, user: User) -> Person | None:
        """What a site is told of the user; None for one of this relay's own."""
        if user.issuer is None or user.subject is None:
            return None
        async with self._database.reading() as connection:
            groups = await travelling_groups(connection, user.name)
        return Person(user.issuer, user.subject, user.full_name, user.email, groups)

    async def groups(self, user: str) -> tuple[str, ...]:
        """Of the user, by name; all of them."""
        async with self._database.reading() as connection:
            query = select(UserGroupRow.group).where(UserGroupRow.user == user).order_by(UserGroupRow.group)
            return tuple((await connection.execute(query)).scalars())

    async def keep_refresh(self, user: str, refresh: bytes | None) -> None:
        """Keeps the provider's refresh token, sealed, in the place of the one before; None forgets it."""
        async with self._database.writing(unrecorded=_SAID) as connection:
            await connection.execute(
                update(UpstreamUserRow).where(UpstreamUserRow.user == user).values(refresh=refresh)
            )

    async def begin_check(self, user: str, now: float, until: float) -> bool:
        """Whether the caller is the one to ask the provider about the user now, until ``until`` at most.

        A provider that replaces refresh tokens takes a second use of one for a theft.
        """
        async with self._database.writing(unrecorded=_SAID) as connection:
            free = UpstreamUserRow.checking_until.is_(None) | (UpstreamUserRow.checking_until <= now)
            begun = await connection.execute(
                update(UpstreamUserRow).where(UpstreamUserRow.user == user, free).values(checking_until=until)
            )
            return begun.rowcount > 0

    async def end_check(self, user: str, now: float, *, person: Person | None, refresh: bytes | None) -> None:
        """What came of it: what the provider says now, or None when it does not vouch for the user any more:
        then nothing that it said before counts either, and the user's logins end.
        """
        async with self._database.writing(unrecorded=_SAID) as connection:
            await connection.execute(
                update(UpstreamUserRow)
                .where(UpstreamUserRow.user == user)
                .values(checking_until=None, refresh=refresh)
            )
            if person is not None:
                await _said(connection, user, person, now)
            else:
                await _doubt(connection, user)
                ended = await end_logins(connection, now, LoginRow.user == user)
                await record(connection, Kind.USER_NOT_VOUCHED, user=user, logins=ended)

    async def abandon_check(self, user: str) -> None:
        """The provider could not be asked: everything stays as it was."""
        async with self._database.writing(unrecorded=_SAID) as connection:
            await connection.execute(
                update(UpstreamUserRow).where(UpstreamUserRow.user == user).values(checking_until=None)
            )

    async def log_out(
        self,
        issuer: str,
        subject: str | None,
        sid: str | None,
        *,
        jti_hash: bytes,
        jti_until: float,
        now: float,
        grants: bool,
    ) -> dict[str, Ended] | None:
        """Ends the logins of a subject, or of one session of the provider, and with ``grants`` all that the
        user granted: what was ended, by user. None for a logout token that was obeyed before.
        """
        async with self._database.writing(unrecorded="nobody here had a login or a grant") as connection:
            await connection.execute(delete(LogoutTokenRow).where(LogoutTokenRow.expires_at <= now))
            seen = select(LogoutTokenRow.jti_hash).where(LogoutTokenRow.jti_hash == jti_hash)
            if (await connection.execute(seen)).first() is not None:
                return None
            await connection.execute(insert(LogoutTokenRow).values(jti_hash=jti_hash, expires_at=jti_until))
            found: dict[str, Ended] = {}
            for user in await _meant(connection, issuer, subject, sid):
                which = [LoginRow.user == user]
                if sid is not None:
                    which.append(LoginRow.sid == sid)
                logins = await end_logins(connection, now, *which)
                ended = Ended()
                if grants:
                    await _doubt(connection, user)
                    ended = await end_grants_of(connection, user, now, reason="logout_at_provider")
                found[user] = Ended(logins, ended.grants, ended.tokens)
                await record(connection, Kind.USER_LOGGED_OUT, user=user, grants=ended.grants, logins=logins)
            return found


async def _meant(connection: AsyncConnection, issuer: str, subject: str | None, sid: str | None) -> list[str]:
    if subject is not None:
        rows = await connection.execute(_of(issuer, subject))
        return [row.user for row in rows]
    query = (
        select(LoginRow.user)
        .join(UpstreamUserRow, UpstreamUserRow.user == LoginRow.user)
        .where(UpstreamUserRow.issuer == issuer, LoginRow.sid == sid)
        .distinct()
    )
    return list((await connection.execute(query)).scalars())


async def _doubt(connection: AsyncConnection, user: str) -> None:
    """Nothing but a login makes the user good again."""
    await connection.execute(
        update(UpstreamUserRow).where(UpstreamUserRow.user == user).values(refresh=None, checked_at=0.0)
    )


async def _said(connection: AsyncConnection, user: str, person: Person, now: float) -> None:
    await connection.execute(update(UserRow).where(UserRow.name == user).values(email=person.email))
    await connection.execute(
        update(UpstreamUserRow)
        .where(UpstreamUserRow.user == user)
        .values(full_name=person.name, checked_at=now)
    )
    await connection.execute(delete(UserGroupRow).where(UserGroupRow.user == user))
    groups = [{"user": user, "group": group} for group in dict.fromkeys(person.groups)]
    if groups:
        await connection.execute(insert(UserGroupRow), groups)


async def travelling_groups(connection: AsyncConnection, user: str) -> tuple[str, ...]:
    """The groups that a site is told of, by name: at most ``MAX_GROUPS``."""
    mine = select(UserGroupRow.group).where(UserGroupRow.user == user).order_by(UserGroupRow.group)
    found = tuple((await connection.execute(mine.limit(MAX_GROUPS + 1))).scalars())
    if len(found) <= MAX_GROUPS:
        return found
    named = mine.where(UserGroupRow.group.in_(select(GroupMembershipRow.group)))
    return tuple((await connection.execute(named.limit(MAX_GROUPS))).scalars())


def _of(issuer: str, subject: str) -> Select[str]:
    return select(UpstreamUserRow.user).where(
        UpstreamUserRow.issuer == issuer, UpstreamUserRow.subject == subject
    )
