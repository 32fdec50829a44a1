"""Reads what a server offers without an agent that runs: for the commands."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from penstock_agent.catalogue.conversation import Conversation
from penstock_agent.catalogue.offer import Catalogue, CatalogueError
from penstock_agent.children.child import Child, ChildGone, ChildStartError
from penstock_agent.children.environment import BadEnvironment, prepare
from penstock_agent.children.keeper import Keeper, KeeperError
from penstock_agent.config import ServerSettings
from penstock_agent.problem import printable

#: Seconds for everything, from the start of the child: a first start may download the server.
TIMEOUT_S = 120.0


async def read(name: str, server: ServerSettings, state_dir: Path) -> Catalogue:
    """Start ``server`` once, ask for its lists, stop it. Raises :exc:`CatalogueError`."""
    try:
        spec = prepare(state_dir, name, server.command, server.env, os.environ)
        keeper = await Keeper.start()
        try:
            child = await Child.start(spec, keeper)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return Catalogue(name, await Conversation(name, child).lists())
            finally:
                await child.stop()
        finally:
            await keeper.close()
    except TimeoutError:
        raise CatalogueError(
            f"The server {name} did not say what it offers within {TIMEOUT_S:g} s."
        ) from None
    except (ChildStartError, KeeperError, BadEnvironment) as e:
        raise CatalogueError(_sentence(str(e))) from None
    except ChildGone as e:
        how = "" if e.returncode is None else f" with status {e.returncode}"
        raise CatalogueError(
            f"The server {name} ended{how} before it said what it offers. "
            "Run its command by hand to see what it reports."
        ) from None
    except OSError as e:
        raise CatalogueError(
            f"The folder of the server {name} cannot be made in {state_dir}: {e.strerror}."
        ) from None


def _sentence(text: str) -> str:
    text = printable(text, 500)
    return text if text.endswith(".") else f"{text}."
