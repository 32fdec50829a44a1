"""``penstock-relay site`` and ``penstock-relay agent``."""

import time
from dataclasses import dataclass
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
TTL: Final = "1h"
APPROVAL_TTL: Final = "24h"
"""Longer, because the join string alone lets nobody in."""

SiteArgument = Annotated[str, typer.Argument(metavar="SITE", help="Name of the site: a-z, 0-9 and '-'.")]
TtlOption = Annotated[
    str | None,
    typer.Option(
        "--ttl",
        metavar="TIME",
        help=f"How long the join string can be used, at most {MOST_TTL} (default: {TTL}, or {APPROVAL_TTL} "
        "where agents must be approved).",
    ),
]


@guarded
def add(
    ctx: typer.Context,
    site: SiteArgument,
    ttl: TtlOption = None,
    require_approval: Annotated[
        bool,
        typer.Option(
            "--require-approval",
            help="Each agent waits until it is approved by its fingerprint (agent approve).",
        ),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a site; print a join string for its first agent.

    The join string stands alone on stdout, words about it go to stderr.
    """
    made = _Invitation(site, ttl, new=True, require_approval=require_approval)
    _invite(settings_of(ctx, config), made, json=wants_json(ctx, json))


@guarded
def invite(
    ctx: typer.Context,
    site: SiteArgument,
    ttl: TtlOption = None,
    replace: Annotated[
        str | None,
        typer.Option(
            "--replace",
            metavar="AGENT",
            help="The machine that joins takes the place of this agent, whose certificates are revoked then.",
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print a join string for one more agent of a site, or for another machine in an agent's place.

    The join string stands alone on stdout, words about it go to stderr.
    """
    made = _Invitation(site, ttl, replace=replace)
    _invite(settings_of(ctx, config), made, json=wants_json(ctx, json))


@guarded
def list_sites(ctx: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the sites, how many agents have joined, and which are suspended."""

    async def work(store: "Store") -> "list[Site]":
        return await store.sites.list()

    sites = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json(
            [
                {
                    "name": s.name,
                    "created_at": moment(s.created_at),
                    "agents": s.agents,
                    "require_approval": s.require_approval,
                    "suspended_at": None if s.suspended_at is None else moment(s.suspended_at),
                }
                for s in sites
            ]
        )
        return
    if not sites:
        explain("There are no sites yet. Make one with: penstock-relay site add NAME")
        return
    say_table(
        ("SITE", "CREATED", "AGENTS", "SUSPENDED"),
        [
            (
                s.name,
                moment(s.created_at),
                str(s.agents),
                "-" if s.suspended_at is None else f"since {moment(s.suspended_at)}",
            )
            for s in sites
        ],
    )


@guarded
def suspend(
    ctx: typer.Context, site: SiteArgument, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Let no request go to a site any more, and end what runs there. Twice is harmless."""

    async def work(store: "Store") -> bool:
        return await store.sites.suspend(site, time.time())

    suspended = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"site": site, "suspended": True, "was_suspended": not suspended})
        return
    if not suspended:
        explain(f"Site {site} was suspended before.")
        return
    explain(f"Site {site} is suspended: a running relay ends what runs there within 5 seconds, and")
    explain(f"tells its callers so. To let it go on: penstock-relay site resume {site}")


@guarded
def resume(
    ctx: typer.Context, site: SiteArgument, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Let requests go to a site again, as far as the site allows them. Twice is harmless."""

    async def work(store: "Store") -> bool:
        return await store.sites.resume(site)

    resumed = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"site": site, "suspended": False, "was_suspended": resumed})
        return
    explain(
        f"Requests go to site {site} again, within 5 seconds."
        if resumed
        else f"Site {site} is not suspended."
    )


@dataclass(frozen=True, slots=True)
class _Invitation:
    """What a command asks for."""

    site: str
    ttl: str | None
    new: bool = False
    require_approval: bool = False
    replace: str | None = None


def _invite(settings: "Settings", wanted: _Invitation, *, json: bool) -> None:
    from penstock.names import parse_name
    from penstock_relay.store import SiteExists

    site = parse_name(wanted.site, "site")
    replaces = None if wanted.replace is None else parse_name(wanted.replace, "agent")
    now = time.time()
    if wanted.ttl is not None:
        seconds(wanted.ttl, what="--ttl", most=MOST_TTL)
    # Everything that may be missing is looked for before the site is made.
    join, digest = _join_string(settings, site, now)

    async def work(store: "Store") -> tuple[float, bool]:
        if wanted.new:
            await store.sites.add(site, now, require_approval=wanted.require_approval)
        approval = await store.sites.requires_approval(site)
        ttl = wanted.ttl or (APPROVAL_TTL if approval else TTL)
        expires_at = now + seconds(ttl, what="--ttl", most=MOST_TTL)
        await store.invites.create(site, digest, now, expires_at, replaces)
        return expires_at, approval

    try:
        expires_at, approval = with_store(settings, work)
    except SiteExists as error:
        raise Failed(f"{error} For a further agent of it run: penstock-relay agent invite {site}") from None
    if json:
        say_json(
            {
                "site": site,
                "join_string": join.dump(),
                "expires_at": moment(expires_at),
                "url": join.url,
                "replaces": replaces,
                "require_approval": approval,
            }
        )
        return
    explain(f"Join string for one agent of site {site}, good once, until {moment(expires_at)}.")
    if replaces is not None:
        explain(f"Whoever uses it takes the place of agent {replaces}, whose certificates are revoked then.")
    option = "--replace " if replaces is not None else ""
    explain(f"Agents will dial {join.url}. On site, run: penstock-agent join {option}JOIN_STRING")
    if approval:
        explain(
            "Then approve it, by the fingerprint that join prints: penstock-relay agent list, agent approve"
        )
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
