"""Signatures of clients, verified by the keys that they show."""

from __future__ import annotations

from typing import NoReturn

from penstock import jwk, log
from penstock.jwk import BadKeys, KeySet
from penstock.jwks import KeyCache, KeysUnavailable
from penstock.jwt import BadToken, unverified
from penstock_relay.oauth import assertion
from penstock_relay.oauth.assertion import ALGORITHMS, Seen, TooManyAssertions
from penstock_relay.oauth.client import Proof
from penstock_relay.oauth.fetch import Documents

_log = log.get(__name__)


class Unproven(Exception):
    """Whether the client is who it says cannot be told now: answer 503. The text is for its maker."""


class Signatures:
    """One per replica. :meth:`run` must be running where keys are at URLs. `origin` is the public URL."""

    def __init__(self, documents: Documents, origin: str) -> None:
        """`documents` keeps nothing itself, or new keys come late."""
        self._documents = documents
        self._keys = KeyCache(documents.get)
        self._seen = Seen()
        self._audiences = (f"{origin}/oauth/token", origin)

    async def run(self) -> NoReturn:
        """Fetches keys as they are needed, for ever. A TaskGroup owns it."""
        try:
            await self._keys.run()
        finally:
            await self._documents.close()

    async def proves(self, text: str, client_id: str, proof: Proof, now: float) -> bool:
        """Whether the assertion `text` was made by the client. Raises Unproven."""
        try:
            found = await self._set(proof, text)
            algorithms = ALGORITHMS if proof.algorithm is None else (proof.algorithm,)
            assertion.check(text, client_id, found, self._audiences, self._seen, now, algorithms)
        except BadToken as error:
            _log.info("client_assertion_refused", reason=error.reason)
            return False
        except KeysUnavailable:
            raise Unproven("The client's keys cannot be read at the moment (jwks_uri).") from None
        except TooManyAssertions:
            raise Unproven("Too many assertions at the moment. Try again in a minute.") from None
        return True

    async def _set(self, proof: Proof, text: str) -> KeySet:
        if proof.jwks_uri is not None:
            return await self._keys.keys(proof.jwks_uri, unverified(text).kid)
        try:
            return jwk.parse(proof.jwks or b"")
        except BadKeys:
            raise BadToken("key_unknown") from None
