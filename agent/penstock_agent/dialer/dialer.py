"""Dials the relay and keeps a link to it, through whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidMessage, InvalidStatus, NegotiationError, WebSocketException
from websockets.typing import Subprotocol

from penstock import log
from penstock.link import CLOSE_TIMEOUT, Driver, Ended, now
from penstock.names import AgentId
from penstock.refusal import MAX_TEXT, WAITING, BadRefusal, Refusal, decode
from penstock.tunnel.agent import digest_of
from penstock.tunnel.errors import CloseCode
from penstock.tunnel.frames import GoAway, GoAwayReason, Hello, Lane, Ledger, Notice, Role, Welcome
from penstock.tunnel.limits import HANDSHAKE, MAX_MESSAGE, SUBPROTOCOL, VERSIONS
from penstock.tunnel.link import Link
from penstock.tunnel.states import End
from penstock_agent.dialer.connect import Connect
from penstock_agent.dialer.heads import Heads, NoLedger, Telling
from penstock_agent.dialer.notices import Noticing
from penstock_agent.dialer.reach import explain
from penstock_agent.dialer.redial import Redial
from penstock_agent.dialer.served import Tunnel
from penstock_agent.problem import printable

LINK_PATH: Final = "/link"
OPEN_TIMEOUT: Final = 15.0
"""Seconds for name, proxy, TLS and the websocket handshake."""
WRITE_LIMIT: Final = 16 * 1024
NOT_KNOWN: Final = 403
"""What the tunnel listener answers to a certificate that is not an enrolled agent's."""
QUEUE: Final = 4
"""Messages that websockets may read ahead for a link."""
LINKS: Final = 4
"""Links at the same time: the newest, and older ones that the relay drains. One more ends the oldest."""
ASK_WHY: Final = 1.0
"""Seconds at most until the relay is asked what it meant, when it closed a link as revoked."""
SPREAD: Final = 60.0
"""Seconds: the longest spread of a GOAWAY that is believed."""

_CLOSED: Final = {
    CloseCode.VERSION: "Agent and relay have no protocol version in common. Update the older of the two.",
    CloseCode.IDENTITY: "The relay knows this certificate under another name. Join again.",
    CloseCode.TOO_MANY: "The relay has as many links of this agent as it allows. Is it running twice?",
    CloseCode.REVOKED: "The relay closed the link because it holds this agent's certificate for revoked.",
    CloseCode.DUPLICATE: "Another program runs with a copy of this agent's state folder. Stop one of them.",
}

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom to dial."""

    url: str
    """``wss://host:port`` of the tunnel listener."""
    agent: AgentId
    instance: bytes
    context: ssl.SSLContext
    proxy: str | None


@dataclass(slots=True)
class LinkStatus:
    """What is known of the link, for whoever asks. `since` is in seconds since the epoch."""

    linked: bool = False
    since: float = 0.0
    problem: str = ""
    public_url: str = ""
    replica: str = ""


