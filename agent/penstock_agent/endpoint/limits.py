"""Every bound of the endpoint, by name. Times are seconds, sizes bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults are what the documentation promises; tests make them small."""

    commit_after: float = 15.0
    """A request that is unanswered for this long gets its response head, as an event stream."""
    prime_after: float = 0.25
    """The same for clients that can come back for an event stream (2025-11-25): once they have an event id, a
    lost connection costs them nothing. Small quick answers stay plain JSON."""
    watch_after: float = 1.0
    """How long a request may run before anybody looks whether its caller was revoked."""
    start_timeout: float = 30.0
    """How long a restarted child may take to answer the replayed ``initialize``."""
    first_start: float = 120.0
    """The same for the first child of a session: it may have to be downloaded."""
    asked_wait: float = 30.0
    """How long a request of a child waits for a stream of the client."""
    idle_timeout: float = 30 * 60.0
    """A session, and a process for modern requests, without exchanges and streams for this long is ended."""
    rest_after: float = 60.0
    """A session that has been idle for so long gives its process up to whoever has none, if need be."""
    sessions: int = 256
    """Sessions of this agent."""
    sessions_per_principal: int = 64
    """Sessions of one principal (issuer, subject, client); its longest idle one makes room for a new one."""
    sessions_over: int = 4096
    """Ids of sessions that their clients have ended, and that are therefore not revived."""
    calls_per_session: int = 256
    """Requests in flight in one session; in the modern era, of one principal at one server."""
    processes: int = 256
    """Processes for modern requests that are kept in mind, running or not; an idle one makes room."""
    calls_per_process: int = 1024
    """Requests in flight in one of them, of all principals together."""
    session_held: int = 64 << 20
    """Bytes that wait for the callers of one session or modern process; above it the child is not read."""
    agent_held: int = 256 << 20
    """The same over all sessions; above it only sessions for which nothing waits are read."""
    session_log: int = 8 << 20
    """Bytes of events that are kept for a session's client to come back for; the oldest make room. Also the
    largest event that is kept."""
    agent_log: int = 64 << 20
    """The same over all sessions; the one that holds most gives way."""
    log_age: float = 5 * 60.0
    """An event is kept for so long."""
    retry_ms: int = 3000
    """Milliseconds after which a client comes back that lost its connection: official SDKs try twice, and a
    relay that restarts needs a moment."""
    poll_ms: int = 500
    """The same when we closed it."""
    stream_events: int = 1024
    """Messages that wait on one stream; above it notifications are dropped."""
    backlog_events: int = 256
    """Notifications that wait for a stream of the client; the oldest are dropped."""
    backlog_bytes: int = 1 << 20
    """The same in bytes."""
    backlog_asked: int = 16
    """Requests of a child that wait for a stream of the client; more are answered with an error."""
    replies: int = 64
    """Answers of the agent itself that wait for the child to read them; more are dropped."""
