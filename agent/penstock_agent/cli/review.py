"""``penstock-agent tools review`` and ``tools approve``: what servers say differently than was approved."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say, usage
from penstock_agent.cli.expose import ServerArgument, offered
from penstock_agent.problem import Exit, Problem, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock_agent.config import Settings
    from penstock_agent.exposing.reviewing import Change, Review

SHORT_DIGEST = 12
"""Characters of a digest that are shown, and that tell one definition from the next of a server."""

ServersArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SERVER…]", help="Servers of agent.toml; all without one.")
]


def review(
    servers: ServersArgument = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what has changed in definitions since they were approved, and ask about each on a terminal.

    Starts each server once, or connects to it. Exit status 1 when something exposed is left waiting.
    """
    with problems(json):
        from penstock_agent.config import Options, load

        settings = load(Options(config, state_dir))
        for name in servers or ():
            settings.server(name)
        names = servers or list(settings.servers)
        if not names:
            raise usage(f"There are no servers in {settings.config_file}.")
        found = [_found(settings, name) for name in names]
        if json:
            emit({"servers": {one.server: _as_json(one) for one in found}})
            left = any(change.exposed for one in found for change in one.changes)
        else:
            left = _go_through(settings, found)
        if left or any(one.broken or one.problem for one in found):
            raise typer.Exit(Exit.FAILED)