class Dialer:
    """Keeps one link. (One replica has one; several replicas come with their own loop of this.)"""

    def __init__(
        self,
        target: Target,
        tunnel: Tunnel,
        servers: Callable[[], frozenset[str]],
        changed: Callable[[LinkStatus], None],
        refused: Callable[[Refusal | None], None] = lambda _: None,
        heads: Heads | None = None,
        notices: Callable[[], Notice] | None = None,
    ) -> None:
        """`changed` is called whenever the link comes or goes, and when its problem is another one.

        `refused` is called with what the relay says when it lets this agent's certificate in no more; with
        None when it ends the handshake in TLS instead, as it does for a certificate that has expired.

        `heads` is the ledger; without one nothing is said of any. `notices` returns what there is to notice
        on site now; without it nothing is said of that.
        """
        self._target = target
        self._tunnel = tunnel
        self._servers = servers
        self._changed = changed
        self._refused = refused
        self._again = asyncio.Event()
        self._ask_why = False
        self._numbers = 0
        self._up: set[int] = set()
        self._drivers: dict[int, Driver] = {}
        self._heads: Heads = heads or NoLedger()
        self._tellings: dict[int, Telling] = {}
        self._notices = notices
        self._noticings: dict[int, Noticing] = {}
        self.status = LinkStatus(since=time.time())

    async def run(self) -> NoReturn:
        """Dials, and dials again, until it is cancelled. Its links end with it."""
        redial = Redial()
        async with asyncio.TaskGroup() as links:
            while True:
                self._again.clear()
                refused: Refusal | None = None
                forbidden = False
                stood: float | None = None
                spread = 0.0
                try:
                    websocket = await self._dial()
                except (OSError, WebSocketException, EOFError, ValueError) as error:
                    forbidden, refused = _status(error) == NOT_KNOWN, _refusal(error)
                    text = explain(error, self._target.url, self._target.proxy)
                    self._problem(text if refused is None else printable(refused.text, MAX_TEXT))
                    if refused is not None or isinstance(error, InvalidMessage):
                        self._refused(refused)
                else:
                    began = now()
                    leave = asyncio.get_running_loop().create_future()
                    links.create_task(self._keep(websocket, leave))
                    # After GOAWAY the old link goes on, until the relay closes it.
                    spread = min(await leave, SPREAD)
                    stood = now() - began
                redial = redial.after(stood)
                wait = redial.wait(
                    random.random(),  # noqa: S311  jitter, not a secret
                    unfinished=self._tunnel.exchanges > 0,
                    refused=forbidden,
                    waiting=refused is not None and refused.reason == WAITING,
                )
                wait = max(wait, random.random() * spread)  # noqa: S311  jitter, not a secret
                if self._ask_why:
                    wait, self._ask_why = min(wait, ASK_WHY), False
                _log.info("dialling_again", in_s=round(wait, 1))
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._again.wait()
                if len(self._drivers) >= LINKS:
                    next(iter(self._drivers.values())).stop(CloseCode.GOING_AWAY, "too many links")

    def use(self, context: ssl.SSLContext) -> None:
        """Dials with this from now on, at once if there is no link. Links that stand are not touched."""
        self._target = replace(self._target, context=context)
        self._again.set()

    def go_away(self) -> None:
        """Tells the relay that this agent stops: it opens nothing more here."""
        for driver in self._drivers.values():
            driver.link.go_away(GoAwayReason.DRAIN, 0)

    def say_heads(self) -> None:
        """Says the ledger's head over every link, without waiting for its minute: the last, before a stop."""
        for telling in self._tellings.values():
            telling.tell()

    async def flushed(self) -> None:
        """Waits until the links have nothing left to send."""
        for driver in list(self._drivers.values()):  # some may end meanwhile
            await driver.flushed()

    async def _dial(self) -> ClientConnection:
        target = self._target
        websocket = await Connect(
            target.url + LINK_PATH,
            ssl=target.context,
            proxy=target.proxy,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=QUEUE,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            ssl_shutdown_timeout=CLOSE_TIMEOUT,
            ping_interval=None,
            write_limit=WRITE_LIMIT,
            # Nothing about this machine goes out: no program, no version, no host name.
            user_agent_header=None,
            logger=logging.getLogger("websockets.dialer"),
        )
        if websocket.subprotocol != SUBPROTOCOL:
            websocket.transport.abort()
            raise NegotiationError("no subprotocol")
        return websocket

    async def _keep(self, websocket: ClientConnection, leave: asyncio.Future[float]) -> None:
        """Carries one link to its end. `leave` gets a spread in seconds on GOAWAY, 0 at the end."""
        self._numbers += 1
        link = Link(End.AGENT, self._numbers, now())
        number = link.number

        telling = Telling(link, self._heads)

        def deliver(data: bytes, at: float) -> None:
            for frame in self._tunnel.receive(link, data, at):
                if isinstance(frame, GoAway) and not leave.done():
                    leave.set_result(frame.spread_ms / 1000)
                elif isinstance(frame, Ledger):
                    telling.heard(frame)

        driver = Driver(link, websocket, deliver, self._tunnel.dispatch)
        link.greeted = self._greeted
        unanswered = asyncio.get_running_loop().call_later(HANDSHAKE, self._unanswered, number, driver)
        digest, names = digest_of(self._servers())
        link.greet(
            Hello(
                role=Role.AGENT,
                name=self._target.agent.agent,
                instance=self._target.instance,
                epoch=self._tunnel.epoch,
                lane=Lane.MAIN,
                versions=VERSIONS,
                digest=digest,
                servers=names,
            )
        )
        self._drivers[number] = driver
        self._tellings[number] = telling
        self._noticings[number] = Noticing(link, self._notices)

        def gone(ended: Ended) -> None:
            del self._drivers[number]
            self._tellings.pop(number).end()
            self._noticings.pop(number).end()
            self._up.discard(number)
            link.close()
            self._tunnel.link_gone(link)
            if not leave.done():
                leave.set_result(0.0)
            # A close code proves nothing. What the relay says to the next dialling may.
            self._ask_why = self._ask_why or (ended.code == CloseCode.REVOKED and not ended.ours)
            _log.info("link_ended", link=number, code=ended.code, why=ended.text, ours=ended.ours)
            self._problem(_why(ended))

        try:
            await driver.run(gone)
        finally:
            unanswered.cancel()

    def _unanswered(self, number: int, driver: Driver) -> None:
        if number not in self._up:
            driver.stop(CloseCode.WRONG_STATE, "no WELCOME in time")

    def _greeted(self, link: Link, welcome: Welcome) -> None:
        # Before anything that came behind WELCOME in the same message is looked at.
        self._up.add(link.number)
        self._tunnel.link_up(link)
        self._tellings[link.number].begin()
        self._noticings[link.number].begin()
        self.status = LinkStatus(True, time.time(), "", welcome.public_url, welcome.replica)
        _log.info("link_up", link=link.number, replica=welcome.replica)
        self._changed(self.status)

    def _problem(self, text: str) -> None:
        """There is no new link, because of `text`. No problem while an older one stands."""
        was = self.status
        if self._up or (not was.linked and was.problem == text):
            return
        since = time.time() if was.linked else was.since
        self.status = LinkStatus(False, since, text, was.public_url, was.replica)
        _log.warning("no_link", why=text)
        self._changed(self.status)


def _status(error: BaseException) -> int:
    return error.response.status_code if isinstance(error, InvalidStatus) else 0


def _refusal(error: BaseException) -> Refusal | None:
    """What the relay said, if it said it in a form that is known."""
    if _status(error) != NOT_KNOWN or not isinstance(error, InvalidStatus):
        return None
    try:
        return decode(bytes(error.response.body or b""))
    except BadRefusal:
        return None


def _why(ended: Ended) -> str:
    if ended.ours and ended.code == CloseCode.GOING_AWAY:
        return "The agent is stopping."
    if ended.ours and ended.code == CloseCode.OVERDUE:
        return "Nothing was heard from the relay for too long. Dialling again."
    if ended.ours:
        return f"The relay did not keep to the protocol ({ended.text}). Dialling again."
    if ended.code in _CLOSED:
        return _CLOSED[CloseCode(ended.code)]
    if ended.code == CloseCode.GOING_AWAY:
        return "The relay is stopping or restarting. Dialling again."
    return "The link to the relay broke. Dialling again."
