"""``penstock-relay access``: memberships."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    JsonOption,
    explain,
    guarded,
    moment,
    say_json,
    say_table,
    settings_of,
    wants_json,
    with_store,
)
from penstock_relay.cli.users import parse_user

if TYPE_CHECKING:
    from penstock_relay.store import Membership, Store

UserOption = Annotated[str, typer.Option("--user", metavar="USER", help="Whose access it is.")]
SiteOption = Annotated[str, typer.Option("--site", metavar="SITE", help="The site.")]
ServerOption = Annotated[
    str | None, typer.Option("--server", metavar="SERVER", help="One server of the site only.")
]


@guarded
def add(
    ctx: typer.Context,
    user: UserOption,
    site: SiteOption,
    server: ServerOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let a user use a site, or one of its servers; twice is harmless."""
    from penstock_relay.store import Membership

    who, where, what = _parsed(user, site, server)
    membership = Membership(who, where, what, time.time())

    async def work(store: "Store") -> bool:
        return await store.memberships.add(membership)

    added = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({**_public(membership), "was_there": not added})
        return
    explain(f"User {who} may use {_shown(where, what)}{'' if added else ', as before'}.")


@guarded
def remove(
    ctx: typer.Context,
    user: UserOption,
    site: SiteOption,
    server: ServerOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Take the access to a site, or to one of its servers, back; twice is harmless.

    A running relay refuses what was granted on its ground within a second.
    """
    who, where, what = _parsed(user, site, server)

    async def work(store: "Store") -> "tuple[bool, list[Membership]]":
        gone = await store.memberships.remove(who, where, what)
        return gone, await store.memberships.list(user=who, site=where)

    gone, left = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"user": who, "site": where, "server": what, "removed": gone})
        return
    explain(
        f"User {who} may no longer use {_shown(where, what)}."
        if gone
        else f"User {who} had no such access to {_shown(where, what)}."
    )
    if left:
        names = ", ".join(each.server or "all servers" for each in left)
        explain(f"Still allowed at site {where}: {names}.")


@guarded
def list_access(
    ctx: typer.Context,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Of this user only.")] = None,
    site: Annotated[str | None, typer.Option("--site", metavar="SITE", help="Of this site only.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List who may use what."""

    async def work(store: "Store") -> "list[Membership]":
        return await store.memberships.list(None if user is None else parse_user(user), site)

    found = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json([_public(each) for each in found])
        return
    if not found:
        explain(
            "Nobody may use anything. Change that with: penstock-relay access add --user USER --site SITE"
        )
        return
    say_table(
        ("USER", "SITE", "SERVER", "SINCE"),
        [(each.user, each.site, each.server or "(all)", moment(each.created_at)) for each in found],
    )


def _parsed(user: str, site: str, server: str | None) -> tuple[str, str, str | None]:
    from penstock.names import parse_name

    return (
        parse_user(user),
        parse_name(site, "site"),
        None if server is None else parse_name(server, "server"),
    )


def _shown(site: str, server: str | None) -> str:
    return f"every server of site {site}" if server is None else f"server {server} of site {site}"


def _public(membership: "Membership") -> dict[str, object]:
    return {
        "user": membership.user,
        "site": membership.site,
        "server": membership.server,
        "created_at": moment(membership.created_at),
    }
