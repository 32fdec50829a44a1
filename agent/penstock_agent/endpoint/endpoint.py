"""The MCP endpoint of the agent: Streamable HTTP of the handshake era (2025-06-18, 2025-11-25).

An exchange comes in, is judged as HTTP, as JSON-RPC and by the gate, in that order, and ends up with its
session.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from penstock.allowance import Later
from penstock.envelope import EnvelopeError, Kind, Message, parse_caller
from penstock.http import Headers, check
from penstock.log import get
from penstock.names import AgentId
from penstock.outcome import rpc_error
from penstock_agent.callers.trust import Anyone, NotProven
from penstock_agent.catalogue.catalogues import Catalogues
from penstock_agent.catalogue.offer import CatalogueError
from penstock_agent.children.child import ChildSpec
from penstock_agent.endpoint import calls, failures, offers, versions
from penstock_agent.endpoint.answers import SESSION_ID, VERSION, empty, refuse, reply
from penstock_agent.endpoint.held import Held
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.ports import Callers, Children, Stopping
from penstock_agent.endpoint.session import Session
from penstock_agent.endpoint.sessions import Sessions, TooManySessions
from penstock_agent.exchange import Exchange, ExchangeGone, Purpose
from penstock_agent.gate.gate import Denied, Gate

_log = get(__name__)

#: What a grant of "all read-only tools" decides by how the server marks them.
_BY_MARK: Final = frozenset({"tools/call", "tools/list"})

#: A client sends the same few forms again and again, and parsing Accept is a tenth of a small call.
_check = lru_cache(maxsize=256)(check)


def _sorted(headers: Headers) -> tuple[Headers, list[str], list[str]]:
    """What says how the request is formed, every version, and every session id."""
    shape, versions, ids = [], [], []
    for pair in headers:
        if pair[0] == SESSION_ID:
            ids.append(pair[1])
        elif pair[0] == VERSION:
            versions.append(pair[1])
        elif not pair[0].startswith("mcp-"):
            shape.append(pair)
    return tuple(shape), versions, ids


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What the sessions of one server do now."""

    sessions: int
    calls: int
    events: Mapping[str, int]
    """What went wrong without anybody being told, by name, over the sessions that are open."""


@dataclass(frozen=True, slots=True)
class Status:
    """For ``penstock-agent status``."""

    sessions: int
    held_bytes: int
    """Bytes that children have written and that callers have not taken yet."""
    servers: Mapping[str, ServerStatus]


