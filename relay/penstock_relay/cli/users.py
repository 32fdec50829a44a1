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
    from penstock_relay.store import Ended, Store, User

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
    admin: Annotated[bool, typer.Option("--admin", help="Make the user a relay administrator.")] = False,
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
    user = User(user_name, email, None, now, admin=admin)

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
    reset: Annotated[
        bool,
        typer.Option(
            "--reset",
            help="For an account in wrong hands: end password, second factor, logins and grants now.",
        ),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print a link where a user chooses a new password.

    Links that were not used stop working; the old password works until the new one is set, which ends the
    user's logins in other browsers.
    """
    from penstock_relay.oauth import tokens

    settings, now = settings_of(ctx, config), time.time()
    user_name = parse_user(name)
    expires_at, word, origin = (
        now + seconds(ttl, what="--ttl", most=MOST_TTL),
        tokens.secret(),
        _origin(settings),
    )

    async def work(store: "Store") -> "Ended | None":
        await store.users.invite(user_name, tokens.digest(word), now, expires_at)
        return await store.users.reset(user_name, now) if reset else None

    ended = with_store(settings, work)
    if ended is not None:
        explain(f"The password of {user_name} is good no more. {ended_in_words(ended)}")
        explain("A second factor, if there was one, is removed.")
    _show(ctx, json, origin, word, user_name, expires_at)


@guarded
def reset_factor(
    ctx: typer.Context, name: NameArgument, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Remove the second factor of a user who has lost it, and end the user's logins; twice is harmless.

    The password stays as it is, and so do grants. Make sure that it is the user who asks.
    """
    user_name = parse_user(name)

    async def work(store: "Store") -> "int | None":
        return await store.factors.reset(user_name, time.time())

    ended = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"name": user_name, "factor_removed": ended is not None, "logins_ended": ended or 0})
    elif ended is None:
        explain(f"User {user_name} has no second factor. Nothing was ended.")
    else:
        explain(f"The second factor of {user_name} is removed. Logins ended: {ended}.")


@guarded
def list_users(ctx: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the accounts."""
    settings = settings_of(ctx, config)

    async def work(store: "Store") -> "tuple[list[User], dict[str, tuple[str, ...]]]":
        users = await store.users.list()
        return users, {each.name: await store.people.groups(each.name) for each in users if each.issuer}

    users, groups = with_store(settings, work)

    def admin(user: "User") -> bool:
        return user.admin or not set(settings.admin_groups).isdisjoint(groups.get(user.name, ()))

    if wants_json(ctx, json):
        say_json(
            [
                {
                    "name": user.name,
                    "email": user.email,
                    "created_at": moment(user.created_at),
                    "state": user.state,
                    "admin": admin(user),
                    "second_factor": user.factor,
                    "issuer": user.issuer,
                    "subject": user.subject,
                    "full_name": user.full_name,
                    "groups": list(groups.get(user.name, ())),
                }
                for user in users
            ]
        )
        return
    if not users:
        explain("There are no users. Make an account with: penstock-relay user add NAME")
        return
    say_table(
        ("NAME", "EMAIL", "CALLED", "LOGS IN", "CREATED", "ADMIN", "2ND FACTOR", "STATE"),
        [
            (
                user.name,
                user.email or "-",
                user.full_name or "-",
                user.issuer or "here",
                moment(user.created_at),
                "yes" if admin(user) else "no",
                "-" if user.issuer else "yes" if user.factor else "no",
                user.state,
            )
            for user in users
        ],
    )


@guarded
def disable(
    ctx: typer.Context, name: NameArgument, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """End an account, its logins and all that it granted; twice is harmless.

    A running relay refuses its tokens, and ends what runs by their right, within a second.
    """
    user_name = parse_user(name)

    async def work(store: "Store") -> "Ended":
        return await store.users.disable(user_name, time.time())

    ended = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"name": user_name, "disabled": True, **ended_as_json(ended)})
        return
    explain(f"User {user_name} is disabled. {ended_in_words(ended)}")
    if ended.tokens:
        explain("A running relay ends the requests that are under way by their right, within a second.")


@guarded
def enable(
    ctx: typer.Context, name: NameArgument, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Let a disabled account be used again; what ended with it stays ended. Twice is harmless."""
    user_name = parse_user(name)

    async def work(store: "Store") -> bool:
        return await store.users.enable(user_name)

    changed = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"name": user_name, "disabled": False, "was_disabled": changed})
        return
    explain(
        f"User {user_name} may log in again, and has to connect applications anew."
        if changed
        else f"User {user_name} was not disabled."
    )


def ended_in_words(ended: "Ended") -> str:
    """What ended with an account, as sentences."""
    return f"Grants ended: {ended.grants}. Tokens ended: {ended.tokens}. Logins ended: {ended.logins}."


def ended_as_json(ended: "Ended") -> dict[str, object]:
    return {
        "grants_ended": ended.grants,
        "tokens_ended": ended.tokens,
        "logins_ended": ended.logins,
    }


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

    if not settings.local_accounts:
        raise Usage(
            "local_accounts is off: users log in through the identity provider, and are known here from "
            "their first login on. Give a group access with: penstock-relay access add --group GROUP "
            "--site SITE"
        )
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
