"""``penstock-relay site`` and ``penstock-relay agent``."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    Failed,
    JsonOption,
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
    from penstock.joinstring import JoinString
    from penstock_relay.config import Settings
    from penstock_relay.store import Site, Store

MOST_TTL: Final = "7d"

SiteArgument = Annotated[str, typer.Argument(metavar="SITE", help="Name of the site: a-z, 0-9 and '-'.")]
TtlOption = Annotated[
    str,
    typer.Option("--ttl", metavar="TIME", help=f"How long the join string can be used, at most {MOST_TTL}."),
]


@guarded
def add(
    ctx: typer.Context,
    site: SiteArgument,
    ttl: TtlOption = "1h",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a site; print a join string for its first agent.

    The join string stands alone on stdout, words about it go to stderr.
    """
    _invite(settings_of(ctx, config), site, ttl, new=True, json=wants_json(ctx, json))


@guarded
def invite(
    ctx: typer.Context,
    site: SiteArgument,
    ttl: TtlOption = "1h",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print a join string for one more agent of a site.

    The join string stands alone on stdout, words about it go to stderr.
    """
    _invite(settings_of(ctx, config), site, ttl, new=False, json=wants_json(ctx, json))


@guarded
def list_sites(ctx: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the sites and how many agents have joined."""

    async def work(store: "Store") -> "list[Site]":
        return await store.sites.list()

    sites = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json([{"name": s.name, "created_at": moment(s.created_at), "agents": s.agents} for s in sites])
        return
    if not sites:
        explain("There are no sites yet. Make one with: penstock-relay site add NAME")
        return
    say_table(("SITE", "CREATED", "AGENTS"), [(s.name, moment(s.created_at), str(s.agents)) for s in sites])


def _invite(settings: "Settings", site: str, ttl: str, *, new: bool, json: bool) -> None:
    from penstock.names import parse_name
    from penstock_relay.store import SiteExists

    site = parse_name(site, "site")
    now = time.time()
    expires_at = now + seconds(ttl, what="--ttl", most=MOST_TTL)
    # Everything that may be missing is looked for before the site is made.
    join, digest = _join_string(settings, site, now)

    async def work(store: "Store") -> None:
        if new:
            await store.sites.add(site, now)
        await store.invites.create(site, digest, now, expires_at)

    try:
        with_store(settings, work)
    except SiteExists as error:
        raise Failed(f"{error} For a further agent of it run: penstock-relay agent invite {site}") from None
    if json:
        say_json(
            {"site": site, "join_string": join.dump(), "expires_at": moment(expires_at), "url": join.url}
        )
        return
    explain(f"Join string for one agent of site {site}, good once, until {moment(expires_at)}.")
    explain(f"Agents will dial {join.url}. On site, run: penstock-agent join JOIN_STRING")
    say(join.dump())


def _join_string(settings: "Settings", site: str, now: float) -> "tuple[JoinString, bytes]":
    from penstock.joinstring import JoinString
    from penstock_relay.ca.opening import open_authority
    from penstock_relay.enrolment import new_secret, secret_hash

    url = _tunnel_url(settings)
    authority = open_authority(settings, now)
    secret = new_secret()
    return JoinString(url=url, pin=authority.pin, secret=secret, site=site), secret_hash(secret)


def _tunnel_url(settings: "Settings") -> str:
    from penstock_relay import listening

    if settings.tunnel_url is not None:
        return settings.tunnel_url
    running = listening.read(settings.state_dir)
    if running is not None:
        return running.tunnel_url
    if settings.tunnel_listen.port == 0:
        raise Failed(
            "The relay is not running, and tunnel_listen leaves the choice of its port to the start, so the "
            "URL for agents is not known. Start the relay first (penstock-relay serve), or set tunnel_url."
        )
    return settings.tunnel_url_at(settings.tunnel_listen)
