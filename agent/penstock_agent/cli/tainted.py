"""``penstock-agent policy tainted`` and ``untaint``: for whom something sensitive was read, and its end."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from penstock.lookalike import visible
from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    to_find_the_agent,
)


def tainted(config: ConfigOption = None, state_dir: StateDirOption = None, json: JsonOption = False) -> None:
    """Show for whom something sensitive was read lately, from which server, and until when that counts."""
    with problems(json):
        from penstock_agent import control
        from penstock_agent.ledger.moments import utc

        found = asyncio.run(control.tainted(control.socket_to_ask(to_find_the_agent(config, state_dir)[0])))
        if json:
            import msgspec

            emit(msgspec.to_builtins(found))
            return
        for one in found.people:
            say(f"{visible(one.subject)}  until {utc(one.until)}: read from {visible(one.server)}")
            say(f"  of {visible(one.issuer)}, with {visible(one.client) or 'an unknown client'}")
        if found.more:
            say(f"And {found.more} more, for whom it ends sooner.")
        if not found.people:
            say("Nothing sensitive was read lately.")


def untaint(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="By subject, as policy tainted shows it.")],
    issuer: Annotated[str, typer.Option("--issuer", metavar="URL", help="Who says who they are.")] = "",
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Let PERSON use tools again that write or reach beyond the site, though something sensitive was read.

    At once, and until something sensitive is read for them again.
    """
    with problems(json):
        from penstock_agent import control

        path = control.socket_to_ask(to_find_the_agent(config, state_dir)[0])
        done = asyncio.run(control.untaint(path, person, issuer))
        if json:
            import msgspec

            emit(msgspec.to_builtins(done))
            return
        say(f"{visible(done.subject)} may use again what writes or reaches beyond the site.")
