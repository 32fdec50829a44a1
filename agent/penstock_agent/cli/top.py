"""``penstock-agent top``: what happens here, on one screen, again each second."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    to_find_the_agent,
)
from penstock_agent.problem import Exit

if TYPE_CHECKING:
    from penstock_agent.console.facts import Facts, Source

EVERY_S = 1.0
ENDS = frozenset({"q", "Q", "\x03", "\x04"})
"""Keys that end it; the others do nothing."""


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what happens now: link, ledger, servers, calls, approvals, and what was decided. q ends it.

    Without a terminal, and with --json, it is shown once. Exit status 1 when the agent does not answer then.
    """
    with problems(json):
        from penstock_agent.console.facts import Source

        source = Source(to_find_the_agent(config, state_dir)[0])
        if json or once or not (sys.stdout.isatty() and sys.stdin.isatty()):
            facts = asyncio.run(source.look())
            _show(facts, json)
            raise typer.Exit(Exit.FAILED if facts.problem else Exit.DONE)
        asyncio.run(_watch(source))


def _show(facts: Facts, json: bool) -> None:
    if json:
        import msgspec

        emit(msgspec.to_builtins(facts))
        return
    from rich.console import Console

    from penstock_agent.console.screen import screen

    # Where it goes to a file there is no width: then as wide as it takes.
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(screen(facts))


async def _watch(source: Source) -> None:
    from rich.console import Console
    from rich.live import Live

    from penstock_agent.console.screen import screen

    over = asyncio.Event()
    console = Console(highlight=False)
    with _keys(over), Live(console=console, screen=True, auto_refresh=False) as live:
        while not over.is_set():
            live.update(screen(await source.look(), console.height), refresh=True)
            try:
                async with asyncio.timeout(EVERY_S):
                    await over.wait()
            except TimeoutError:
                continue


@contextmanager
def _keys(over: asyncio.Event) -> Iterator[None]:
    """A key is read as soon as it is pressed, and is not shown. At the end the terminal is as it was."""
    import os
    import signal
    import termios
    import tty

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        keys = os.read(stdin, 64).decode("ascii", "replace")
        if not keys or ENDS.intersection(keys):
            over.set()

    tty.setcbreak(stdin)
    loop.add_reader(stdin, pressed)
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
        loop.remove_reader(stdin)
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
