"""``penstock-relay grant``: what users allowed clients."""

import time
from typing import TYPE_CHECKING, Annotated

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
    wants_json,
    with_store,
)
from penstock_relay.cli.users import parse_user

if TYPE_CHECKING:
    from penstock_relay.store import Ended, Grant, Store


@guarded
def list_grants(
    ctx: typer.Context,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Of this user only.")] = None,
    site: Annotated[str | None, typer.Option("--site", metavar="SITE", help="Of this site only.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List what users allowed clients."""

    async def work(store: "Store") -> "list[Grant]":
        return await store.grants.list(None if user is None else parse_user(user), site)

    grants, now = with_store(settings_of(ctx, config), work), time.time()
    if wants_json(ctx, json):
        say_json(
            [
                {
                    "id": grant.id,
                    "user": grant.user,
                    "client": grant.client_id,
                    "client_name": grant.client_name,
                    "site": grant.site,
                    "server": grant.server or None,
                    "created_at": moment(grant.created_at),
                    "expires_at": moment(min(grant.expires_at, grant.idle_at)),
                    "state": _state(grant, now),
                }
                for grant in grants
            ]
        )
        return
    if not grants:
        explain("Nobody has connected a client yet.")
        return
    say_table(
        ("ID", "USER", "CLIENT", "SITE", "SERVER", "CREATED", "STATE"),
        [
            (
                grant.id,
                grant.user,
                grant.client_name,
                grant.site,
                grant.server or "(all)",
                moment(grant.created_at),
                _state(grant, now),
            )
            for grant in grants
        ],
    )


@guarded
def revoke(
    ctx: typer.Context,
    grant: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The grant's id, as `grant list` shows it.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="All of this user's.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """End a grant, or all of a user's, and their tokens; twice is harmless.

    A running relay refuses them within a second.
    """
    if (grant is None) == (user is None):
        raise Usage("Say what to end: the ID of a grant, or all of a user's with --user USER.")
    if grant is None:
        _revoke_all(ctx, config, json, parse_user(user or ""))
        return

    async def work(store: "Store") -> bool:
        return await store.grants.revoke(grant, time.time())

    ended = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"id": grant, "revoked": True, "was_revoked": not ended})
        return
    explain(f"Grant {grant} is revoked." if ended else f"Grant {grant} was revoked before.")


def _revoke_all(ctx: typer.Context, config: ConfigOption, json: bool, user: str) -> None:
    async def work(store: "Store") -> "Ended":
        return await store.grants.revoke_all(user, time.time())

    ended = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"user": user, "grants_ended": ended.grants, "tokens_ended": ended.tokens})
        return
    explain(f"Grants of {user} ended: {ended.grants}. Tokens ended: {ended.tokens}.")


def _state(grant: "Grant", now: float) -> str:
    if grant.revoked_at is not None:
        return "revoked"
    return "expired" if min(grant.expires_at, grant.idle_at) <= now else "good"
