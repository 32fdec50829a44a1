"""``penstock-agent renew``: a new certificate now, without waiting for its time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say

if TYPE_CHECKING:
    from penstock_agent.config import Settings


def renew(config: ConfigOption = None, state_dir: StateDirOption = None, json: JsonOption = False) -> None:
    """Renew the certificate now: through the running agent, or directly where none runs.

    The agent does this by itself; this shows whether it can. Calls go on. Exit status 3 when the relay's CA
    has revoked this agent.
    """
    with problems(json):
        from penstock_agent.config import Options, load

        settings = load(Options(config, state_dir))
        expires, generation, running = asyncio.run(_renew(settings))
        if json:
            from datetime import UTC, datetime

            emit(
                {
                    "certificate_expires": datetime.fromtimestamp(expires, UTC).isoformat(),
                    "generation": generation,
                    "running": running,
                }
            )
            return
        from penstock_agent.ledger.moments import utc

        how = "The running agent uses it from now on." if running else "No agent runs here."
        say(f"The certificate is renewed, good until {utc(expires)} (number {generation}). {how}")


async def _renew(settings: Settings) -> tuple[float, int, bool]:
    """When the new one ends, its number, and whether a running agent did it."""
    from penstock_agent import control, state
    from penstock_agent.renewal import renew as renewal

    joined = state.load(settings.state_dir)
    try:
        done = await control.renew(control.socket_to_ask(settings), renewal.TIMEOUT_S + 10)
    except control.NotRunning:
        proxy = settings.proxy_for(joined.relay_url)
        renewed = await renewal.renew(settings.state_dir, proxy, settings.ca_file)
        return renewed.joined.expires.timestamp(), renewed.generation, False
    return done.certificate_expires, done.generation, True
