"""``penstock-relay client``: applications that ask users for access; those that the operator made."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    Failed,
    JsonOption,
    Usage,
    explain,
    guarded,
    moment,
    say,
    say_json,
    say_table,
    settings_of,
    wants_json,
    with_store,
)

if TYPE_CHECKING:
    from penstock_relay.store import ClientRecord, Store

KNOWN: Final = {
    "chatgpt": ("https://chatgpt.com/connector_platform_oauth_redirect",),
    "claude": ("https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"),
}
"""Where the assistants have users sent back to."""
METHODS: Final = ("client_secret_basic", "client_secret_post", "none", "private_key_jwt")
MAX_JWKS: Final = 64 * 1024


@guarded
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What users are shown.")],
    redirect_uri: Annotated[
        list[str],
        typer.Option(
            "--redirect-uri", metavar="URI", help="Where users return to: a URI, or chatgpt, or claude."
        ),
    ],
    auth: Annotated[
        str,
        typer.Option("--auth", metavar="METHOD", help="How it proves who it is: " + ", ".join(METHODS) + "."),
    ] = METHODS[0],
    jwks_file: Annotated[
        Path | None,
        typer.Option("--jwks-file", metavar="FILE", help="Its public keys, for private_key_jwt."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a client that needs no registration, and print its id, and its secret, once, on the next line."""
    from penstock_relay.oauth import tokens
    from penstock_relay.oauth.client import BadClient, name_of
    from penstock_relay.store import ClientRecord

    if auth not in METHODS:
        raise Usage(f"--auth {auth[:40]!a} is not known: use one of {', '.join(METHODS)}.")
    try:
        shown = name_of(name)
    except BadClient as error:
        raise Usage(f"NAME: {error}") from None
    if not shown:
        raise Usage("NAME: it is what users are shown, and cannot be empty.")
    uris = _redirects(redirect_uri)
    if (auth == "private_key_jwt") != (jwks_file is not None):
        raise Usage("--jwks-file goes with --auth private_key_jwt, and that needs it.")
    jwks = None if jwks_file is None else _jwks(jwks_file)
    secret = tokens.secret() if auth.startswith("client_secret") else None
    record = ClientRecord(
        f"app-{tokens.identifier()}",
        shown,
        uris,
        auth,
        None if secret is None else tokens.digest(secret),
        time.time(),
        preregistered=True,
        jwks=jwks,
    )

    async def work(store: "Store") -> bool:
        return await store.clients.add(record, 0)

    settings = settings_of(ctx, config)
    with_store(settings, work)
    if wants_json(ctx, json):
        say_json({**_shown(record), "client_secret": secret})
    else:
        say(record.client_id)
        if secret is not None:
            say(secret)
            explain("The client's id, and its secret, which is not shown again.")
    if not settings.oauth:
        explain("oauth = false: until it is on again, clients log users in at the issuers outside.")


@guarded
def list_clients(ctx: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List clients: the operator's, and those that registered themselves."""

    async def work(store: "Store") -> "list[ClientRecord]":
        return await store.clients.list()

    clients = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json([_shown(client) for client in clients])
        return
    if not clients:
        explain("There is no client. Those with a metadata document are not kept, and need none.")
        return
    say_table(
        ("ID", "NAME", "KIND", "AUTH", "RETURNS TO", "USED"),
        [
            (
                client.client_id,
                client.name,
                _kind(client),
                client.auth_method,
                " ".join(client.redirect_uris),
                "no" if client.used_at is None else moment(client.used_at),
            )
            for client in clients
        ],
    )


@guarded
def remove(
    ctx: typer.Context,
    client_id: Annotated[
        str, typer.Argument(metavar="ID", help="The client's id, as `client list` shows it.")
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a client, and end all that users granted it.

    A running relay refuses its tokens within a second.
    """

    async def work(store: "Store") -> int:
        return await store.clients.remove(client_id, time.time())

    ended = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"client_id": client_id, "removed": True, "grants_revoked": ended})
        return
    explain(f"Client {client_id} is removed; grants that this ended: {ended}.")


def _redirects(given: list[str]) -> tuple[str, ...]:
    from penstock_relay.oauth import redirects
    from penstock_relay.oauth.client import MAX_REDIRECTS

    uris = tuple(dict.fromkeys(uri for word in given for uri in KNOWN.get(word, (word,))))
    if len(uris) > MAX_REDIRECTS:
        raise Usage(f"--redirect-uri: there are at most {MAX_REDIRECTS}.")
    for uri in uris:
        wrong = redirects.problem(uri)
        if wrong is not None:
            raise Usage(f"--redirect-uri {uri[:80]!a}: {wrong}")
    return uris


def _jwks(path: Path) -> bytes:
    from penstock import jwk
    from penstock.jwk import BadKeys

    with path.open("rb") as file:
        data = file.read(MAX_JWKS + 1)
    if len(data) > MAX_JWKS:
        raise Failed(f"{path}: it is longer than {MAX_JWKS} bytes.")
    try:
        jwk.parse(data)
    except BadKeys as error:
        raise Failed(f"{path}: {error} Write the public keys as a JSON Web Key Set.") from None
    return data


def _kind(client: "ClientRecord") -> str:
    return "operator" if client.preregistered else "registered"


def _shown(client: "ClientRecord") -> dict[str, object]:
    return {
        "client_id": client.client_id,
        "name": client.name,
        "kind": _kind(client),
        "auth": client.auth_method,
        "redirect_uris": list(client.redirect_uris),
        "created_at": moment(client.created_at),
        "used_at": None if client.used_at is None else moment(client.used_at),
    }
