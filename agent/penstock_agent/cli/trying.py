"""What commands that add and try servers share: the running agent, a trial, and how it is told."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from penstock_agent.cli.common import say, say_error
from penstock_agent.problem import printable

if TYPE_CHECKING:
    from penstock_agent import control
    from penstock_agent.adding.trial import Trial
    from penstock_agent.config import Settings
    from penstock_agent.server_settings import ServerSettings


def on_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def not_reviewed(settings: Settings) -> dict[str, list[str]]:
    """Servers with lines of ``import`` that nobody has accepted."""
    from penstock_agent import settings_file
    from penstock_agent.adding import tables

    text = settings_file.read_text(settings.config_file, must_exist=False) or ""
    return tables.unreviewed(text) if tables.MARK in text else {}


def ask_status(settings: Settings) -> control.Status | None:
    """What the running agent says; None where none runs."""
    from penstock_agent import control

    try:
        return asyncio.run(control.status(control.socket_to_ask(settings)))
    except control.NotRunning:
        return None


def reload_running(settings: Settings) -> bool:
    """Have the running agent read the file; whether there is one. Raises Problem when it refuses."""
    from penstock_agent import control

    try:
        asyncio.run(control.ask(control.socket_to_ask(settings), "reload"))
    except control.NotRunning:
        return False
    return True


def try_out(
    settings: Settings,
    name: str,
    server: ServerSettings,
    *,
    quiet: bool = False,
    patience_s: float | None = None,
) -> Trial:
    """Start it once, as the agent's user. ``patience_s``: in the place of the time that it gets else."""
    import msgspec

    from penstock import log
    from penstock_agent import asuser, state
    from penstock_agent.adding import trial
    from penstock_agent.adding.packages import runner

    # What a server writes on its standard error is part of what is shown.
    log.setup("penstock-agent", level="error", json=False)
    state.prepare(settings.state_dir)
    running = ask_status(settings)
    environ = trial.environment_of(running.pid if running is not None else 0)
    fetches = server.url is None and server.image is None and runner(server.command) and server.online
    patience = patience_s or (trial.FETCHING_S if fetches else trial.PATIENCE_S)
    if sys.stdout.isatty() and not quiet:
        say_error(f"{'starting' if server.url is None else 'connecting to'} {name} once ...")

    def run() -> bytes:
        found = trial.run(name, server, settings.state_dir, environ, settings.private, patience_s=patience)
        return msgspec.msgpack.encode(asyncio.run(found))

    return msgspec.msgpack.decode(asuser.call(run, settings.state_dir), type=trial.Trial)


def as_json(found: Trial) -> dict[str, object]:
    """For a program."""
    import msgspec

    built: dict[str, object] = msgspec.to_builtins(found)
    built["stderr"] = built.pop("said")
    built["next"] = built.pop("step")
    return built


def show_trial(found: Trial) -> None:
    """For a person."""
    for step in found.steps:
        say(f"  {'ok  ' if step.done else 'FAIL'}  {printable(step.text, 600)}   ({step.seconds:.2f} s)")
    if not found.works:
        if found.said:
            say("  its last words:")
        for line in found.said:
            say(f"    | {printable(line, 400)}")
        if found.cause:
            say(f"  cause: {printable(found.cause, 600)}")
            say(f"  next:  {printable(found.step, 600)}")
    say(f"{found.server} works." if found.works else f"{found.server} does not work.")


def say_next(name: str, found: Trial | None, server: ServerSettings) -> None:
    """What to do after a server was written."""
    from penstock_agent.adding.packages import runner

    if found is not None and not found.works:
        say(f"Correct it in agent.toml, then: penstock-agent servers test {name}")
    if server.url is None and server.image is None and (fetches := runner(server.command)):
        say(
            f"{fetches} fetches the package when it starts. Fix it to a version: "
            f"penstock-agent servers prepare {name}"
        )
    if found is None or found.works:
        say(f"Nothing is exposed yet. Next: penstock-agent expose {name} --read-only")
