"""``penstock-agent expose`` and ``hide``: what callers may see and use of one server."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    say_error,
    usage,
)
from penstock_agent.cli.status import connector_url, site_url
from penstock_agent.problem import Exit, printable

if TYPE_CHECKING:
    from penstock_agent.catalogue.offer import Catalogue, Offer
    from penstock_agent.config import Settings

ServerArgument = Annotated[str, typer.Argument(metavar="SERVER", help="The server's name in agent.toml.")]


def expose(
    server: ServerArgument,
    globs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="GLOB",
            help="What to add: NAME or read_* (tools), prompt:GLOB, resource:GLOB. Quote the stars.",
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Exactly the tools that say they only read, by name.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="All tools, prompts and resources.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Accept a GLOB that matches nothing now.")] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what SERVER offers, and expose some of it.

    Starts the server once, or connects to it, to ask it. Writes the expose list of agent.toml and has the
    running agent read it.
    """
    with problems(json):
        from penstock_agent.config import Options, load

        forms = [bool(globs), read_only, everything]
        if sum(forms) > 1:
            raise usage("Give either GLOBs, --read-only or --all.")
        settings = load(Options(config, state_dir))
        settings.server(server)
        catalogue = offered(server, settings)
        if not any(forms):
            if json:
                emit({"offers": offers(catalogue, settings.server(server).expose)})
                raise typer.Exit(Exit.USAGE)
            show(catalogue, settings.server(server).expose)
            globs, read_only, everything = _choose(server)
        changed = _write(settings, server, catalogue, globs or [], read_only, everything, force)
        entries = changed.server(server).expose
        states = _pin(changed, catalogue)
        if not json and any(forms):
            show(catalogue, entries, states)
        _tell(changed, server, json, {"offers": offers(catalogue, entries, states)})


def _pin(settings: Settings, catalogue: Catalogue) -> dict[str, str]:
    """Whoever exposes has been shown what there is: approve it, but for what has changed since then.

    Returns what is withheld, by the keys of pins, and why.
    """
    from penstock_agent import pinning
    from penstock_agent.exposing import pinned
    from penstock_agent.gate.pins import Pinned

    server = catalogue.server
    before = pinning.load(settings.state_dir, server)
    after = pinned.exposed(before, catalogue, settings.server(server).expose, time.time(), os.getuid())
    if isinstance(after, Pinned) and after != before:
        pinning.keep(settings.state_dir, server, after)
    return pinned.states(after, catalogue)


