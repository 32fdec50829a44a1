"""``penstock-relay access``: memberships, of users and of groups, and relay administrators."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    JsonOption,
    Usage,
    explain,
    guarded,
    moment,
    say_json,
    say_table,
    settings_of,
    urls,
    wants_json,
    with_store,
)
from penstock_relay.cli.users import parse_user

if TYPE_CHECKING:
    from penstock_relay.store import GroupMembership, Membership, Role, Store

RELAY_ADMIN: Final = "relay-admin"
"""The role that is of no site."""

UserOption = Annotated[str | None, typer.Option("--user", metavar="USER", help="Whose access it is.")]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group", metavar="GROUP", help="Or that of everybody in a group of the identity provider."
    ),
]
SiteOption = Annotated[str | None, typer.Option("--site", metavar="SITE", help="The site.")]
ServerOption = Annotated[
    str | None, typer.Option("--server", metavar="SERVER", help="One server of the site only.")
]
RoleOption = Annotated[
    str,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="user and site-admin may call; auditor may not; relay-admin is of no site.",
    ),
]


@dataclass(frozen=True)
class _Place:
    """Who, and where."""

    user: str | None
    group: str | None
    site: str
    server: str | None

    @property
    def who(self) -> str:
        return f"User {self.user}" if self.group is None else f"Group {self.group}"

    @property
    def where(self) -> str:
        site = f"site {self.site}"
        return f"every server of {site}" if self.server is None else f"server {self.server} of {site}"

    def public(self) -> dict[str, object]:
        return {"user": self.user, "group": self.group, "site": self.site, "server": self.server}


@guarded
def add(
    ctx: typer.Context,
    user: UserOption = None,
    group: GroupOption = None,
    site: SiteOption = None,
    server: ServerOption = None,
    role: RoleOption = "user",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let a user, or a group, use a site or one of its servers; twice is harmless.

    There is one role at a place: another one replaces it.
    """
    from penstock_relay.store import GroupMembership, Membership, Role

    now = time.time()
    if role == RELAY_ADMIN:
        _administer(ctx, config, json, _administrator(user, group, site, server), now, admin=True)
        return
    as_role, place = _role(role), _parsed(user, group, site, server)
    if as_role is Role.SITE_ADMIN and place.server is not None:
        raise Usage("A site-admin is of the whole site: leave --server out.")
    membership: Membership | GroupMembership = (
        Membership(place.user, place.site, place.server, now, as_role)
        if place.user is not None
        else GroupMembership(place.group or "", place.site, place.server, now, as_role)
    )

    async def work(store: "Store") -> bool:
        return await store.memberships.add(membership)

    settings = settings_of(ctx, config)
    added = with_store(settings, work)
    if wants_json(ctx, json):
        say_json({**_public(membership), "was_there": not added})
        return
    explain(f"{place.who} {_means(as_role)} {place.where}{'' if added else ', as before'}.")
    if _calls(as_role):
        explain(urls(settings, place.site, place.server))


