"""``penstock-relay agent list``, ``approve`` and ``revoke``; ``agent invite`` stands with the sites."""

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
from penstock_relay.cli.sites import SiteArgument

if TYPE_CHECKING:
    from penstock.names import AgentId
    from penstock_relay.store import Agent, Store, StoredNotice

AgentArgument = Annotated[
    str, typer.Argument(metavar="AGENT", help="Name of the agent, as `agent list` shows.")
]


@guarded
def list_agents(
    ctx: typer.Context,
    site: Annotated[
        str | None, typer.Option("--site", metavar="SITE", help="Agents of this site only.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List agents: whether they are let in, what they say waits on their site, their certificate."""
    from penstock.names import parse_name

    if site is not None:
        parse_name(site, "site")

    async def work(store: "Store") -> "tuple[list[Agent], dict[AgentId, StoredNotice]]":
        return await store.agents.list(site), await store.notices.list(site)

    now = time.time()
    agents, notices = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json([_as_json(agent, notices.get(agent.id), now) for agent in agents])
        return
    if not agents:
        explain("No agent has joined yet. Get a join string with: penstock-relay agent invite SITE")
        return
    say_table(
        ("SITE", "AGENT", "STATE", "NOTICE", "JOINED", "CERTIFICATE UNTIL", "GENERATION", "FINGERPRINT"),
        [
            (
                agent.id.site,
                agent.id.agent,
                _state(agent, now),
                _notice(notices.get(agent.id)),
                moment(agent.enrolled_at),
                moment(agent.not_after),
                str(agent.generation),
                _fingerprint(agent) or "-",
            )
            for agent in agents
        ],
    )


@guarded
def approve(
    ctx: typer.Context,
    site: SiteArgument,
    agent: AgentArgument,
    fingerprint: Annotated[
        str,
        typer.Option(
            "--fingerprint",
            metavar="FINGERPRINT",
            help="What penstock-agent join or status prints on site, whole.",
        ),
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let a new agent in, where the site requires it. Twice is harmless."""
    from penstock import fingerprint as fingerprints
    from penstock.names import AgentId

    identity = AgentId(site, agent)
    try:
        digest = fingerprints.parse(fingerprint)
    except fingerprints.BadFingerprint as error:
        raise Usage(f"--fingerprint: {error}") from None

    async def work(store: "Store") -> bool:
        return await store.agents.approve(identity, digest, time.time())

    approved = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"site": site, "agent": agent, "approved": True, "was_approved": not approved})
        return
    explain(
        f"Agent {agent} of site {site} is approved; it links within a minute."
        if approved
        else f"Agent {agent} of site {site} was approved before."
    )


@guarded
def revoke(
    ctx: typer.Context,
    site: SiteArgument,
    agent: AgentArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """End an agent for good: a running relay drops its link, and the agent stops. Twice is harmless."""
    from penstock.names import AgentId

    identity = AgentId(site, agent)

    async def work(store: "Store") -> bool:
        return await store.agents.revoke(identity, time.time())

    revoked = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"site": site, "agent": agent, "revoked": True, "was_revoked": not revoked})
        return
    if not revoked:
        explain(f"Agent {agent} of site {site} was revoked before.")
        return
    explain(f"Agent {agent} of site {site} is revoked; a running relay drops its link within 5 seconds.")
    explain(f"For another machine in its place run: penstock-relay agent invite {site} --replace {agent}")


def _state(agent: "Agent", now: float) -> str:
    if agent.revoked_at is not None:
        return "revoked"
    if agent.lock is not None:
        return f"locked ({agent.lock.value})"
    if agent.approved_at is None:
        return "waiting"
    return "good" if agent.not_after > now else "expired"


def _fingerprint(agent: "Agent") -> str | None:
    from penstock import fingerprint

    return None if agent.fingerprint is None else fingerprint.dump(agent.fingerprint)


def _notice(stored: "StoredNotice | None") -> str:
    """How much waits on its site, as an agent that is linked says."""
    if stored is None:
        return "-"
    notice = stored.notice
    parts = [
        f"{count} {what}"
        for count, what in ((notice.withheld, "withheld"), (notice.waiting, "waiting"))
        if count
    ]
    parts += ["ledger failing"] if notice.ledger_failing else []
    parts += ["paused"] if notice.paused else []
    return f"{', '.join(parts)} (said {moment(stored.stored_at)})" if parts else "none"


def _as_json(agent: "Agent", stored: "StoredNotice | None", now: float) -> dict[str, object]:
    return {
        "site": agent.id.site,
        "agent": agent.id.agent,
        "state": _state(agent, now).partition(" ")[0],
        "lock": None if agent.lock is None else agent.lock.value,
        "enrolled_at": moment(agent.enrolled_at),
        "certificate_expires": moment(agent.not_after),
        "generation": agent.generation,
        "fingerprint": _fingerprint(agent),
        "approved_at": None if agent.approved_at is None else moment(agent.approved_at),
        "revoked_at": None if agent.revoked_at is None else moment(agent.revoked_at),
        "locked_at": None if agent.locked_at is None else moment(agent.locked_at),
        "notice": None
        if stored is None
        else {
            "withheld": stored.notice.withheld,
            "waiting": stored.notice.waiting,
            "ledger_failing": stored.notice.ledger_failing,
            "paused": stored.notice.paused,
            "said_at": moment(stored.stored_at),
        },
    }