def hide(
    server: ServerArgument,
    globs: Annotated[
        list[str] | None, typer.Argument(metavar="GLOB", help="Entries to remove; everything without one.")
    ] = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Stop exposing some of SERVER, or all of it."""
    with problems(json):
        from penstock_agent.config import Options, load
        from penstock_agent.exposing import edit
        from penstock_agent.exposing import entries as exposing

        settings = load(Options(config, state_dir))
        current = settings.server(server).expose
        left = exposing.remove(current, globs, server) if globs else []
        _tell(edit.set_expose(settings, server, left), server, json, {})


def offered(server: str, settings: Settings) -> Catalogue:
    """What a server offers: starts it once, or connects to it. Raises CatalogueError."""
    import msgspec

    from penstock import log
    from penstock_agent import asuser, state
    from penstock_agent.catalogue.offer import Catalogue
    from penstock_agent.exposing import reading

    # What a server writes on its standard error is for the agent's log, not for this terminal.
    log.setup("penstock-agent", level="error", json=False)
    folder = settings.state_dir
    state.prepare(folder)
    if sys.stdout.isatty():
        doing = "starting" if settings.server(server).url is None else "connecting to"
        say_error(f"{doing} {server} once to ask what it offers ...")

    def read() -> bytes:
        return msgspec.msgpack.encode(
            asyncio.run(reading.read(server, settings.server(server), folder, settings.private))
        )

    return msgspec.msgpack.decode(asuser.call(read, folder), type=Catalogue)


def _choose(server: str) -> tuple[list[str], bool, bool]:
    """Which form the person at the terminal wants."""
    forms = (
        f"penstock-agent expose {server} --read-only     the tools that say they only read\n"
        f"penstock-agent expose {server} --all           everything, today's and tomorrow's\n"
        f"penstock-agent expose {server} 'GLOB' ...      these tools; prompt:GLOB, resource:GLOB for others"
    )
    if not _on_terminal():
        raise usage(f"Nothing was changed. Say what to expose:\n{forms}")
    say()
    answer = input("Expose what? [r]ead-only tools, [a]ll, names or globs, or nothing: ").split()
    match answer:
        case []:
            say("Nothing was changed.")
            raise typer.Exit(Exit.DONE)
        case ["r"]:
            return [], True, False
        case ["a"]:
            return [], False, True
        case _:
            return answer, False, False


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _write(
    settings: Settings,
    server: str,
    catalogue: Catalogue,
    globs: list[str],
    read_only: bool,
    everything: bool,
    force: bool,
) -> Settings:
    from penstock_agent.exposing import edit
    from penstock_agent.exposing import entries as exposing

    current = settings.server(server).expose
    if read_only:
        entries = exposing.read_only(current, catalogue)
    elif everything:
        entries = exposing.everything(current, catalogue)
    else:
        entries = exposing.add(current, globs, catalogue, force=force)
    return edit.set_expose(settings, server, entries)


def show(
    catalogue: Catalogue,
    entries: tuple[str, ...],
    states: Mapping[str, str] | None = None,
    ours: Collection[str] = (),
) -> None:
    """For a person. ``states``: what is withheld, by the keys of pins. ``ours``: tools of which the site says
    something in the place of the server.
    """
    from penstock_agent.catalogue.offer import Effect
    from penstock_agent.exposing import entries as exposing
    from penstock_agent.gate import pins
    from penstock_agent.gate.expose import Item as Kind

    titles = {Kind.TOOL: "tools", Kind.PROMPT: "prompts", Kind.RESOURCE: "resources"}
    visible = exposing.shown(entries, catalogue.items)
    counts = ", ".join(f"{len(catalogue.of(kind))} {title}" for kind, title in titles.items())
    waiting = states or {}
    held = [item for item in catalogue.items if (item.kind, item.name) in visible]
    count = sum(_state(waiting, item) is not None for item in held)
    withheld = f", of these withheld (!): {count}" if count else ""
    say(f"{catalogue.server} offers {counts}. Exposed (+): {len(visible)}{withheld}.")
    groups = [(f"tools, {e.value}", [i for i in catalogue.of(Kind.TOOL) if i.effect is e]) for e in Effect]
    groups += [(titles[kind], catalogue.of(kind)) for kind in (Kind.PROMPT, Kind.RESOURCE)]
    for title, items in groups:
        if items:
            say(f"  {title}:")
        for item in items:
            state = _state(waiting, item)
            mark = " " if (item.kind, item.name) not in visible else "+" if state is None else "!"
            first_line = printable(item.description.strip().partition("\n")[0], 60)
            notes = [] if state is None else [state]
            notes += ["in the site's words"] if item.kind is Kind.TOOL and item.name in ours else []
            note = f" ({', '.join(notes)})" if notes else ""
            say(f"    {mark} {printable(item.name, 100)}{note}" + (f"   {first_line}" if first_line else ""))
    if pins.INSTRUCTIONS in waiting:
        say("  instructions: changed; callers read those that were approved.")
    if count or pins.INSTRUCTIONS in waiting:
        say(f"To see what has changed, and approve it: penstock-agent tools review {catalogue.server}")


def _state(waiting: Mapping[str, str], item: Offer) -> str | None:
    """Why an item is withheld."""
    from penstock_agent.gate import pins

    return waiting.get(pins.key(item.kind, item.name)) if item.definition else None


def offers(
    catalogue: Catalogue,
    entries: tuple[str, ...],
    states: Mapping[str, str] | None = None,
    ours: Collection[str] = (),
) -> list[dict[str, object]]:
    """For a program; arguments as for ``show``."""
    from penstock_agent.exposing import entries as exposing

    visible = exposing.shown(entries, catalogue.items)
    return [
        {
            "kind": item.kind.value,
            "name": item.name,
            "effect": item.effect.value if item.effect else None,
            "exposed": (item.kind, item.name) in visible,
            "withheld": _state(states or {}, item),
            "ours": item.effect is not None and item.name in ours,
        }
        for item in catalogue.items
    ]


def _tell(settings: Settings, server: str, json: bool, more: dict[str, object]) -> None:
    """Have the running agent read the new list, and say where the server can be reached."""
    from penstock_agent import control

    entries = settings.server(server).expose
    path = control.socket_to_ask(settings)
    running: control.Status | None = None
    why = ""
    try:
        asyncio.run(control.ask(path, "reload"))
        running = asyncio.run(control.status(path))
    except control.NotRunning as e:
        why = str(e)
    url = connector_url(running, server) if entries and running is not None and running.public_url else None
    together = (
        site_url(running)
        if url is not None and running is not None and server in running.whole_site
        else None
    )
    if json:
        emit(
            {
                "server": server,
                "expose": list(entries),
                "reloaded": running is not None,
                "url": url,
                "site_url": together,
                **more,
            }
        )
        return
    say(f"{server} exposes: {', '.join(entries)}" if entries else f"{server} exposes nothing.")
    say(
        "The running agent has read it."
        if running is not None
        else f"Written to {settings.config_file}. {why}"
    )
    if url is not None:
        say(f"Connector URL, to paste into the assistant: {url}")
        if together is not None:
            say(f"All servers of the site in one connector: {together}")
    elif entries:
        say("The connector URL is shown by penstock-agent status once the agent runs and has had a link.")
