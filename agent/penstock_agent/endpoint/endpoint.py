"""The way into the MCP endpoint of the agent: which era an exchange belongs to.

An exchange comes in, is judged as HTTP and as JSON-RPC, and goes on to its era, which asks the gate.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from penstock.envelope import EnvelopeError, is_batch, parse_batch, parse_caller
from penstock.http import Headers, check
from penstock.log import get
from penstock.names import WHOLE_SITE, AgentId
from penstock.outcome import rpc_error
from penstock_agent import alone
from penstock_agent.callers.trust import Anyone, NotProven
from penstock_agent.catalogue.catalogues import Catalogues
from penstock_agent.catalogue.offer import Catalogue, CatalogueError
from penstock_agent.children.child import ChildSpec
from penstock_agent.endpoint import failures, inbound, offers, versions
from penstock_agent.endpoint.answers import SESSION_ID, VERSION, fail, refuse, reply
from penstock_agent.endpoint.approving import Approving
from penstock_agent.endpoint.bridge.up.face import Faces
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.handshake.handshake import Handshake
from penstock_agent.endpoint.handshake.httpsse import HttpSse
from penstock_agent.endpoint.held import Held
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.memory import Memory
from penstock_agent.endpoint.modern.modern import Modern
from penstock_agent.endpoint.permits import Permits
from penstock_agent.endpoint.ports import Callers, Children, Stopping
from penstock_agent.endpoint.room import WithRoom
from penstock_agent.endpoint.session import sessionids
from penstock_agent.endpoint.session.eventlog import EPOCH_BYTES, KEY_BYTES, Budget, EventIds
from penstock_agent.endpoint.session.sessions import Sessions
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.tainting import Tainting
from penstock_agent.exchange import Exchange, ExchangeGone, Purpose
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.expose import Item
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.methods import Use
from penstock_agent.gate.pause import Paused
from penstock_agent.gate.policy.books import Books
from penstock_agent.gate.policy.taint import Marks
from penstock_agent.ledger.entries import Ledger, Unrecorded
from penstock_agent.tolerance import Tolerance

_log = get(__name__)

#: A client sends the same few forms again and again, and parsing Accept is a tenth of a small call. Sorted
#: apart: what is checked is the same for all its sessions.
_check = lru_cache(maxsize=256)(check)


@lru_cache(maxsize=256)
def _sorted(headers: Headers) -> tuple[Headers, tuple[str, ...], tuple[str, ...]]:
    """What says how the request is formed, every version, and every session id."""
    shape, versions, ids = [], [], []
    for pair in headers:
        if pair[0] == SESSION_ID:
            ids.append(pair[1])
        elif pair[0] == VERSION:
            versions.append(pair[1])
            shape.append(pair)
        elif not pair[0].startswith("mcp-"):
            shape.append(pair)
    return tuple(shape), tuple(versions), tuple(ids)


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
        shared_by_all: Collection[str] = (),
        close_after: float = inf,
        tolerance: Tolerance = Tolerance(),  # noqa: B008 - frozen
        session_key: bytes | None = None,
        paused: Paused = Paused(),  # noqa: B008 - frozen
        ledger: Ledger | None = None,
        approving: Approving | None = None,
        books: Books | None = None,
        marks: Marks | None = None,
        now: Callable[[], float] = time.time,
        definitions: Definitions | None = None,
    ) -> None:
        """``call_timeout``: seconds after which a call is given up, when its caller does not give up
        sooner. ``callers``: None when the relay's word about them is enough. ``shared_by_all``: servers that
        have one process for all modern callers, not one for each principal. ``close_after``: see Shared.
        ``session_key``: what makes session ids known to a later run; None for one of this run. ``books``:
        what people have used of their budgets; ``marks``: for whom something sensitive was read; ``now``:
        seconds since 1970. ``definitions``: what was
        approved of what servers offer; None where nothing is compared with it.
        """
        self._callers: Callers = callers or Anyone()
        self._tasks: asyncio.TaskGroup | None = None
        children = WithRoom(children, self.give_way)
        self._shared = Shared(
            servers=dict(servers),
            gate=gate,
            children=children,
            faces=Faces(children, self._spawn),
            catalogues=Catalogues(servers, children, self._spawn, definitions),
            limits=limits,
            held=Held(limits.agent_held),
            ids=EventIds(agent.tag, os.urandom(EPOCH_BYTES), os.urandom(KEY_BYTES)),
            logs=Budget(limits.agent_log),
            call_timeout=call_timeout,
            spawn=self._spawn,
            tolerance=tolerance,
            memory=Memory(lambda: asyncio.get_running_loop().time()),
            close_after=close_after,
            ledger=Unrecorded() if ledger is None else ledger,
            approving=Approving() if approving is None else approving,
            definitions=definitions,
            paused=paused,
            permits=Permits(Books() if books is None else books, now),
            tainting=Tainting(Marks() if marks is None else marks, now),
        )
        self._sessions = Sessions(agent, limits, session_key or os.urandom(sessionids.KEY_BYTES))
        self._handshake = Handshake(self._shared, self._sessions)
        self._modern = Modern(self._shared, self._sessions, shared_by_all)
        self._http_sse = HttpSse(agent, self._shared, self._sessions)

    async def run(self) -> None:
        """Owns every task of the endpoint but those of ``serve``. Until cancelled; stops every child then."""
        pause = max(0.01, min(60.0, self._shared.limits.idle_timeout / 10))
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            self._tasks, self._shared.running = tasks, True
            try:
                while True:
                    await asyncio.sleep(pause)
                    if ended := self._sessions.reap(loop.time()):
                        _log.info("idle_sessions_ended", sessions=ended)
                    if ended := self._modern.processes.reap(loop.time()):
                        _log.info("idle_processes_ended", processes=ended)
            finally:
                self._tasks, self._shared.running = None, False
                self._modern.bridge.close()
                for session in self._sessions:
                    session.end()
                for process in self._modern.processes:
                    process.end()

    async def drain(self) -> None:
        """The agent is stopping: tell those who only listen, so that they ask again elsewhere."""
        await self._modern.drain()

    def reload(
        self,
        servers: Mapping[str, ChildSpec],
        gate: Gate,
        callers: Callers | None = None,
        shared_by_all: Collection[str] = (),
    ) -> None:
        """Use another configuration from now on, for open sessions as well."""
        shared = self._shared
        self._callers = callers or Anyone()
        changed = {name for name, spec in servers.items() if shared.servers.get(name) != spec}
        changed |= shared.servers.keys() - servers.keys()
        for name in changed:
            shared.faces.forget(name)
        # Whose a process is cannot change while it runs.
        for name in changed | (set(self._modern.processes.shared_by_all) ^ set(shared_by_all)):
            self._modern.processes.retire(name)
        self._modern.processes.shared_by_all = shared_by_all
        shown = {name for name in servers if gate.differs(shared.gate, name)}
        shared.servers, shared.gate = dict(servers), gate
        shared.catalogues.reload(servers)
        shared.memory.clear()
        for session in self._sessions:
            if session.server not in servers:
                session.end()
            elif session.server in changed:
                session.renew(servers[session.server])
        self.lists_changed(shown)

    def lists_changed(self, servers: Collection[str]) -> None:
        """Other things are shown of these servers: open sessions and those who listen are told."""
        for session in self._sessions:
            if session.server in servers:
                session.lists_changed()
        for process in self._modern.processes:
            if process.server in servers:
                process.lists_changed()

    async def read(self, server: str) -> Catalogue:
        """What a server offers now; a process is started to be asked. Raises CatalogueError and Stopping."""
        return await self._shared.catalogues.now(server)

    def pause(self, paused: Paused) -> int:
        """This is stopped from now on, and what runs of it ends at once. Returns how many sessions, processes
        and requests that were.

        What ends may have run; nothing more of it leaves the site.
        """
        shared, before = self._shared, self._shared.paused
        shared.paused = paused
        ended = 0
        newly = paused.servers - before.servers
        for session in self._sessions:
            part = bool(newly) and session.server == WHOLE_SITE
            if part or shared.stopped(session.server, session.principal) is not None:
                session.end(failures.STOPPED)
                ended += 1
        for process in self._modern.processes:
            if paused.server(process.server):
                process.end(failures.STOPPED)
                ended += 1
            else:
                ended += process.stop(paused.caller)
        for server in newly:
            shared.faces.forget(server)
        return ended

    def status(self) -> Status:
        servers: dict[str, ServerStatus] = {}
        for name in self._shared.servers:
            own = [session for session in self._sessions if session.server == name]
            events: Counter[str] = Counter()
            for session in own:
                events.update(session.counts)
            modern = [process for process in self._modern.processes if process.server == name]
            for process in modern:
                events.update(process.counts)
            calls = sum(s.calls for s in own) + sum(p.calls for p in modern)
            servers[name] = ServerStatus(len(own), calls, dict(events))
        return Status(len(self._sessions), self._shared.held.bytes, servers)

    async def give_way(self) -> bool:
        """End a process that nobody uses, because somebody needs its place. False when there is none.

        A process for modern requests costs nobody anything. A session keeps its name, and what it asked for
        stands, but what its server kept in the process is lost: so not before it has been idle for a while.
        """
        if (process := self._modern.processes.longest_idle()) is not None:
            process.end()
            await process.until_ended()
            return True
        idle_since = asyncio.get_running_loop().time() - self._shared.limits.rest_after
        session = self._sessions.longest_idle(idle_since)
        if session is None:
            return False
        _log.info("idle_session_gave_way", server=session.server)
        await session.rest()
        return True

    async def quiet(self) -> None:
        """Return once no call is under way whose exchange is over, and whose answer is due on another one."""
        await self._http_sse.idle.wait()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one exchange. Raises nothing but CancelledError."""
        permits = self._shared.permits
        permits.begin(exchange.key)
        try:
            await self._serve(exchange)
        except ExchangeGone:
            return
        except Stopping:
            exchange.fail("the agent is stopping")
        except Exception as e:  # whatever it is, it must not end the other exchanges
            _log.error("exchange_failed", exchange=exchange.key, error=type(e).__name__)
            exchange.fail("the agent failed inside")
        finally:
            permits.served(exchange.key)

    async def _serve(self, exchange: Exchange) -> None:
        if exchange.purpose is Purpose.CONSENT:
            await self._offer(exchange)
            return
        stopped = self._shared.stopped(exchange.server, exchange.principal)
        if exchange.purpose in (Purpose.SSE, Purpose.MESSAGES):
            if stopped is not None:
                await refuse(exchange, 403, stopped.text)
                return
            await self._http_sse.serve(exchange, self._callers)
            return
        shape, version, session_id = _sorted(exchange.headers)
        if (refusal := _check(exchange.method, shape)) is not None:
            await refuse(exchange, refusal.status, refusal.text, headers=refusal.headers)
            return
        modern = [one for one in version if not versions.is_handshake(one)]
        if not modern and (len(version) > 1 or len(session_id) > 1):
            await refuse(exchange, 400, "A header of MCP stands twice: send each once.")
            return
        if stopped is not None:
            await self._deny(exchange, stopped, "paused")
            return
        try:
            await self._callers.admit(exchange.server, exchange.principal)
        except NotProven as e:
            await self._deny(exchange, failures.denied(str(e)), "trust")
            return
        if modern:
            await self._post_modern(exchange, modern[0])
            return
        header = version[0] if version else None
        id = session_id[0] if session_id else None
        if exchange.method == "POST":
            await self._post(exchange, header, id)
        elif exchange.method == "GET":
            await self._handshake.get(exchange, header, id)
        else:
            await self._handshake.delete(exchange, header, id)

    async def _offer(self, exchange: Exchange) -> None:
        """What a page of the relay shows to a user who is about to grant it."""
        server, gate, caller = exchange.server, self._shared.gate, exchange.principal
        _log.info("asked_what_is_exposed", server=server, subject=caller.subject, client=caller.client)
        if self._shared.stopped(server, caller) is not None:
            await refuse(exchange, 503, "The site's administrator has stopped this for now.")
            return
        if self._shared.ledger.refuses is not None:
            await refuse(exchange, 503, "The site cannot record what leaves it at the moment.")
            return
        if exchange.method != "POST" or server not in self._shared.servers:
            await refuse(exchange, 404, failures.no_server(server))
            return
        try:
            catalogue = await self._shared.catalogues.get(server)
        except CatalogueError:
            # Why is in the agent's log: it may hold what the server said.
            await refuse(exchange, 503, "The server on site could not say what it offers.")
            return
        challenge = self._callers.challenge(server)
        known = self._shared.catalogues
        definitions = self._shared.definitions
        await inbound.all_known(self._shared, gate.to_offer(server, caller, known))

        def shown(item: Item, name: str) -> bool:
            used = definitions is None or definitions.refusal(server, Use(item, name)) is None
            return used and gate.exposes(server, caller, item, name, known)

        body = offers.answer(catalogue, shown, challenge)
        await reply(exchange, 200, body)

    async def _deny(self, exchange: Exchange, failure: Failure, rule: str) -> None:
        """Whatever was asked."""
        if exchange.method != "POST":
            await refuse(exchange, 403, failure.text)
            return
        try:
            message = parse_caller(exchange.body)
        except EnvelopeError as e:
            await reply(exchange, 400, rpc_error(e.id, e.code, str(e)))
            return
        await fail(exchange, message, inbound.refused(self._shared, exchange, message, rule, failure))

    async def _post_modern(self, exchange: Exchange, header: str) -> None:
        try:
            message = parse_caller(exchange.body)
        except EnvelopeError as e:
            await reply(exchange, 400, rpc_error(e.id, e.code, str(e)))
            return
        await self._modern.post(exchange, message, header, exchange.headers)

    async def _post(self, exchange: Exchange, header: str | None, id: str | None) -> None:
        try:
            if id is not None and is_batch(exchange.body):
                await self._handshake.post_batch(exchange, parse_batch(exchange.body), header, id)
                return
            message = parse_caller(exchange.body)
        except EnvelopeError as e:
            await reply(exchange, 400, rpc_error(e.id, e.code, str(e)))
            return
        await self._handshake.post(exchange, message, header, id)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            work.close()
            raise Stopping
        return alone.start(self._tasks, work)