class Endpoint:
    """``run`` is started once, in a task of its own; ``serve`` once per exchange."""

    def __init__(
        self,
        agent: AgentId,
        servers: Mapping[str, ChildSpec],
        gate: Gate,
        children: Children,
        *,
        call_timeout: float = 120.0,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        callers: Callers | None = None,
    ) -> None:
        """``call_timeout``: seconds after which a call is given up, when its caller does not give up
        sooner. ``callers``: None when the relay's word about them is enough.
        """
        self._callers: Callers = callers or Anyone()
        self._servers = dict(servers)
        self._gate = gate
        self._children = children
        self._call_timeout = call_timeout
        self._limits = limits
        self._held = Held(limits.agent_held)
        self._sessions = Sessions(agent, limits)
        self._tasks: asyncio.TaskGroup | None = None
        self._catalogues = Catalogues(servers, children, self._spawn)

    async def run(self) -> None:
        """Owns every task of the endpoint but those of ``serve``. Until cancelled; stops every child then."""
        pause = max(0.01, min(60.0, self._limits.idle_timeout / 10))
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                while True:
                    await asyncio.sleep(pause)
                    if ended := self._sessions.reap(loop.time()):
                        _log.info("idle_sessions_ended", sessions=ended)
            finally:
                self._tasks = None
                for session in self._sessions:
                    session.end()

    def reload(self, servers: Mapping[str, ChildSpec], gate: Gate, callers: Callers | None = None) -> None:
        """Use another configuration from now on, for open sessions as well."""
        self._gate = gate
        self._callers = callers or Anyone()
        changed = {name for name, spec in servers.items() if self._servers.get(name) != spec}
        for name in changed:
            self._children.forget(name)
        self._servers = dict(servers)
        self._catalogues.reload(servers)
        for session in self._sessions:
            session.gate = gate
            if session.server not in servers:
                session.end()
            elif session.server in changed:
                session.renew(servers[session.server])

    def status(self) -> Status:
        servers: dict[str, ServerStatus] = {}
        for name in self._servers:
            own = [session for session in self._sessions if session.server == name]
            events: Counter[str] = Counter()
            for session in own:
                events.update(session.counts)
            servers[name] = ServerStatus(len(own), sum(s.calls for s in own), dict(events))
        return Status(len(self._sessions), self._held.bytes, servers)

    async def serve(self, exchange: Exchange) -> None:
        """Answer one exchange. Raises nothing but CancelledError."""
        try:
            await self._serve(exchange)
        except ExchangeGone:
            return
        except Stopping:
            exchange.fail("the agent is stopping")
        except Exception as e:  # whatever it is, it must not end the other exchanges
            _log.error("exchange_failed", exchange=exchange.key, error=type(e).__name__)
            exchange.fail("the agent failed inside")

    async def _serve(self, exchange: Exchange) -> None:
        if exchange.purpose is Purpose.CONSENT:
            await self._offer(exchange)
            return
        shape, version, session_id = _sorted(exchange.headers)
        if (refusal := _check(exchange.method, shape)) is not None:
            await refuse(exchange, refusal.status, refusal.text, headers=refusal.headers)
            return
        if exchange.purpose is not Purpose.MCP:
            await refuse(
                exchange, 501, "This agent serves MCP over Streamable HTTP only: use the path .../mcp."
            )
            return
        if len(version) > 1 or len(session_id) > 1:
            await refuse(exchange, 400, "A header of MCP stands twice: send each once.")
            return
        try:
            await self._callers.admit(exchange.server, exchange.principal)
        except NotProven as e:
            await self._deny(exchange, str(e))
            return
        header = version[0] if version else None
        id = session_id[0] if session_id else None
        if exchange.method == "POST":
            await self._post(exchange, header, id)
        elif not versions.is_handshake(header):
            await reply(exchange, 400, failures.unsupported_version(None, versions.SUPPORTED, header or ""))
        elif (session := await self._session(exchange, header, id, None)) is not None:
            if exchange.method == "GET":
                await self._listen(session, exchange)
            else:
                session.end()
                await empty(exchange, 204)

    async def _offer(self, exchange: Exchange) -> None:
        """What a page of the relay shows to a user who is about to grant it."""
        server, gate, caller = exchange.server, self._gate, exchange.principal
        _log.info("asked_what_is_exposed", server=server, subject=caller.subject, client=caller.client)
        if exchange.method != "POST" or server not in self._servers:
            await refuse(exchange, 404, "There is no such server on this site.")
            return
        try:
            catalogue = await self._catalogues.get(server)
        except CatalogueError:
            # Why is in the agent's log: it may hold what the server said.
            await refuse(exchange, 503, "The server on site could not say what it offers.")
            return
        challenge = self._callers.challenge(server)
        body = offers.answer(catalogue, lambda item, name: gate.exposes(server, item, name), challenge)
        await reply(exchange, 200, body)

    async def _deny(self, exchange: Exchange, text: str) -> None:
        """To a caller whom the site does not believe, whatever was asked."""
        if exchange.method != "POST":
            await refuse(exchange, 403, text)
            return
        try:
            message = parse_caller(exchange.body)
        except EnvelopeError as e:
            await reply(exchange, 400, rpc_error(e.id, e.code, str(e)))
            return
        await self._fail(exchange, message, failures.denied(text))

    async def _post(self, exchange: Exchange, header: str | None, id: str | None) -> None:
        try:
            message = parse_caller(exchange.body)
        except EnvelopeError as e:
            await reply(exchange, 400, rpc_error(e.id, e.code, str(e)))
            return
        if not versions.is_handshake(header):
            body = failures.unsupported_version(message.id, versions.SUPPORTED, header or "")
            await reply(exchange, 400, body)
            return
        if message.kind is Kind.REQUEST and message.method == "initialize" and id is None:
            await self._initialize(exchange, message)
            return
        session = await self._session(exchange, header, id, message.id)
        if session is None:
            return
        if message.kind is Kind.REQUEST and message.method == "initialize":
            text = (
                "This session is initialized already: send initialize without Mcp-Session-Id for a new one."
            )
            await refuse(exchange, 400, text, id=message.id)
            return
        await self._in_session(session, exchange, message)

    async def _session(
        self, exchange: Exchange, header: str | None, id: str | None, request: bytes | None
    ) -> Session | None:
        """The session that the exchange names; None when it is refused, and has been."""
        if id is None:
            await refuse(
                exchange,
                400,
                "Mcp-Session-Id is missing: start with initialize, then send the id that its answer carries.",
                id=request,
            )
            return None
        session = self._sessions.find(id, exchange.server, exchange.principal)
        if session is None:
            # The same bytes for what never was, what has ended, and what belongs to somebody else.
            await refuse(
                exchange, 404, "There is no such session: start a new one with initialize.", id=request
            )
            return None
        if (objection := versions.objection(header, session.version)) is not None:
            await refuse(exchange, 400, objection, id=request)
            return None
        return session

    async def _initialize(self, exchange: Exchange, request: Message) -> None:
        spec = self._servers.get(exchange.server)
        if spec is None:
            await refuse(exchange, 404, "There is no such server on this site.", id=request.id)
            return
        if self._tasks is None:
            await self._fail(exchange, request, failures.STOPPING)
            return

        def make(id: str) -> Session:
            return Session(
                id,
                exchange.server,
                exchange.principal,
                spec,
                self._gate,
                self._children,
                self._limits,
                self._held,
                self._spawn,
                self._sessions.remove,
                self._catalogues.marked,
            )

        try:
            session = self._sessions.add(exchange.principal, make)
        except TooManySessions as e:
            await self._fail(exchange, request, e.failure)
            return
        session.start()
        try:
            await self._in_session(session, exchange, request)
        finally:
            if session.version is None:
                session.end()

    async def _in_session(self, session: Session, exchange: Exchange, message: Message) -> None:
        session.exchanges += 1
        session.principal = exchange.principal  # the same identity, but what it may use can have changed
        try:
            if not await self._can_judge(session, exchange, message):
                await self._fail(exchange, message, failures.UNMARKED)
                return
            marked = self._catalogues.marked(session.server)
            verdict = self._gate.inbound(session.server, exchange.principal, message, marked)
            if isinstance(verdict, Denied):
                await self._fail(exchange, message, failures.denied(verdict.text))
                return
            now = asyncio.get_running_loop().time()
            until = min(exchange.deadline, now + self._call_timeout)
            if message.kind is Kind.REQUEST:
                call = calls.CallServer(session, exchange, message, until, self._limits, self._spawn)
                await call.serve()
                return
            # Their answer is due when that of a request would become a stream.
            until = min(until, now + self._limits.commit_after)
            if message.kind is Kind.NOTIFICATION:
                await calls.tell(session, exchange, message, until)
            elif not await calls.answer(session, exchange, message, until):
                text = "This answers no request that is open in this session: send each answer once."
                await refuse(exchange, 400, text, id=message.id)
        finally:
            session.exchanges -= 1
            session.used_at = asyncio.get_running_loop().time()

    async def _can_judge(self, session: Session, exchange: Exchange, message: Message) -> bool:
        """Whether it is known which tools only read, where the caller's grant makes that a condition."""
        allowance = exchange.principal.allowance
        if allowance is None or allowance.later is not Later.READ_ONLY or message.method not in _BY_MARK:
            return True
        try:
            async with asyncio.timeout(self._limits.commit_after):
                await self._catalogues.known(session.server)
        except (CatalogueError, TimeoutError):
            return False
        return True

    async def _listen(self, session: Session, exchange: Exchange) -> None:
        session.principal = exchange.principal
        session.exchanges += 1
        try:
            await calls.listen(session, exchange, self._spawn)
        finally:
            session.exchanges -= 1
            session.used_at = asyncio.get_running_loop().time()

    async def _fail(self, exchange: Exchange, message: Message, failure: failures.Failure) -> None:
        status, body = failure.answer(message, exchange.key)
        await reply(exchange, status, body)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            work.close()
            raise Stopping
        return self._tasks.create_task(work)
