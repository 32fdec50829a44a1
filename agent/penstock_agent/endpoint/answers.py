"""How one HTTP response takes its form: plain JSON when the answer comes first, else an event stream."""

from __future__ import annotations

from typing import Final

from penstock.envelope import Message
from penstock.http import EVENT_STREAM, JSON, Headers, sse_event
from penstock.outcome import INVALID_REQUEST, rpc_error
from penstock_agent.endpoint.failures import Ending
from penstock_agent.endpoint.session.resumption import Mark
from penstock_agent.endpoint.streams import Item
from penstock_agent.exchange import Exchange

SESSION_ID: Final = "mcp-session-id"
VERSION: Final = "mcp-protocol-version"
LAST_EVENT_ID: Final = "last-event-id"

#: Above this size an event is written in pieces rather than copied into one.
LARGE: Final = 64 * 1024

#: Seconds after which a caller that was refused for now may try again.
RETRY_AFTER: Final = 5

_JSON_HEAD: Final[Headers] = (("content-type", JSON),)
_STREAM_HEAD: Final[Headers] = (("content-type", EVENT_STREAM),)


class Answer:
    """The response to one exchange. Every method may raise :exc:`~penstock_agent.exchange.ExchangeGone`."""

    __slots__ = ("_exchange", "_number", "_of", "committed", "headers", "mark")

    def __init__(self, exchange: Exchange, of: str = "") -> None:
        """``of``: the exchange whose request is answered here, where it is another one."""
        self._exchange = exchange
        self._of = exchange.answers = of
        self._number = 0
        self.committed = False
        """Whether the head of an event stream is out."""
        self.headers: Headers = ()
        """What the head carries besides the content type."""
        self.mark: Mark | None = None
        """Makes event ids, where the client can come back for the stream."""

    async def commit(self, number: int = 0) -> None:
        """Send the head of an event stream, if that has not happened. ``number``: of the event after which
        the client comes back.
        """
        if not self.committed:
            self.committed = True
            self._number = number
            await self._exchange.head(200, _STREAM_HEAD + self.headers)
            if self.mark is not None and self.mark.primes:
                await self._exchange.write(self.mark.empty(number, self.mark.retry_ms))

    async def interrupt(self, retry_ms: int) -> None:
        """End the response, though not the stream: the client shall come back for the rest."""
        if self.mark is not None and self.mark.primes:
            await self._exchange.write(self.mark.empty(self._number, retry_ms))
        await self._exchange.end()

    async def send(self, item: Item) -> None:
        """Send one message; the last one ends the response."""
        self._exchange.answers = item.of or self._of
        if item.last and not self.committed:
            await reply(self._exchange, item.status, item.data, self.headers)
            return
        await self.commit()
        event_id = None if self.mark is None else self.mark.id(item.number)
        if len(item.data) > LARGE:
            named = b"" if event_id is None else b"id: %b\n" % event_id.encode()
            await self._exchange.write(b"event: message\n%bdata: " % named)
            await self._exchange.write(item.data)
            await self._exchange.write(b"\n\n")
        else:
            await self._exchange.write(sse_event(item.data, event_id=event_id))
        self._number = item.number
        if item.last:
            await self._exchange.end()


async def reply(exchange: Exchange, status: int, body: bytes, headers: Headers = ()) -> None:
    """A whole response in JSON. Raises :exc:`~penstock_agent.exchange.ExchangeGone`."""
    if status == 503:
        headers = (*headers, ("retry-after", str(RETRY_AFTER)))
    await exchange.head(status, _JSON_HEAD + headers)
    await exchange.write(body)
    await exchange.end()


async def empty(exchange: Exchange, status: int) -> None:
    """A whole response without a body. Raises :exc:`~penstock_agent.exchange.ExchangeGone`."""
    await exchange.head(status)
    await exchange.end()


async def refuse(
    exchange: Exchange, status: int, text: str, *, id: bytes | None = None, headers: Headers = ()
) -> None:
    """A request that is wrong as HTTP or as JSON-RPC. Raises :exc:`~penstock_agent.exchange.ExchangeGone`."""
    await reply(exchange, status, rpc_error(id, INVALID_REQUEST, text), headers)


async def fail(exchange: Exchange, message: Message, failure: Ending) -> None:
    """An answer in words instead of the server's. Raises :exc:`~penstock_agent.exchange.ExchangeGone`."""
    status, body = failure.answer(message, exchange.key)
    await reply(exchange, status, body)
