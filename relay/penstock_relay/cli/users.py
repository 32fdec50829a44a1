"""``penstock-relay user``."""

import re
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    JsonOption,
    Usage,
    explain,
    guarded,
    moment,
    say,
    say_json,
    say_table,
    seconds,
    settings_of,
    wants_json,
    with_store,
)

if TYPE_CHECKING:
    from penstock_relay.config import Settings
    from penstock_relay.store import Store, User

MOST_TTL: Final = "30d"

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_EMAIL: Final = re.compile(r"[!-?A-~]{1,64}@[!-?A-~]{1,189}")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name that the user logs in with.")]
TtlOption = Annotated[
    str, typer.Option("--ttl", metavar="TIME", help=f"How long the link can be used, at most {MOST_TTL}.")
]


@guarded
def add(
    ctx: typer.Context,
    name: NameArgument,
    email: Annotated[
        str, typer.Option("--email", metavar="EMAIL", help="Verified by you; shown to sites.")
    ] = "",
    ttl: TtlOption = "7d",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make an account; print the link where its user chooses a password.

    The link stands alone on stdout, words about it go to stderr.
    """
    from penstock_relay.oauth import tokens
    from penstock_relay.store import User

    settings, now = settings_of(ctx, config), time.time()
    user_name = parse_user(name)
    if email and _EMAIL.fullmatch(email) is None:
        raise Usage(f"--email {email[:80]!a} is not an e-mail address.")
    # Where issuers outside log users in, an account is an address to know them by, and needs no password.
    outside = not settings.oauth and any(issuer.match_email for issuer in settings.issuers)
    if outside and not email:
        raise Usage("--email is missing: oauth is off, and users of issuers are known by their addresses.")
    expires_at, word, origin = (
        now + seconds(ttl, what="--ttl", most=MOST_TTL),
        tokens.secret(),
        "" if outside else _origin(settings),
    )
    user = User(user_name, email, None, now)

    async def work(store: "Store") -> None:
        await store.users.add(user, tokens.digest(word), expires_at)

    with_store(settings, work)
    if not outside:
        _show(ctx, json, origin, word, user_name, expires_at)
    elif wants_json(ctx, json):
        say_json({"name": user_name, "link": None, "expires_at": None})
    else:
        explain(f"{user_name} is whoever an issuer of the configuration says has the address {email}.")
    explain(f"Nobody may use anything yet. Next: penstock-relay access add --user {user_name} --site SITE")


@guarded
def invite(
    ctx: typer.Context,
    name: NameArgument,
    ttl: TtlOption = "7d",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print a link where a user chooses a new password.

    Links that were not used stop working; the old password works until the new one is set.
    """
    from penstock_relay.oauth import tokens

    settings, now = settings_of(ctx, config), time.time()
    user_name = parse_user(name)
    expires_at, word, origin = (
        now + seconds(ttl, what="--ttl", most=MOST_TTL),
        tokens.secret(),
        _origin(settings),
    )

    async def work(store: "Store") -> None:
        await store.users.invite(user_name, tokens.digest(word), now, expires_at)

    with_store(settings, work)
    _show(ctx, json, origin, word, user_name, expires_at)


@guarded
def list_users(ctx: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the accounts."""

    async def work(store: "Store") -> "list[User]":
        return await store.users.list()

    users = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json(
            [
                {
                    "name": user.name,
                    "email": user.email,
                    "created_at": moment(user.created_at),
                    "state": _state(user),
                }
                for user in users
            ]
        )
        return
    if not users:
        explain("There are no users. Make an account with: penstock-relay user add NAME")
        return
    say_table(
        ("NAME", "EMAIL", "CREATED", "STATE"),
        [(user.name, user.email or "-", moment(user.created_at), _state(user)) for user in users],
    )


@guarded
def disable(
    ctx: typer.Context, name: NameArgument, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """End an account, its logins and all that it granted; twice is harmless.

    A running relay refuses its tokens within a second.
    """
    user_name = parse_user(name)

    async def work(store: "Store") -> int:
        return await store.users.disable(user_name, time.time())

    ended = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"name": user_name, "disabled": True, "grants_ended": ended})
        return
    explain(f"User {user_name} is disabled. Grants ended: {ended}.")


def parse_user(name: str) -> str:
    """The user name, in lower case. Raises Usage."""
    found = name.lower()
    # Some letters of other alphabets have a small form in ours, the sign for kelvin for one.
    if not name.isascii() or _NAME.fullmatch(found) is None:
        raise Usage(
            f"The user name {name[:80]!a} is not usable: take 1 to 64 of the characters a-z, 0-9 and "
            ". _ @ + -, with a letter or digit first."
        )
    return found


def _origin(settings: "Settings") -> str:
    from penstock_relay import listening

    if not settings.oauth:
        raise Usage("oauth is off in this relay's configuration, so nobody could log in. Set oauth = true.")
    if settings.public_url is not None:
        return settings.public_url
    running = listening.read(settings.state_dir)
    if running is not None:
        return running.public_url
    if settings.listen.port == 0:
        raise Usage("public_url is not set, and no relay is running that would know it. Start it, or set it.")
    return settings.public_url_at(settings.listen)


def _show(ctx: typer.Context, json: bool, origin: str, word: str, name: str, expires_at: float) -> None:
    link = f"{origin}/invite/{word}"
    if wants_json(ctx, json):
        say_json({"name": name, "link": link, "expires_at": moment(expires_at)})
        return
    explain(f"Send this link to {name}. It works once, until {moment(expires_at)}.")
    say(link)


def _state(user: "User") -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "invited" if user.password_hash is None else "active"
