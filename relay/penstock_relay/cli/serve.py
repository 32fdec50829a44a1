"""``penstock-relay serve``."""

import asyncio
from collections.abc import Callable

import typer

from penstock_relay.cli.common import ConfigOption, guarded, settings_of


@guarded
def serve(ctx: typer.Context, config: ConfigOption = None) -> None:
    """Run the relay until it is told to stop; JSON logs on stderr."""
    settings = settings_of(ctx, config)
    settings.check()

    from penstock import heap
    from penstock_relay import daemon

    heap.settle()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(daemon.serve(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        from uvloop import new_event_loop
    except ImportError:  # not on every platform, and Penstock runs on asyncio's own loop too
        return None
    return new_event_loop
