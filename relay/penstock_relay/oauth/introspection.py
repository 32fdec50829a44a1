"""Opaque tokens: the issuer is asked what they are (RFC 7662), and the answer is kept for half a minute."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from penstock.jwk import strict_object
from penstock.jwks import FetchError
from penstock.jwt import BadToken

KEPT_S: Final = 30.0
"""How long an answer is believed: a token that is taken back opens something for so long at most."""
MAX_KEPT: Final = 4096
MAX_ASKING: Final = 32
"""Questions under way. Anybody can make one up."""


class Post(Protocol):
    async def __call__(self, url: str, fields: dict[str, str], client_id: str, secret: str, /) -> bytes: ...


class IntrospectionUnavailable(Exception):
    """The issuer does not say at the moment; the text says why, and nothing of the token."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the issuer answers, and how the relay proves itself there."""

    url: str
    client_id: str
    secret: str = field(repr=False)


@dataclass(slots=True)
class _Flight:
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    answer: dict[str, Any] | None = None
    problem: str = ""


class Introspector:
    """One per issuer. `ticks` counts seconds that never go back, `clock` those since the epoch."""

    def __init__(
        self,
        post: Post,
        endpoint: Endpoint,
        issuer: str,
        *,
        ticks: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._post = post
        self._endpoint = endpoint
        self._issuer = issuer
        self._ticks = ticks
        self._clock = clock
        self._kept: dict[bytes, tuple[float, dict[str, Any]]] = {}
        self._flights: dict[bytes, _Flight] = {}

    async def claims(self, token: str) -> dict[str, Any]:
        """What the issuer says of an active token. Raises BadToken, IntrospectionUnavailable."""
        name = hashlib.sha256(token.encode()).digest()
        while True:
            kept = self._kept.get(name)
            if kept is not None and self._ticks() < kept[0]:
                return self._active(kept[1])
            flight = self._flights.get(name)
            if flight is None:
                return self._active(await self._ask(name, token))
            await flight.landed.wait()
            if flight.problem:
                raise IntrospectionUnavailable(flight.problem)
            if flight.answer is not None:
                return self._active(flight.answer)
            # Neither: whoever asked has gone away. Now it is our turn.

    async def _ask(self, name: bytes, token: str) -> dict[str, Any]:
        if len(self._flights) >= MAX_ASKING:
            raise IntrospectionUnavailable("too many questions at once")
        flight = self._flights[name] = _Flight()
        until = self._ticks() + KEPT_S  # from the question on
        fields = {"token": token, "token_type_hint": "access_token"}
        endpoint = self._endpoint
        try:
            answer = strict_object(
                await self._post(endpoint.url, fields, endpoint.client_id, endpoint.secret)
            )
            if answer is None or not isinstance(answer.get("active"), bool):
                raise FetchError("it is not an answer of RFC 7662")
            flight.answer = answer
        except FetchError as error:
            flight.problem = str(error)
            raise IntrospectionUnavailable(flight.problem) from None
        finally:
            del self._flights[name]
            flight.landed.set()
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept.pop(name, None)
        self._kept[name] = (until, answer)
        return answer

    def _active(self, answer: dict[str, Any]) -> dict[str, Any]:
        if answer["active"] is not True:
            raise BadToken("inactive")
        # Some issuers call a refresh token active as well.
        kinds = [answer[name] for name in ("token_type", "typ") if name in answer]
        if not all(isinstance(kind, str) and kind.lower() in ("bearer", "access_token") for kind in kinds):
            raise BadToken("type")
        now = int(self._clock())
        # The issuer was asked itself; that the token is good now is all that it has to say of time.
        return {"iss": self._issuer, "iat": now, "exp": now + int(KEPT_S), **answer}
