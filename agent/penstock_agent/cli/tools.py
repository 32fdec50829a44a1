"""``penstock-agent tools list`` and ``tools lint``: what servers offer, and what assistants make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say, usage
from penstock_agent.cli.expose import offered, offers, show
from penstock_agent.problem import Exit, printable

if TYPE_CHECKING:
    from penstock_agent.catalogue.offer import Catalogue
    from penstock_agent.config import Settings

ServersArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SERVER…]", help="Servers of agent.toml; all without one.")
]


def list_tools(
    servers: ServersArgument = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what servers offer, and what of it is exposed (+) or withheld (!) until it is approved.

    Starts each of them once, or connects to it.
    """
    with problems(json):
        settings, names = _servers(servers, config, state_dir)
        from penstock_agent import pinning
        from penstock_agent.exposing import pinned

        found: dict[str, object] = {}
        for name in names:
            server, catalogue = settings.server(name), offered(name, settings)
            states = pinned.states(pinning.load(settings.state_dir, name), catalogue)
            if json:
                found[name] = offers(catalogue, server.expose, states, server.tools)
            else:
                show(catalogue, server.expose, states, server.tools)
        if json:
            emit(found)


def lint(
    servers: ServersArgument = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is not exposed: before you expose it.")
    ] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Say what ChatGPT and Claude will make of what is exposed, and what looks like a trick.

    Starts each server once, or connects to it. Exit status 1 when something is suspect.
    """
    with problems(json):
        from penstock_agent.catalogue.lint import Weight
        from penstock_agent.catalogue.lint import lint as look

        settings, names = _servers(servers, config, state_dir)
        found = look([_chosen(offered(name, settings), settings, everything) for name in names])
        if json:
            import msgspec

            emit({"findings": msgspec.to_builtins(found)})
        else:
            for each in found:
                item = f"{each.kind} {printable(each.name, 100)}: " if each.name else ""
                say(f"{each.weight.value:8} {each.server}: {item}{each.text}")
            say(f"{len(found)} findings." if found else "Nothing to say.")
        if any(each.weight is Weight.SUSPECT for each in found):
            raise typer.Exit(Exit.FAILED)


def _servers(
    names: list[str] | None, config: ConfigOption, state_dir: StateDirOption
) -> tuple[Settings, list[str]]:
    from penstock_agent.config import Options, load

    settings = load(Options(config, state_dir))
    for name in names or ():
        settings.server(name)
    chosen = names or list(settings.servers)
    if not chosen:
        raise usage(f"There are no servers in {settings.config_file}.")
    return settings, chosen


def _chosen(catalogue: Catalogue, settings: Settings, everything: bool) -> Catalogue:
    """What is looked at."""
    from penstock_agent.catalogue.offer import Catalogue
    from penstock_agent.exposing import entries as exposing

    if everything:
        return catalogue
    visible = exposing.shown(settings.server(catalogue.server).expose, catalogue.items)
    items = [item for item in catalogue.items if (item.kind, item.name) in visible]
    return Catalogue(catalogue.server, items, catalogue.instructions if items else "")
