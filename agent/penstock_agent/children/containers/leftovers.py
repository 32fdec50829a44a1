"""What an agent leaves that was killed with all of its processes, removed when the next one starts."""

import asyncio
import os
from collections.abc import Iterable

from penstock import log
from penstock_agent.children.child import ChildSpec, ProcessSpec
from penstock_agent.children.containers import podman
from penstock_agent.children.containers.podman import PodmanError

_log = log.get("penstock_agent.children")


async def remove(specs: Iterable[ChildSpec]) -> None:
    """Without servers in containers, nothing is asked. Never raises: a server that cannot start says why."""
    owners = {each.container.agent for each in specs if isinstance(each, ProcessSpec) and each.container}
    for owner in owners:
        try:
            left = await asyncio.to_thread(podman.sweep, owner, os.environ)
        except PodmanError as error:
            _log.warning("containers_not_swept", why=str(error))
            continue
        if left:
            _log.warning("containers_removed", names=left, why="an agent was killed and left them")
