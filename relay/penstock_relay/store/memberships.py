"""Memberships: what users, and groups of an identity provider, are at a site or at one of its servers.

Nobody is a member by default. :func:`is_member` is the one place that says who may call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, delete, exists, insert, literal, select, update

from penstock_relay.audit import Change, Kind
from penstock_relay.store.database import Database
from penstock_relay.store.models import GroupMembershipRow, MembershipRow, UserGroupRow, UserRow
from penstock_relay.store.record import record
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
            table, key = _row(membership)
            row = (await connection.execute(select(table.role).where(*key))).first()
            if row is None:
                await connection.execute(
                    insert(table).values(
                        **_who(membership),
                        site=membership.site,
                        server=membership.server or "",
                        created_at=membership.created_at,
                        role=membership.role,
                    )
                )
                await record(connection, Kind.ACCESS_ADDED, **_about(membership), role=membership.role)
                return True
            if row.role == membership.role:
                return False
            await connection.execute(update(table).where(*key).values(role=membership.role))
            change = Change(row.role, membership.role.value)
            await record(connection, Kind.ACCESS_CHANGED, **_about(membership), role=change)
            return True

    async def remove(self, user: str, site: str, server: str | None) -> bool:
        """False when there was none: a membership of the whole site is not one of its server."""
        return await self._remove(Membership(user, site, server, 0.0))

    async def remove_group(self, group: str, site: str, server: str | None) -> bool:
        """The same for a group."""
        return await self._remove(GroupMembership(group, site, server, 0.0))

    async def _remove(self, membership: Membership | GroupMembership) -> bool:
        table, key = _row(membership)
        async with self._database.writing() as connection:
            row = (await connection.execute(select(table.role).where(*key))).first()
            if row is None:
                return False
            await connection.execute(delete(table).where(*key))
            await record(connection, Kind.ACCESS_REMOVED, **_about(membership), role=row.role)
            return True

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
        """Whether the user, who is not disabled, may use that server, or the whole site (`WHOLE_SITE`)."""
        name = UserRow.__table__.c.name
        query = select(UserRow.name).where(
            UserRow.name == user,
            UserRow.disabled_at.is_(None),
            is_member(name, literal(site), literal(server)),
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None


def _row(
    membership: Membership | GroupMembership,
) -> tuple[type[MembershipRow] | type[GroupMembershipRow], tuple[ColumnElement[bool], ...]]:
    """Where it is kept, and its key there."""
    if isinstance(membership, Membership):
        return MembershipRow, (
            MembershipRow.user == membership.user,
            MembershipRow.site == membership.site,
            MembershipRow.server == (membership.server or ""),
        )
    return GroupMembershipRow, (
        GroupMembershipRow.group == membership.group,
        GroupMembershipRow.site == membership.site,
        GroupMembershipRow.server == (membership.server or ""),
    )


def _who(membership: Membership | GroupMembership) -> dict[str, str]:
    if isinstance(membership, Membership):
        return {"user": membership.user}
    return {"group": membership.group}


def _about(membership: Membership | GroupMembership) -> dict[str, str | None]:
    """As the audit log has it."""
    return {**_who(membership), "site": membership.site, "server": membership.server}


def is_member(
    user: ColumnElement[str], site: ColumnElement[str], server: ColumnElement[str]
) -> ColumnElement[bool]:
    """Whether the user may call that server, by a membership of its own or of a group that it is in.

    The whole site (``server`` is empty) takes a membership of the whole site. For queries of any aggregate;
    without regard to disabled users.
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
