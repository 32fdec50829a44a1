"""``penstock-agent console``: pages for the site's administrator, on this machine only and while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
)
from penstock_agent.problem import Problem

if TYPE_CHECKING:
    from penstock_agent.console.app import Console
    from penstock_agent.console.facts import Source

INSTALL = "pip install 'penstock[console]'"


def console(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the link.")] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Open the site's console in a browser on this machine, with a link that works once.

    It ends with Ctrl-C, or when nobody has used it for half an hour. --json prints the link as JSON.
    """
    with problems(json):
        from importlib.util import find_spec

        if find_spec("aiohttp") is None or find_spec("jinja2") is None:
            raise Problem(f"The console needs packages that are not installed. Install them: {INSTALL}")
        from penstock_agent.console.facts import Source

        settings, mistake = to_find_the_agent(config, state_dir)
        source = Source(settings, mistake=mistake)
        asyncio.run(_serve(source, port, json, not (no_open or json)))


async def _serve(source: Source, port: int, json: bool, opens: bool) -> None:
    from penstock_agent import control
    from penstock_agent.console.access import IDLE_S, Door
    from penstock_agent.console.app import Console
    from penstock_agent.console.views import Views

    await control.status(source.path)  # whom the agent does not answer gets no console either
    served = Console(Views(source), Door())
    async with served.listening(port):
        with ExitStack() as kept:
            asked = kept.enter_context(_signals())
            link = served.link()
            if json:
                emit({"url": link})
            else:
                screen = opens and _has_screen()
                _tell(link, served.port, screen)
                if screen:
                    kept.enter_context(_browser(link))
                kept.enter_context(_enter_for_another(served))
            sys.stdout.flush()
            unused = await _until_over(served, asked)
    if not json:
        why = f": nobody has used it for {IDLE_S / 60:.0f} minutes" if unused else ""
        say(f"The console has ended{why}.")


def _tell(link: str, port: int, screen: bool) -> None:
    say("The console of this site. This link works once, within two minutes:")
    say()
    say(f"  {link}")
    say()
    if screen:
        say("A browser was asked to open it.")
    else:
        # sudo forgets that somebody came by SSH, so everybody is told.
        say(f"From another machine, there first: ssh -N -L {port}:127.0.0.1:{port} THIS_MACHINE")
    another = " Enter prints a new link, which ends the browser that is in." if _in_foreground() else ""
    say(f"Ctrl-C ends it.{another}")


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """Set when somebody wants it to end."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, asked.set)
    try:
        yield asked
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _until_over(served: Console, asked: asyncio.Event) -> bool:
    """Whether it is over because nobody uses it."""
    async with asyncio.TaskGroup() as tasks:
        told, over = tasks.create_task(asked.wait()), tasks.create_task(served.over())
        await asyncio.wait((told, over), return_when=asyncio.FIRST_COMPLETED)
        unused = over.done() and over.result()
        told.cancel()
        over.cancel()
    return unused


def _in_foreground() -> bool:
    """Whether lines of the terminal are for us. Else who reads one is stopped by the terminal."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


@contextmanager
def _enter_for_another(served: Console) -> Iterator[None]:
    """A line on the terminal asks for another link."""
    if not _in_foreground():
        yield
        return
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def typed() -> None:
        if not _in_foreground() or not os.read(stdin, 1024):
            loop.remove_reader(stdin)
            return
        say(f"  {served.link()}")

    loop.add_reader(stdin, typed)
    try:
        yield
    finally:
        loop.remove_reader(stdin)


def _has_screen() -> bool:
    """Whether a browser can be asked: never as root."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return os.geteuid() != 0 and bool(screen) and sys.stdout.isatty()


@contextmanager
def _browser(link: str) -> Iterator[None]:
    """Opens a browser, and not with the link as an argument, which every user of the machine could read."""
    import tempfile
    import threading
    import webbrowser
    from html import escape

    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        page = os.path.join(folder, "console.html")
        target = escape(link)
        with open(
            page, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)
        ) as file:
            file.write(
                '<!doctype html><html lang="en"><meta charset="utf-8"><title>Console</title>'
                f'<meta http-equiv="refresh" content="0; url={target}"><a href="{target}">Console</a></html>'
            )

        def ask() -> None:
            with suppress(webbrowser.Error):
                webbrowser.open(f"file://{page}")

        # Some browsers return only when they are closed, and want an answer before that.
        threading.Thread(target=ask, daemon=True).start()
        yield
