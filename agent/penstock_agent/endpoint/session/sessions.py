"""All sessions of the agent: their ids, to whom they belong, how many there may be, and when they end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from penstock.names import AgentId
from penstock.principal import Principal
from penstock_agent.endpoint.failures import Failure, not_executed
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.session.sessionids import RANDOM_BYTES, Identity, SessionIds


class TooManySessions(Exception):
    """No session can be added; nothing was executed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Sessions:
    """The table. A session leaves it by ending."""

    def __init__(self, agent: AgentId, limits: Limits, key: bytes) -> None:
        self._ids = SessionIds(agent.tag, key)
        self._limits = limits
        self._by_id: dict[str, Session] = {}
        self._of_nobody: dict[tuple[str, Identity], Session] = {}
        self._over: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    def find(self, id: str, server: str, principal: Principal) -> Session | None:
        """The session of this id if it is that principal's on that server; else None, whatever the reason."""
        session = self._by_id.get(id)
        if session is None or session.server != server or session.principal.identity != principal.identity:
            return None
        return session

    def can_revive(self, id: str, server: str, principal: Principal) -> bool:
        """Whether this was a session of this principal on this server, in this or an earlier life of the
        agent, and has not ended for good.
        """
        return id not in self._over and self._ids.made(id, server, principal.identity)

    def sessionless(self, server: str, principal: Principal) -> Session | None:
        """The session for this principal's requests that name none, if there is one."""
        return self._of_nobody.get((server, principal.identity))

    def keep_sessionless(self, session: Session) -> None:
        """``session`` serves them from now on."""
        session.sessionless = True
        self._of_nobody[session.server, session.principal.identity] = session

    def add(
        self, server: str, principal: Principal, make: Callable[[str], Session], id: str | None = None
    ) -> Session:
        """Take up what ``make`` returns for a new id, or for one that is revived. Raises
        :exc:`TooManySessions`.
        """
        own = [s for s in self._by_id.values() if s.principal.identity == principal.identity]
        if len(own) >= self._limits.sessions_per_principal:
            # Clients that never end their sessions would lock themselves out.
            idle = [(since, s) for s in own if (since := s.idle_since()) is not None]
            if not idle:
                raise TooManySessions(
                    not_executed(
                        f"You have {len(own)} sessions on this agent, all of them in use, and more are not "
                        "allowed. End one, then try again."
                    )
                )
            min(idle, key=lambda pair: pair[0])[1].end()
        if len(self._by_id) >= self._limits.sessions:
            raise TooManySessions(
                not_executed(
                    f"The agent on site has {len(self._by_id)} sessions, which is all that it may have. "
                    "Try again later."
                )
            )
        session = make(id or self._ids.make(server, principal.identity, os.urandom(RANDOM_BYTES)))
        self._by_id[session.id] = session
        return session

    def remove(self, session: Session) -> None:
        """It has ended."""
        self._by_id.pop(session.id, None)
        if session.sessionless:
            self._of_nobody.pop((session.server, session.principal.identity), None)
        if session.for_good:
            self._over[session.id] = None
            while len(self._over) > self._limits.sessions_over:
                del self._over[next(iter(self._over))]

    def longest_idle(self, before: float) -> Session | None:
        """The session with a process that nobody has used for the longest time, since ``before`` (loop time)
        at least.
        """
        idle = [
            (since, session)
            for session in self._by_id.values()
            if session.holds_process and (since := session.idle_since()) is not None and since <= before
        ]
        return min(idle, key=lambda pair: pair[0])[1] if idle else None

    def reap(self, now: float) -> int:
        """End those that nobody has used for too long, and forget old events. Returns how many ended."""
        for session in self._by_id.values():
            session.resumption.expire(now)
        idle = [
            session
            for session in self._by_id.values()
            if (since := session.idle_since()) is not None and now - since >= self._limits.idle_timeout
        ]
        for session in idle:
            session.end()
        return len(idle)
