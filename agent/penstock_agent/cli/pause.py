"""``penstock-agent pause`` and ``resume``: the stop button."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    to_find_the_agent,
    usage,
)

if TYPE_CHECKING:
    from penstock_agent.config import Settings
    from penstock_agent.control import Pause
    from penstock_agent.problem import Problem

NameArgument = Annotated[
    str | None,
    typer.Argument(metavar="[SERVER|CALLER]", help="A server, or a caller by subject or e-mail."),
]
CallerOption = Annotated[bool, typer.Option("--caller", help="NAME is a caller, not a server.")]


def pause(
    name: NameArgument = None,
    caller: CallerOption = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Stop everything, a server, or a caller, at once and until it is resumed; a restart changes nothing.

    What runs ends and may have taken effect; nothing more of it leaves the site. Callers read that the
    administrator has stopped it. The link stays up.
    """
    _do("pause", name, caller, config, state_dir, json)


def resume(
    name: NameArgument = None,
    caller: CallerOption = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Let go on what was paused: a server, a caller, or (without a name) everything.

    What was paused by name stays so until it is resumed by name.
    """
    _do("resume", name, caller, config, state_dir, json)


def _do(
    verb: str,
    name: str | None,
    caller: bool,
    config: ConfigOption,
    state_dir: StateDirOption,
    json: bool,
) -> None:
    with problems(json):
        from penstock_agent.control.pausing import change
        from penstock_agent.gate.pause import Entry, Kind

        settings, mistake = to_find_the_agent(config, state_dir)
        if name is None and caller:
            raise usage("--caller needs the caller's name.")
        if name is None:
            kind = Kind.EVERYTHING
        else:
            servers = settings.servers if mistake is None else asyncio.run(_servers(settings, mistake))
            kind = Kind.CALLER if caller or name not in servers else Kind.SERVER
        done, running = asyncio.run(change(settings, verb, kind, name or "", mistake))
        if json:
            import msgspec

            emit({**msgspec.to_builtins(done), "running": running})
            return
        what = Entry(kind, name or "").what
        command = (
            f"penstock-agent resume{' --caller' if caller else ''}{f' {shlex.quote(name)}' if name else ''}"
        )
        _say(verb, what, done, running, command)


async def _servers(settings: Settings, mistake: Problem) -> list[str]:
    """Those that the running agent knows, where its file cannot be read. Raises ``mistake`` without one."""
    from penstock_agent import control

    try:
        return [each.name for each in (await control.status(control.socket_to_ask(settings))).servers]
    except control.NotRunning:
        raise mistake from None


def _say(verb: str, what: str, done: Pause, running: bool, again_by: str) -> None:
    subject = what[0].upper() + what[1:]
    if verb == "pause":
        again = "" if done.changed else " already"
        ended = f" {done.ended} sessions and requests were ended." if done.ended else ""
        say(f"{subject} is paused{again}.{ended} To let it go on: {again_by}")
    else:
        say(f"{subject} goes on." if done.changed else f"{subject} was not paused.")
        if done.entries:
            say(f"Still paused: {', '.join(entry.what for entry in done.entries)}.")
    if not running:
        from penstock_agent.control.pausing import NEXT_TIME

        say(NEXT_TIME)
