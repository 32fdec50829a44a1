"""How one HTTP response takes its form: plain JSON when the answer comes first, else an event stream."""

from __future__ import annotations

from typing import Final

from penstock.envelope import Message
from penstock.http import EVENT_STREAM, JSON, Headers, sse_event
from penstock.outcome import INVALID_REQUEST, rpc_error
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.streams import Item
from penstock_agent.exchange import Exchange

SESSION_ID: Final = "mcp-session-id"
VERSION: Final = "mcp-protocol-version"

#: Above this size an event is written in pieces rather than copied into one.
LARGE: Final = 64 * 1024

#: Seconds after which a caller that was refused for now may try again.
RETRY_AFTER: Final = 5

_JSON_HEAD: Final[Headers] = (("content-type", JSON),)
_STREAM_HEAD: Final[Headers] = (("content-type", EVENT_STREAM),)


class Answer:
    """The response to one exchange. Every method may raise :exc:`~penstock_agent.exchange.ExchangeGone`."""

    __slots__ = ("_exchange", "committed", "headers")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.committed = False
        """Whether the head of an event stream is out."""
        self.headers: Headers = ()
        """What the head carries besides the content type."""

    async def commit(self) -> None:
        """Send the head of an event stream, if that has not happened."""
        if not self.committed:
            self.committed = True
            await self._exchange.head(200, _STREAM_HEAD + self.headers)

    async def send(self, item: Item) -> None:
        """Send one message; the last one ends the response."""
        if item.last and not self.committed:
            await reply(self._exchange, item.status, item.data, self.headers)
            return
        await self.commit()
        if len(item.data) > LARGE:
            await self._exchange.write(b"event: message\ndata: ")
            await self._exchange.write(item.data)
            await self._exchange.write(b"\n\n")
        else:
            await self._exchange.write(sse_event(item.data))
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


async def fail(exchange: Exchange, message: Message, failure: Failure) -> None:
    """An answer in words instead of the server's. Raises :exc:`~penstock_agent.exchange.ExchangeGone`."""
    status, body = failure.answer(message, exchange.key)
    await reply(exchange, status, body)