def approve(
    server: ServerArgument,
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ITEM…]", help="NAME of a tool, prompt:NAME, template:URI or instructions."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that waits.")] = False,
    digest: Annotated[
        str, typer.Option("--digest", metavar="HEX", help="Only as tools review showed it: how it begins.")
    ] = "",
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Approve definitions of SERVER as they are now: callers see and may use them again."""
    with problems(json):
        from penstock_agent.config import Options, load
        from penstock_agent.exposing.reviewing import chosen

        settings = load(Options(config, state_dir))
        settings.server(server)
        if bool(items) is everything:
            raise usage("Name what to approve, or give --all. What waits: penstock-agent tools review")
        if digest and (len(items or ()) != 1 or len(digest) < SHORT_DIGEST):
            raise usage(f"--digest goes with one item, and has {SHORT_DIGEST} characters at least.")
        found = _found(settings, server)
        if found.problem:
            raise Problem(f"{found.problem} Nothing was approved.")
        if found.broken:
            if not everything:
                raise Problem(
                    f"{found.broken} Nothing was approved. To approve all that the server offers now: "
                    f"penstock-agent tools approve {server} --all"
                )
            left = _afresh(settings, server)
            done = ["everything"]
        else:
            wanted = chosen(found, items or [])
            if digest and not all(one.startswith(digest.lower()) for one in wanted.values()):
                raise Problem(
                    f"What waits of {server} is not what has this digest; nothing was approved. Look again: "
                    f"penstock-agent tools review {server}"
                )
            left = _approve(settings, server, wanted) if wanted else found
            done = list(wanted)
        if json:
            emit({"server": server, "approved": done, "waiting": [one.key for one in left.changes]})
            return
        say(f"Approved of {server}: {', '.join(printable(one, 100) for one in done)}." if done else
            f"Nothing of {server} waits for approval.")  # fmt: skip
        if left.changes:
            say(f"Still waiting: {', '.join(printable(one.key, 100) for one in left.changes)}.")


def _go_through(settings: Settings, found: list[Review]) -> bool:
    """For a person. Whether something exposed is left."""
    asks = _on_terminal()
    left = stopped = False
    for one in found:
        _head(one)
        for change in one.changes:
            if stopped:
                left |= change.exposed
                continue
            answer = _ask() if _show(one.server, change) and asks else "l"
            if answer == "a":
                _approve(settings, one.server, {change.key: change.digest})
                say(f"    approved: {printable(change.key, 100)}")
            else:
                left |= change.exposed
                stopped = answer == "s"
        if one.more:
            say(f"  {one.more} more, which are shown once these are decided.")
            left = True
    if not asks and any(one.changes for one in found):
        name = next(one.server for one in found if one.changes)
        say()
        say("Nothing was changed. On a terminal this command asks about each; without one:")
        say(f"  penstock-agent tools approve {name} ITEM ...   or --all, or ITEM --digest DIGEST")
    return left


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _head(found: Review) -> None:
    from penstock_agent.ledger.moments import utc

    if found.broken:
        say(f"{found.server}: {found.broken} Nothing of it is used. To approve all that it offers now:")
        say(f"  penstock-agent tools approve {found.server} --all")
        return
    if found.problem:
        say(f"{found.server}: {found.problem} What follows is what was seen before.")
    if found.version:
        who = "taken as first found" if found.by_uid < 0 else f"by uid {found.by_uid}"
        waiting = f"{len(found.changes)} definitions wait" if found.changes else "nothing waits"
        say(f"{found.server}: approved {utc(found.approved_at)} ({who}), version {found.version}; {waiting}.")


def _show(server: str, change: Change) -> bool:
    """Whether all of it was shown."""
    from penstock_agent.exposing.differences import UNSEEN, differences
    from penstock_agent.ledger.moments import utc

    state = "withheld" if change.exposed else "not exposed"
    say()
    say(f"  {printable(change.key, 200)}: {change.why}, {state}, seen since {utc(change.since)}")
    found = differences(change.before, change.after)
    for each in found:
        lines = each.text.splitlines() or [""]
        say(f"    {each.head + ': ' if each.head else ''}{lines[0]}")
        for line in lines[1:]:
            say(f"      {line}")
    for text in change.findings:
        say(f"    ! {printable(text, 500)}")
    say(f"    digest: {change.digest[:SHORT_DIGEST]}")
    whole = all(each.whole for each in found)
    if not whole:
        say(f"    {UNSEEN}To see the definition: penstock-agent tools review {server} --json")
        short = change.digest[:SHORT_DIGEST]
        say(f"    To approve it then: penstock-agent tools approve {server} ITEM --digest {short}")
    return whole


def _ask() -> str:
    while True:
        try:
            answer = input("    [a]pprove, [l]eave it withheld, [s]top? ").strip().lower()[:1]
        except EOFError:
            return "s"
        if answer in ("a", "l", "s"):
            return answer


def _as_json(found: Review) -> dict[str, object]:
    import msgspec

    from penstock_agent.exposing.differences import differences

    changes = [
        {
            **msgspec.to_builtins(change),
            "differences": msgspec.to_builtins(differences(change.before, change.after)),
        }
        for change in found.changes
    ]
    return {**msgspec.to_builtins(found), "changes": changes}


def _found(settings: Settings, server: str) -> Review:
    """What waits: of the running agent, or with the server started for it."""
    from penstock_agent import control

    try:
        return asyncio.run(control.review(control.socket_to_ask(settings), server))
    except control.NotRunning:
        return _direct(settings, server)


def _direct(settings: Settings, server: str) -> Review:
    """Without a running agent. Pins what a server offers that has no pins yet."""
    from penstock_agent import pinning
    from penstock_agent.catalogue.offer import CatalogueError
    from penstock_agent.exposing.reviewing import Review, review
    from penstock_agent.gate import pins
    from penstock_agent.gate.expose import Expose
    from penstock_agent.gate.pins import Broken, Pinned

    kept = pinning.load_all(settings.state_dir, settings.servers)
    before = kept[server]
    if isinstance(before, Broken):
        return Review(server, broken=before.why)
    problem = ""
    try:
        catalogue = offered(server, settings)
    except CatalogueError as error:
        if before is None:
            raise
        after, problem = before, str(error)
    else:
        found, now = catalogue.definitions, time.time()
        if before is None:
            after = pins.first(found, catalogue.instructions, now, os.getuid())
        else:
            after = pins.compared(before, found, catalogue.instructions, now)
    if after != before:
        pinning.keep(settings.state_dir, server, after)
    good = {name: one for name, one in kept.items() if isinstance(one, Pinned)} | {server: after}
    exposed = {name: Expose.parse(one.expose) for name, one in settings.servers.items()}
    overrides = pinning.overrides(settings.servers)
    result = review(server, good, lambda name, item, text: exposed[name].shows(item, text), overrides)
    if problem:
        import msgspec

        return msgspec.structs.replace(result, problem=problem)
    return result


def _approve(settings: Settings, server: str, wanted: Mapping[str, str]) -> Review:
    """What is left then."""
    from penstock_agent import control, pinning
    from penstock_agent.gate import pins
    from penstock_agent.gate.pins import Pinned

    path = control.socket_to_ask(settings)
    try:
        return asyncio.run(control.pin(path, server, wanted))
    except control.NotRunning:
        before = pinning.load(settings.state_dir, server)
        try:
            if not isinstance(before, Pinned):
                raise pins.Outdated(server)
            after = pins.approve(before, wanted, time.time(), os.getuid())
            pinning.keep(settings.state_dir, server, after)
        except pins.Outdated:
            raise Problem(
                f"What waits of {server} has changed meanwhile; nothing was approved. Look again: "
                f"penstock-agent tools review {server}"
            ) from None
        return _left(settings, server)


def _left(settings: Settings, server: str) -> Review:
    from penstock_agent import pinning
    from penstock_agent.exposing.reviewing import Review, review
    from penstock_agent.gate.pins import Pinned

    kept = pinning.load(settings.state_dir, server)
    if not isinstance(kept, Pinned):
        return Review(server)
    return review(server, {server: kept}, lambda *_: True, {})


def _afresh(settings: Settings, server: str) -> Review:
    from penstock_agent import control, pinning
    from penstock_agent.gate import pins

    try:
        return asyncio.run(control.pin(control.socket_to_ask(settings), server, {}, afresh=True))
    except control.NotRunning:
        catalogue = offered(server, settings)
        pinned = pins.first(catalogue.definitions, catalogue.instructions, time.time(), os.getuid())
        pinning.keep(settings.state_dir, server, pinned)
        return _left(settings, server)