@guarded
def remove(
    ctx: typer.Context,
    user: UserOption = None,
    group: GroupOption = None,
    site: SiteOption = None,
    server: ServerOption = None,
    role: Annotated[
        str | None,
        typer.Option("--role", metavar="ROLE", help="Only relay-admin has to be said: it is of no site."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Take the access to a site, or to one of its servers, back; twice is harmless.

    A running relay refuses what was granted on its ground within a second.
    """
    if role == RELAY_ADMIN:
        _administer(ctx, config, json, _administrator(user, group, site, server), time.time(), admin=False)
        return
    if role is not None:
        _role(role)
    place = _parsed(user, group, site, server)

    async def work(store: "Store") -> "tuple[bool, Sequence[Membership | GroupMembership]]":
        left: Sequence[Membership | GroupMembership]
        if place.user is not None:
            gone = await store.memberships.remove(place.user, place.site, place.server)
            left = [
                *await store.memberships.list(place.user, place.site),
                *await store.memberships.list_groups(site=place.site, user=place.user),
            ]
        else:
            gone = await store.memberships.remove_group(place.group or "", place.site, place.server)
            left = await store.memberships.list_groups(place.group, place.site)
        return gone, left

    gone, left = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({**place.public(), "removed": gone})
        return
    explain(
        f"{place.who} may no longer use {place.where}."
        if gone
        else f"{place.who} had no such access to {place.where}."
    )
    allowed = [each for each in left if _calls(each.role)]
    if allowed:
        names = ", ".join(_left(each, place) for each in allowed)
        explain(f"Still allowed at site {place.site}: {names}.")


@guarded
def list_access(
    ctx: typer.Context,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="Of this user, by groups too.")
    ] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="GROUP", help="Of this group only.")] = None,
    site: Annotated[str | None, typer.Option("--site", metavar="SITE", help="Of this site only.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List who may use what, and the relay's administrators."""
    settings = settings_of(ctx, config)
    who = None if user is None else parse_user(user)
    which = None if group is None else parse_group(group)

    async def work(
        store: "Store",
    ) -> "tuple[Sequence[Membership | GroupMembership], Sequence[tuple[str, float]]]":
        own = [] if which is not None else await store.memberships.list(who, site)
        groups = await store.memberships.list_groups(which, site, user=who)
        admins = [] if site is not None or which is not None else await store.users.admins()
        return [*own, *groups], [each for each in admins if who in (None, each[0])]

    found, admins = with_store(settings, work)
    by_group = [] if site is not None or who is not None else list(settings.admin_groups)
    by_group = [each for each in by_group if which in (None, each)]
    if wants_json(ctx, json):
        none = {"site": None, "server": None, "role": RELAY_ADMIN}
        say_json(
            [
                *(_public(each) for each in found),
                *({"user": name, "group": None, **none, "created_at": moment(at)} for name, at in admins),
                *({"user": None, "group": each, **none, "created_at": None} for each in by_group),
            ]
        )
        return
    if not found and not admins and not by_group:
        explain(
            "Nobody may use anything. Change that with: penstock-relay access add --user USER --site SITE"
        )
        return
    say_table(
        ("USER", "SITE", "SERVER", "ROLE", "SINCE"),
        [
            *(
                (_who(each), each.site, each.server or "(all)", each.role, moment(each.created_at))
                for each in found
            ),
            *((name, "(relay)", "-", RELAY_ADMIN, moment(at)) for name, at in admins),
            *((f"group:{each}", "(relay)", "-", RELAY_ADMIN, "(admin_groups)") for each in by_group),
        ],
    )


def parse_group(name: str) -> str:
    """The name of a group as the identity provider writes it. Raises Usage."""
    from penstock_relay.oauth.upstream.person import is_group

    if not is_group(name):
        raise Usage(
            f"The group {name[:80]!a} is not usable: the name of a group has 1 to 200 bytes, all of them "
            "printable, and no space at its ends."
        )
    return name


def _administer(
    ctx: typer.Context, config: ConfigOption, json: bool, user: str, now: float, *, admin: bool
) -> None:
    async def work(store: "Store") -> bool:
        return await store.users.set_admin(user, admin, now)

    changed = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        outcome = {"was_there": not changed} if admin else {"removed": changed}
        none = {"group": None, "site": None, "server": None}
        say_json({"user": user, **none, "role": RELAY_ADMIN, **outcome})
        return
    if admin:
        explain(f"User {user} is a relay administrator{'' if changed else ', as before'}.")
    elif changed:
        explain(f"User {user} is no longer a relay administrator.")
    else:
        explain(f"User {user} was no relay administrator by name; see admin_groups for those by group.")


def _administrator(user: str | None, group: str | None, site: str | None, server: str | None) -> str:
    if group is not None:
        raise Usage("Groups of relay administrators are a setting: admin_groups.")
    if site is not None or server is not None:
        raise Usage("A relay-admin is of no site: leave --site and --server out.")
    if user is None:
        raise Usage("Say whose role it is: --user USER.")
    return parse_user(user)


def _parsed(user: str | None, group: str | None, site: str | None, server: str | None) -> _Place:
    from penstock.names import parse_name

    if (user is None) == (group is None):
        raise Usage("Say whose access it is, with one of --user USER and --group GROUP.")
    if site is None:
        raise Usage("Say at which site: --site SITE.")
    return _Place(
        None if user is None else parse_user(user),
        None if group is None else parse_group(group),
        parse_name(site, "site"),
        None if server is None else parse_name(server, "server"),
    )


def _role(text: str) -> "Role":
    from penstock_relay.store import Role

    try:
        return Role(text)
    except ValueError:
        names = ", ".join([*Role, RELAY_ADMIN])
        raise Usage(f"There is no role {text[:40]!a}: the roles are {names}.") from None


def _calls(role: "Role") -> bool:
    from penstock_relay.store import CALLING

    return role in CALLING


def _means(role: "Role") -> str:
    from penstock_relay.store import Role

    return {
        Role.USER: "may use",
        Role.SITE_ADMIN: "is site administrator of, and may use,",
        Role.AUDITOR: "is auditor of, and may not call,",
    }[role]


def _left(membership: "Membership | GroupMembership", place: _Place) -> str:
    from penstock_relay.store import GroupMembership

    server = membership.server or "all servers"
    if place.user is not None and isinstance(membership, GroupMembership):
        return f"{server} (by group {membership.group})"
    return server


def _who(membership: "Membership | GroupMembership") -> str:
    from penstock_relay.store import GroupMembership

    return f"group:{membership.group}" if isinstance(membership, GroupMembership) else membership.user


def _public(membership: "Membership | GroupMembership") -> dict[str, object]:
    from penstock_relay.store import GroupMembership

    return {
        "user": None if isinstance(membership, GroupMembership) else membership.user,
        "group": membership.group if isinstance(membership, GroupMembership) else None,
        "site": membership.site,
        "server": membership.server,
        "role": membership.role,
        "created_at": moment(membership.created_at),
    }
