"""Answers for assistants that ask with little patience while a process starts: those that it gave before.

Only questions without effects, and only where this caller had an answer to the same one (``memory``). The
process is started all the same, and is greeted before anything else reaches it. What the gate lets out is
decided anew.
"""

from __future__ import annotations

import asyncio
from typing import Final

from penstock.envelope import Kind, Message, dump, replaced
from penstock.log import get
from penstock_agent.endpoint import outbound, versions
from penstock_agent.endpoint.answers import SESSION_ID, fail, reply
from penstock_agent.endpoint.lifeline import Lifeline, NotRunning
from penstock_agent.endpoint.modern import messages
from penstock_agent.endpoint.modern.process import DISCOVER, Process
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.shared import Shared
from penstock_agent.exchange import Exchange, ExchangeGone

PATIENCE_S: Final = 2.0
"""How long a process may take to be ready before an earlier answer is told in its place."""

_log = get(__name__)


async def serve(session: Session, exchange: Exchange, request: Message, shared: Shared) -> bool:
    """Serve a request of a session, which the gate has allowed. False, and nothing served, when it has to be
    given to the process.

    Raises :exc:`~penstock_agent.exchange.ExchangeGone`.
    """
    begins = request.method == "initialize"
    try:
        body = await (begin if begins else answer)(session, request, shared)
    except NotRunning as e:
        await fail(exchange, request, e.failure)
        return True
    if body is None:
        return False
    try:
        await reply(exchange, 200, body, ((SESSION_ID, session.id),) if begins and session.version else ())
    except ExchangeGone:
        if begins:
            session.end()  # its client has not learned its id
        raise
    return True


async def begin(session: Session, hello: Message, shared: Shared) -> bytes | None:
    """Begin a session whose client has begun another before: the answer to its ``initialize``, of the
    process if that is ready in time. None, and nothing done, where it has to be given to the process.

    Raises :exc:`~penstock_agent.endpoint.lifeline.NotRunning`.
    """
    known = session.known(hello) if shared.tolerance.answer_while_starting else None
    if known is None:
        return None
    session.beginning.adopt(hello)
    try:
        if await _ready(session.lifeline) and session.greeting is not None:
            return session.greeting
    except NotRunning:
        if session.greeting is None:
            raise
        return session.greeting  # the process refuses the client
    _told(session.server, hello)
    return session.promise(hello, known)


async def answer(session: Session, request: Message, shared: Shared) -> bytes | None:
    """An earlier answer to a request of a session; None where it has to be given to the process, and when
    that is ready in time.

    Raises :exc:`~penstock_agent.endpoint.lifeline.NotRunning`.
    """
    if not shared.tolerance.answer_while_starting or session.lifeline.current is not None:
        return None
    known = session.known(request)
    if known is None or await _ready(session.lifeline):
        return None
    told = session.retold(request, known)
    if told is not None:
        _told(session.server, request)
    return told


async def serve_modern(process: Process, exchange: Exchange, request: Message, shared: Shared) -> bool:
    """The same for a request of 2026-07-28. The answer says of itself that it is old: ``ttlMs`` is 0."""
    if not shared.tolerance.answer_while_starting or process.lifeline.current is not None:
        return False
    caller = exchange.principal
    known = process.witness.known(process.lifeline.spec, caller.identity, request)
    if known is None:
        return False
    try:
        if await _ready(process.lifeline):
            return False
    except NotRunning as e:
        await fail(exchange, request, e.failure)
        return True
    told = Message(Kind.RESPONSE, request.id, None, None, replaced(known, b"0", "ttlMs"), None)
    if request.method == DISCOVER:
        told = messages.with_supported(told, versions.SERVED)
    out = outbound.let_out(shared, process.server, caller, request, told, exchange.key)
    if out is None:
        return False
    _told(process.server, request)
    await reply(exchange, messages.status_of(out), dump(out))
    return True


async def _ready(lifeline: Lifeline) -> bool:
    """Have the process started, and wait for a moment until it is ready. Raises NotRunning."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await lifeline.child()
    except TimeoutError:
        return False
    return True


def _told(server: str, request: Message) -> None:
    _log.info("answered_while_starting", server=server, method=request.method)
