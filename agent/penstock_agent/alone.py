"""Tasks whose trouble is not that of the others: one that fails must not end the group that owns it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine

from penstock.log import get

_log = get(__name__)


def start(group: asyncio.TaskGroup, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """A task of the group. What it raises is logged, whatever a server or a caller made it stumble over."""
    task = group.create_task(_alone(work))
    task.add_done_callback(lambda _: work.close())  # where it was cancelled before it began
    return task


async def _alone(work: Coroutine[object, object, None]) -> None:
    try:
        await work
    except Exception as e:  # its text may hold what somebody sent
        last = traceback.extract_tb(e.__traceback__)[-1]
        _log.error("task_failed", error=type(e).__name__, function=last.name, line=last.lineno)
