"""``penstock-relay agent heads``: what agents have said of their ledgers, for whoever checks one."""

from typing import TYPE_CHECKING, Annotated

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    Failed,
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

if TYPE_CHECKING:
    from penstock_relay.store import Store, StoredHead


@guarded
def list_heads(
    ctx: typer.Context,
    site: Annotated[
        str | None, typer.Argument(metavar="[SITE]", help="Agents of this site only.", show_default=False)
    ] = None,
    agent: Annotated[
        str | None, typer.Argument(metavar="[AGENT]", help="This agent only.", show_default=False)
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Those of earlier days and of earlier ledgers, too.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the newest head of each agent's ledger, as the relay has stored it.

    With SITE, AGENT and --json it is one object: what `penstock-agent ledger verify --head FILE` takes.
    """
    from penstock import ledgerhead
    from penstock.names import parse_name

    if site is not None:
        parse_name(site, "site")
    if agent is not None:
        parse_name(agent, "agent")
    one = agent is not None and not every

    async def work(store: "Store") -> "list[StoredHead]":
        return await store.heads.list(site, agent, every=every)

    found = with_store(settings_of(ctx, config), work)
    if one and not found:
        raise Failed(
            f"No ledger head of agent {agent} of site {site} is stored. An agent that keeps a ledger sends "
            "one when it is linked: penstock-relay agent list says whether there is such an agent, and "
            "penstock-agent status, on site, whether it is linked."
        )
    if wants_json(ctx, json):
        files = [ledgerhead.as_json(each.head, each.agent.site, each.agent.agent) for each in found]
        say_json(files[0] if one else files)
        return
    if not found:
        explain("No head is stored. Agents that keep a ledger send its head when they are linked.")
        return
    say_table(
        ("SITE", "AGENT", "LEDGER", "RECORD", "HASH", "SIGNED", "STORED"),
        [
            (
                each.agent.site,
                each.agent.agent,
                ledgerhead.name_of(each.head.key),
                str(each.head.n),
                each.head.hash.hex()[:12] + "…",
                ledgerhead.moment(each.head),
                moment(each.stored_at),
            )
            for each in found
        ],
    )
