"""Reads what a server offers without an agent that runs: for the commands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from pathlib import Path
from typing import Protocol, runtime_checkable

from penstock_agent import pinning
from penstock_agent.catalogue.conversation import Conversation
from penstock_agent.catalogue.offer import Catalogue, CatalogueError
from penstock_agent.children.child import ChildGone, ChildStartError
from penstock_agent.children.confinement.plan import CannotConfine, likely
from penstock_agent.children.environment import BadEnvironment
from penstock_agent.children.pool import Children
from penstock_agent.endpoint.ports import Child
from penstock_agent.problem import printable
from penstock_agent.remote.remotes import Remotes
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import Servers, spec

#: Seconds for everything, from the start of the child: a first start may download the server.
TIMEOUT_S = 120.0


@runtime_checkable
class _Remote(Protocol):
    """What a conversation with a server of the network knows, and a process does not."""

    problem: str


async def read(
    name: str, server: ServerSettings, state_dir: Path, private: Collection[Path] = ()
) -> Catalogue:
    """Start ``server`` once, ask for its lists, stop it. Raises :exc:`CatalogueError`.

    ``private``: what it may not see, as for ``servers.spec``.
    """
    try:
        what = spec(state_dir, name, server, os.environ, private)
        async with Children(1) as children, Remotes(1) as remotes:
            child = await Servers(children, remotes).start(what)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    overrides = pinning.overrides({name: server}).get(name)
                    conversation = Conversation(name, child, overrides)
                    return Catalogue(name, await conversation.lists(), conversation.instructions)
            except CatalogueError as e:
                raise CatalogueError(_explained(str(e), child)) from None
            finally:
                await child.stop()
    except TimeoutError:
        raise CatalogueError(
            f"The server {name} did not say what it offers within {TIMEOUT_S:g} s."
        ) from None
    except (ChildStartError, BadEnvironment, CannotConfine) as e:
        raise CatalogueError(_sentence(str(e))) from None
    except ChildGone as e:
        if server.url is not None:
            raise CatalogueError(_sentence(f"{e} before it said what it offers")) from None
        how = "" if e.returncode is None else f" with status {e.returncode}"
        cause = likely(server.online, server.command) if server.image is None else ""
        if server.image is not None:
            cause = f"See: penstock-agent servers test {name}"
        raise CatalogueError(
            f"The server {name} ended{how} before it said what it offers. "
            f"{cause or 'Run its command by hand to see what it reports.'}"
        ) from None
    except OSError as e:
        raise CatalogueError(
            f"The folder of the server {name} cannot be made in {state_dir}: {e.strerror}."
        ) from None


def _explained(text: str, child: Child) -> str:
    """With what a server of the network has not said itself."""
    return f"{text} {printable(child.problem, 500)}" if isinstance(child, _Remote) and child.problem else text


def _sentence(text: str) -> str:
    text = printable(text, 500)
    return text if text.endswith(".") else f"{text}."
