"""Memberships: what users, and groups of an identity provider, are at a site or at one of its servers.

Nobody is a member by default. :func:`is_member` is the one place that says who may call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, delete, exists, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.store.database import Database
from penstock_relay.store.models import GroupMembershipRow, MembershipRow, UserGroupRow, UserRow
from penstock_relay.store.sites import NoSuchSite, has_site
from penstock_relay.store.users import NoSuchUser, has_user


class Role(StrEnum):
    """What a member of a site is there."""

    USER = "user"
    """May call its servers."""
    SITE_ADMIN = "site-admin"
    """May call its servers. Of the whole site only."""
    AUDITOR = "auditor"
    """May not call."""


CALLING: Final = (Role.USER, Role.SITE_ADMIN)
"""Roles whose holders may call servers."""


@dataclass(frozen=True, slots=True)
class Membership:
    """``server`` None: every server of the site. ``created_at`` in seconds since the epoch."""

    user: str
    site: str
    server: str | None
    created_at: float
    role: Role = Role.USER


@dataclass(frozen=True, slots=True)
class GroupMembership:
    """The same for everybody in a group of the identity provider."""

    group: str
    site: str
    server: str | None
    created_at: float
    role: Role = Role.USER


class Memberships:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, membership: Membership | GroupMembership) -> bool:
        """False when it was there already. There is one role at a place: a new one replaces it, and is True.

        Raises NoSuchUser, NoSuchSite; a group need not exist, since only the identity provider knows those.
        """
        async with self._database.writing() as connection:
            if isinstance(membership, Membership) and not await has_user(connection, membership.user):
                raise NoSuchUser(membership.user)
            if not await has_site(connection, membership.site):
                raise NoSuchSite(membership.site)
            if isinstance(membership, Membership):
                return await self._add(connection, membership)
            return await self._add_group(connection, membership)

    async def _add(self, connection: AsyncConnection, membership: Membership) -> bool:
        key = _key(membership.user, membership.site, membership.server)
        row = (await connection.execute(select(MembershipRow.role).where(*key))).first()
        if row is None:
            await connection.execute(
                insert(MembershipRow).values(
                    user=membership.user,
                    site=membership.site,
                    server=membership.server or "",
                    created_at=membership.created_at,
                    role=membership.role,
                )
            )
        elif row.role != membership.role:
            await connection.execute(update(MembershipRow).where(*key).values(role=membership.role))
        return row is None or row.role != membership.role

    async def _add_group(self, connection: AsyncConnection, membership: GroupMembership) -> bool:
        key = _group_key(membership.group, membership.site, membership.server)
        row = (await connection.execute(select(GroupMembershipRow.role).where(*key))).first()
        if row is None:
            await connection.execute(
                insert(GroupMembershipRow).values(
                    group=membership.group,
                    site=membership.site,
                    server=membership.server or "",
                    created_at=membership.created_at,
                    role=membership.role,
                )
            )
        elif row.role != membership.role:
            await connection.execute(update(GroupMembershipRow).where(*key).values(role=membership.role))
        return row is None or row.role != membership.role

    async def remove(self, user: str, site: str, server: str | None) -> bool:
        """False when there was none: a membership of the whole site is not one of its server."""
        async with self._database.writing() as connection:
            gone = await connection.execute(delete(MembershipRow).where(*_key(user, site, server)))
            return gone.rowcount > 0

    async def remove_group(self, group: str, site: str, server: str | None) -> bool:
        """The same for a group."""
        async with self._database.writing() as connection:
            key = _group_key(group, site, server)
            gone = await connection.execute(delete(GroupMembershipRow).where(*key))
            return gone.rowcount > 0

    async def list(self, user: str | None = None, site: str | None = None) -> list[Membership]:
        """Those of users themselves, by user, site and server."""
        query = select(
            MembershipRow.user,
            MembershipRow.site,
            MembershipRow.server,
            MembershipRow.created_at,
            MembershipRow.role,
        ).order_by(MembershipRow.user, MembershipRow.site, MembershipRow.server)
        if user is not None:
            query = query.where(MembershipRow.user == user)
        if site is not None:
            query = query.where(MembershipRow.site == site)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Membership(row.user, row.site, row.server or None, row.created_at, Role(row.role)) for row in rows
        ]

    async def list_groups(
        self, group: str | None = None, site: str | None = None, *, user: str | None = None
    ) -> Sequence[GroupMembership]:
        """Those of groups, by group, site and server; ``user``: of the groups that the user is in."""
        query = select(
            GroupMembershipRow.group,
            GroupMembershipRow.site,
            GroupMembershipRow.server,
            GroupMembershipRow.created_at,
            GroupMembershipRow.role,
        ).order_by(GroupMembershipRow.group, GroupMembershipRow.site, GroupMembershipRow.server)
        if group is not None:
            query = query.where(GroupMembershipRow.group == group)
        if site is not None:
            query = query.where(GroupMembershipRow.site == site)
        if user is not None:
            mine = select(UserGroupRow.group).where(UserGroupRow.user == user)
            query = query.where(GroupMembershipRow.group.in_(mine))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [
            GroupMembership(row.group, row.site, row.server or None, row.created_at, Role(row.role))
            for row in rows
        ]

    async def allows(self, user: str, site: str, server: str) -> bool:
        """Whether the user, who is not disabled, may use that server."""
        name = UserRow.__table__.c.name
        query = select(UserRow.name).where(
            UserRow.name == user,
            UserRow.disabled_at.is_(None),
            is_member(name, literal(site), literal(server)),
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None


def _key(user: str, site: str, server: str | None) -> tuple[ColumnElement[bool], ...]:
    return (MembershipRow.user == user, MembershipRow.site == site, MembershipRow.server == (server or ""))


def _group_key(group: str, site: str, server: str | None) -> tuple[ColumnElement[bool], ...]:
    return (
        GroupMembershipRow.group == group,
        GroupMembershipRow.site == site,
        GroupMembershipRow.server == (server or ""),
    )


def is_member(
    user: ColumnElement[str], site: ColumnElement[str], server: ColumnElement[str]
) -> ColumnElement[bool]:
    """Whether the user may call that server, by a membership of its own or of a group that it is in.

    For queries of any aggregate; without regard to disabled users.
    """
    own = exists().where(
        MembershipRow.user == user,
        MembershipRow.site == site,
        (MembershipRow.server == "") | (MembershipRow.server == server),
        MembershipRow.role.in_(CALLING),
    )
    by_group = exists().where(
        UserGroupRow.user == user,
        GroupMembershipRow.group == UserGroupRow.group,
        GroupMembershipRow.site == site,
        (GroupMembershipRow.server == "") | (GroupMembershipRow.server == server),
        GroupMembershipRow.role.in_(CALLING),
    )
    return own | by_group
