"""``penstock-agent run``: the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import typer

from penstock_agent.cli.common import ConfigOption, StateDirOption, problems


def run(config: ConfigOption = None, state_dir: StateDirOption = None) -> None:
    """Run the agent: keep a link to the relay and serve what is exposed. JSON logs on stderr."""
    with problems():
        from penstock import heap, log
        from penstock_agent.config import Options, load
        from penstock_agent.daemon import daemon
        from penstock_agent.undumpable import undumpable

        undumpable()
        settings = load(Options(config, state_dir))
        log.setup("penstock-agent", level=settings.log_level)
        heap.settle()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            status = runner.run(daemon.run(settings))
    raise typer.Exit(status)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on this platform
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
