"""The commands' end of the control socket: one function for each verb."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from penstock_agent.control.answers import (
    Approval,
    Approvals,
    Calls,
    Link,
    Pause,
    Renewal,
    Status,
    Tainted,
    TaintedPerson,
)
from penstock_agent.control.wire import (
    TOKEN_NAME,
    Answer,
    Args,
    ControlError,
    NotRunning,
    Request,
    close,
    connect,
)
from penstock_agent.exposing.reviewing import Review
from penstock_agent.problem import Exit

#: A server is started to be asked what it offers; a first start may download it (seconds).
REVIEW_S = 130.0


async def ask(path: Path, verb: str, /, *, timeout: float = 30.0, **args: object) -> Args:
    """Ask the agent behind the socket ``path`` to carry out one verb; wait at most ``timeout`` seconds.

    Raises :exc:`NotRunning`, or :exc:`ControlError` with the agent's words.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await connect(path)
            try:
                writer.write(msgspec.json.encode(Request(verb, dict(args), _token(path))) + b"\n")
                line = await reader.readuntil(b"\n")
            finally:
                await close(writer)
        answer = msgspec.json.decode(line, type=Answer)
    except TimeoutError:
        raise ControlError(
            f"The agent did not answer within {timeout:g} s. Its log says what it is doing."
        ) from None
    except (OSError, asyncio.IncompleteReadError):
        raise NotRunning(f"The agent on {path} went away before it answered.") from None
    except (asyncio.LimitOverrunError, msgspec.DecodeError):
        raise ControlError(f"What listens on {path} does not answer like an agent of this version.") from None
    if answer.error is not None:
        raise ControlError(
            answer.error.text, Exit(answer.error.status) if answer.error.status in _STATUSES else None
        )
    return answer.ok or {}


_STATUSES = frozenset(status.value for status in Exit)


def _token(path: Path) -> str:
    """Empty where there is none to be read: the agent then says who may ask."""
    try:
        return path.with_name(TOKEN_NAME).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


async def status(path: Path) -> Status:
    """What the running agent says of itself. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "status"), Status, path)


async def link(path: Path, wait_s: float) -> Link:
    """Wait up to ``wait_s`` seconds for the agent's link. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "link", timeout=wait_s + 5, wait_s=wait_s), Link, path)


async def renew(path: Path, timeout: float) -> Renewal:
    """Have the agent renew its certificate now. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "renew", timeout=timeout), Renewal, path)


async def pause(path: Path, verb: str, kind: str, name: str) -> Pause:
    """Stop something or let it go on (``verb`` is pause or resume). Raises :exc:`ControlError`."""
    return _typed(await ask(path, verb, kind=kind, name=name), Pause, path)


async def calls(path: Path) -> Calls:
    """What runs now. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "calls"), Calls, path)


async def approvals(path: Path, id: str = "") -> Approvals:
    """What waits for approval. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "approvals", id=id), Approvals, path)


async def approve(path: Path, id: str, approved: bool) -> Approval:
    """Approve or deny one call. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "approve" if approved else "deny", id=id), Approval, path)


async def tainted(path: Path) -> Tainted:
    """For whom something sensitive was read lately. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "tainted"), Tainted, path)


async def untaint(path: Path, subject: str, issuer: str) -> TaintedPerson:
    """End that for one person; ``issuer`` may be empty. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "untaint", subject=subject, issuer=issuer), TaintedPerson, path)


async def review(path: Path, server: str) -> Review:
    """What waits for approval of a server, which is asked for it. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "review", timeout=REVIEW_S, server=server), Review, path)


async def pin(path: Path, server: str, items: Mapping[str, str], *, afresh: bool = False) -> Review:
    """Approve definitions by their digests, or all that there is ``afresh``; what waits then.

    Raises :exc:`ControlError`.
    """
    answer = await ask(path, "pin", timeout=REVIEW_S, server=server, items=dict(items), afresh=afresh)
    return _typed(answer, Review, path)


_T = TypeVar("_T")


def _typed(answer: Args, shape: type[_T], path: Path) -> _T:
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError:
        raise ControlError(f"The agent on {path} is of another version. Restart it.") from None
