"""Memberships: who may use a site, or one of its servers. Nobody is a member by default."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, insert, select

from penstock_relay.audit import Kind
from penstock_relay.store.database import Database
from penstock_relay.store.models import MembershipRow, UserRow
from penstock_relay.store.record import record
from penstock_relay.store.sites import NoSuchSite, has_site
from penstock_relay.store.users import NoSuchUser, has_user


@dataclass(frozen=True, slots=True)
class Membership:
    """``server`` None: every server of the site. ``created_at`` in seconds since the epoch."""

    user: str
    site: str
    server: str | None
    created_at: float


class Memberships:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, membership: Membership) -> bool:
        """False when it was there already. Raises NoSuchUser, NoSuchSite."""
        async with self._database.writing() as connection:
            if not await has_user(connection, membership.user):
                raise NoSuchUser(membership.user)
            if not await has_site(connection, membership.site):
                raise NoSuchSite(membership.site)
            key = _key(membership.user, membership.site, membership.server)
            if (await connection.execute(select(MembershipRow.user).where(*key))).first() is not None:
                return False
            await connection.execute(
                insert(MembershipRow).values(
                    user=membership.user,
                    site=membership.site,
                    server=membership.server or "",
                    created_at=membership.created_at,
                )
            )
            await record(
                connection,
                Kind.ACCESS_ADDED,
                user=membership.user,
                site=membership.site,
                server=membership.server,
            )
            return True

    async def remove(self, user: str, site: str, server: str | None) -> bool:
        """False when there was none: a membership of the whole site is not one of its server."""
        async with self._database.writing() as connection:
            gone = await connection.execute(delete(MembershipRow).where(*_key(user, site, server)))
            if not gone.rowcount:
                return False
            await record(connection, Kind.ACCESS_REMOVED, user=user, site=site, server=server)
            return True

    async def list(self, user: str | None = None, site: str | None = None) -> list[Membership]:
        """By user, site and server."""
        query = select(
            MembershipRow.user, MembershipRow.site, MembershipRow.server, MembershipRow.created_at
        ).order_by(MembershipRow.user, MembershipRow.site, MembershipRow.server)
        if user is not None:
            query = query.where(MembershipRow.user == user)
        if site is not None:
            query = query.where(MembershipRow.site == site)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [Membership(row.user, row.site, row.server or None, row.created_at) for row in rows]

    async def allows(self, user: str, site: str, server: str) -> bool:
        """Whether the user, who is not disabled, may use that server."""
        query = (
            select(MembershipRow.user)
            .join(UserRow, UserRow.name == MembershipRow.user)
            .where(
                MembershipRow.user == user,
                MembershipRow.site == site,
                MembershipRow.server.in_(("", server)),
                UserRow.disabled_at.is_(None),
            )
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None


def _key(user: str, site: str, server: str | None) -> tuple[ColumnElement[bool], ...]:
    return (MembershipRow.user == user, MembershipRow.site == site, MembershipRow.server == (server or ""))


def is_member(
    user: ColumnElement[str], site: ColumnElement[str], server: ColumnElement[str]
) -> ColumnElement[bool]:
    """The same as ``allows``, within a query of another aggregate; without regard to disabled users."""
    return exists().where(
        MembershipRow.user == user,
        MembershipRow.site == site,
        (MembershipRow.server == "") | (MembershipRow.server == server),
    )
