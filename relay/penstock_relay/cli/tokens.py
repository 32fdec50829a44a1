"""``penstock-relay token``."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    JsonOption,
    explain,
    guarded,
    moment,
    say,
    say_json,
    say_table,
    seconds,
    settings_of,
    urls,
    wants_json,
    with_store,
)

if TYPE_CHECKING:
    from penstock_relay.store import Store, Token

MOST_TTL: Final = "3650d"


@guarded
def issue(
    ctx: typer.Context,
    site: Annotated[str, typer.Option("--site", metavar="SITE", help="The site that it opens.")],
    server: Annotated[
        str | None, typer.Option("--server", metavar="SERVER", help="One server of the site only.")
    ] = None,
    ttl: Annotated[str, typer.Option("--ttl", metavar="TIME", help="How long it is good.")] = "90d",
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Who uses it: its principal is svc:NAME (default: its id)."
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print a new personal access token, shown this once.

    The token stands alone on stdout, words about it go to stderr.
    """
    from penstock.names import parse_name
    from penstock_relay import access

    settings = settings_of(ctx, config)
    now = time.time()
    text, token = access.issue(
        parse_name(site, "site"),
        None if server is None else parse_name(server, "server"),
        None if name is None else parse_name(name, "token's name"),
        now,
        now + seconds(ttl, what="--ttl", most=MOST_TTL),
    )

    async def work(store: "Store") -> None:
        await store.tokens.create(token)

    with_store(settings, work)
    if wants_json(ctx, json):
        say_json({"token": text, **_public(token, now)})
        return
    scope = (
        f"server {token.server} of site {token.site}"
        if token.server
        else f"every server of site {token.site}"
    )
    explain(f"Token {token.public_id} for {scope}, as svc:{token.name}, until {moment(token.expires_at)}.")
    explain(urls(settings, token.site, token.server))
    explain(f"It is not shown again. To end it: penstock-relay token revoke {token.public_id}")
    say(text)


@guarded
def list_tokens(
    ctx: typer.Context,
    site: Annotated[str | None, typer.Option("--site", metavar="SITE", help="Of this site only.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the tokens, without their secrets."""

    async def work(store: "Store") -> "list[Token]":
        return await store.tokens.list(site)

    tokens = with_store(settings_of(ctx, config), work)
    now = time.time()
    if wants_json(ctx, json):
        say_json([_public(token, now) for token in tokens])
        return
    if not tokens:
        explain("There are no tokens. Issue one with: penstock-relay token issue --site SITE")
        return
    say_table(
        ("ID", "PRINCIPAL", "SITE", "SERVER", "CREATED", "EXPIRES", "STATE"),
        [
            (
                token.public_id,
                f"svc:{token.name}",
                token.site,
                token.server or "(all)",
                moment(token.created_at),
                moment(token.expires_at),
                _state(token, now),
            )
            for token in tokens
        ],
    )


@guarded
def revoke(
    ctx: typer.Context,
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `token list` shows it.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """End a token; twice is harmless.

    A running relay refuses it within a second.
    """
    from penstock_relay import access

    found = access.public_id(token)

    async def work(store: "Store") -> bool:
        return await store.tokens.revoke(found, time.time())

    ended = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"id": found, "revoked": True, "was_revoked": not ended})
        return
    explain(f"Token {found} is revoked." if ended else f"Token {found} was revoked before.")


def _state(token: "Token", now: float) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at <= now else "good"


def _public(token: "Token", now: float) -> dict[str, object]:
    return {
        "id": token.public_id,
        "principal": f"svc:{token.name}",
        "site": token.site,
        "server": token.server,
        "created_at": moment(token.created_at),
        "expires_at": moment(token.expires_at),
        "revoked_at": None if token.revoked_at is None else moment(token.revoked_at),
        "state": _state(token, now),
    }
