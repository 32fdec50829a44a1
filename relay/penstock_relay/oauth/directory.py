"""Clients, wherever they are described: in a document of their own, or in the store since they registered."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_plus

from penstock.jwks import FetchError
from penstock_relay.audit import STRANGER
from penstock_relay.oauth import assertion, tokens
from penstock_relay.oauth.client import (
    BadClient,
    Client,
    Proof,
    from_document,
    is_document_url,
    parse_registration,
)
from penstock_relay.oauth.fetch import Documents
from penstock_relay.oauth.limits import Limits
from penstock_relay.oauth.organisation import Organisation
from penstock_relay.oauth.signatures import Signatures, Unproven
from penstock_relay.oauth.web import Peer
from penstock_relay.store import ClientRecord, SigningClient, Store

MAX_SIGNING: Final = 10_000
"""Clients with a document that sign, remembered."""
MAX_CLIENTS: Final = 10_000
"""Registrations kept; the oldest that was never used makes room."""
UNUSED_S: Final = 86_400.0
"""A registration that nobody used for so long is purged. One that was used is kept for ever: ChatGPT never
registers an existing connection again."""
PURGE_S: Final = 3600.0


_NOT_ALLOWED: Final = (
    "The relay's operator does not allow this application. Ask for it to be added to allowed_clients."
)


class UnknownClient(Exception):
    """There is no such client, or it could not be asked who it is; the text is for the user."""


class TooMany(Exception):
    """Too many ask at the moment; `again_s`: seconds until they may again."""

    def __init__(self, again_s: int = 3600) -> None:
        super().__init__()
        self.again_s = again_s


class Directory:
    def __init__(
        self,
        store: Store,
        documents: Documents,
        signatures: Signatures,
        limits: Limits,
        organisation: Organisation,
    ) -> None:
        self._store = store
        self._organisation = organisation
        self._documents = documents
        self._signatures = signatures
        self._limits = limits

    async def find(self, client_id: str, peer: Peer, now: float) -> Client:
        """Raises UnknownClient, also for one that the organisation does not allow; TooMany when `peer` had
        too many documents fetched; SQLAlchemyError.
        """
        if is_document_url(client_id):
            wait = self._limits.fetch(peer, now) if self._documents.costs(client_id) else 0
            if wait:
                raise TooMany(wait)
        return await self._described(client_id)

    async def _described(self, client_id: str) -> Client:
        if is_document_url(client_id):
            if not self._organisation.allows(client_id, ()):
                raise UnknownClient(_NOT_ALLOWED)
            try:
                return from_document(client_id, await self._documents.get(client_id))
            except (FetchError, BadClient) as error:
                raise UnknownClient(f"The application's own description cannot be used: {error}") from None
        return await self._registered(client_id)

    async def _registered(self, client_id: str) -> Client:
        record = await self._store.clients.find(client_id)
        if record is None:
            raise UnknownClient("The application is not known here. Remove the connection and add it again.")
        if not self._organisation.allows(client_id, record.redirect_uris):
            raise UnknownClient(_NOT_ALLOWED)
        return Client(
            record.client_id,
            record.name,
            record.redirect_uris,
            record.auth_method,
            record.secret_hash,
            None,
            None if record.jwks is None else Proof(jwks=record.jwks),
            record.preregistered,
        )

    async def authenticate(
        self, authorization: str | None, form: Mapping[str, str], now: float
    ) -> Client | None:
        """The client that calls the token or revocation endpoint; None when that is not proven.

        RFC 6749, 2.3.1: one method only, and the one that the client is registered with. Raises Unproven
        when it cannot be told now.
        """
        if "client_assertion" in form or "client_assertion_type" in form:
            alone = authorization is None and "client_secret" not in form
            return await self._signed(form, now) if alone else None
        client_id, secret, method = form.get("client_id"), form.get("client_secret"), "client_secret_post"
        if authorization is not None:
            basic = _basic(authorization)
            if basic is None or secret is not None or client_id not in (None, basic[0]):
                return None
            client_id, secret, method = *basic, "client_secret_basic"
        if client_id is None:
            return None
        if is_document_url(client_id):
            proves = secret is not None or authorization is not None
            return None if proves else await self._unsigned(client_id)
        try:
            client = await self._registered(client_id)
        except UnknownClient:
            return None
        if client.auth_method == "none":
            return client if secret is None else None
        # Who types a client of the operator's into an application cannot choose how that sends the secret.
        if secret is None or client.secret_hash is None:
            return None
        if client.auth_method != method and not client.preregistered:
            return None
        return client if hmac.compare_digest(client.secret_hash, tokens.digest(secret)) else None

    async def _unsigned(self, client_id: str) -> Client | None:
        """A client with a document that proves nothing: good unless it is one that signs."""
        if not self._organisation.allows(client_id, ()):
            return None
        try:
            client = from_document(client_id, await self._documents.get(client_id))
        except (FetchError, BadClient):
            # Its codes and tokens are bound to its name: that its document cannot be had at this moment must
            # not disconnect it. But one that signed when it was connected is not let in without.
            if await self._store.signing.find(client_id) is not None:
                return None
            return Client(client_id, client_id, (), "none", None, client_id)
        return client if client.auth_method == "none" else None

    async def _signed(self, form: Mapping[str, str], now: float) -> Client | None:
        text = assertion.presented(form)
        claimed = None if text is None else assertion.claimed(text)
        if text is None or claimed is None or form.get("client_id", claimed) != claimed:
            return None
        if is_document_url(claimed) and not self._organisation.allows(claimed, ()):
            return None
        try:
            client = await self._described(claimed)
        except UnknownClient:
            known = await self._store.signing.find(claimed)
            if known is None:
                if is_document_url(claimed):
                    raise Unproven("The client's document cannot be read at the moment.") from None
                return None
            proof = Proof(known.jwks, known.jwks_uri, known.algorithm)
            client = Client(claimed, claimed, (), assertion.METHOD, None, claimed, proof)
        if client.proof is None:
            return None
        return client if await self._signatures.proves(text, claimed, client.proof, now) else None

    async def connected(self, client: Client, now: float) -> None:
        """A user is connected with `client`: what is known of it is kept before what nobody used, and what
        it is verified by from now on.
        """
        if client.host is not None:
            self._documents.use(client.client_id)
        if client.host is None:
            await self._store.clients.used(client.client_id, now)
        elif client.proof is not None:
            proof = client.proof
            known = SigningClient(client.client_id, proof.jwks, proof.jwks_uri, proof.algorithm)
            await self._store.signing.remember(known, now, MAX_SIGNING)
        else:
            await self._store.signing.forget(client.client_id)

    async def register(self, data: bytes, peer: Peer, now: float) -> dict[str, object]:
        """RFC 7591: the answer to a registration. Raises BadClient, TooMany."""
        asked = parse_registration(data)
        wait = self._limits.register(peer, now)
        if wait:
            raise TooMany(wait)
        client_id = f"dcr-{tokens.identifier()}"
        secret = None if asked.auth_method == "none" else tokens.secret()
        record = ClientRecord(
            client_id,
            asked.name,
            asked.redirect_uris,
            asked.auth_method,
            None if secret is None else tokens.digest(secret),
            now,
        )
        if not await self._store.by(STRANGER).clients.add(record, MAX_CLIENTS):
            raise TooMany
        proof = {} if secret is None else {"client_secret": secret, "client_secret_expires_at": 0}
        return {
            "client_id": client_id,
            "client_id_issued_at": int(now),
            "client_name": asked.name,
            "redirect_uris": list(asked.redirect_uris),
            "token_endpoint_auth_method": asked.auth_method,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            **proof,
        }


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:  # not base64, not ASCII, not UTF-8
        return None
    return (unquote_plus(name), unquote_plus(secret)) if colon else None


class Turns:
    """Lets a few at a time do what costs much, and refuses more than can wait."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._turn = asyncio.Semaphore(at_once)
        self._room = at_once + waiting

    async def __aenter__(self) -> None:
        if not self._room:
            raise TooMany
        self._room -= 1
        try:
            await self._turn.acquire()
        except BaseException:
            self._room += 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()
        self._room += 1
