"""Clients that sign, at the token endpoint: as ChatGPT does it, and as nobody should get away with."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock_relay.oauth import assertion, tokens
from penstock_relay.store import ClientRecord, Holder
from tests.harness.signing import key_set, public_jwk, token
from tests.relay.oauth.visiting import CALLBACK, DOCUMENT, ORIGIN, Browser, Place, document, place, query

CHATGPT = "https://chatgpt.com/oauth/client.json"
KEYS = "https://chatgpt.com/oauth/jwks.json"
BACK = "https://chatgpt.com/connector_platform_oauth_redirect"
NOW = 1_000_000
_counter = itertools.count()


def described(**more: object) -> bytes:
    return msgspec.json.encode(
        {
            "client_id": CHATGPT,
            "client_name": "ChatGPT",
            "redirect_uris": [BACK],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks_uri": KEYS,
            **more,
        }
    )


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made, asyncio.TaskGroup() as tasks:
        made.shelf.documents[CHATGPT] = described()
        made.shelf.documents[KEYS] = key_set("rsa")
        running = tasks.create_task(made.server.run())
        yield made
        running.cancel()


def signed(key: str = "rsa", client_id: str = CHATGPT, **more: Any) -> dict[str, str]:
    """The fields by which a client proves itself."""
    claims: dict[str, Any] = {
        "iss": client_id, "sub": client_id, "aud": f"{ORIGIN}/oauth/token", "jti": str(next(_counter)),
        "iat": NOW, "exp": NOW + 60, **more,
    }  # fmt: skip
    return {"client_assertion_type": assertion.TYPE, "client_assertion": token(key, **claims)}


async def code(relay: Place, client_id: str = CHATGPT, back: str = BACK) -> str:
    return await Browser(relay).code(query(client_id=client_id, redirect_uri=back))


async def connected(relay: Place) -> dict[str, Any]:
    status, found = await relay.redeem(await code(relay), redirect_uri=BACK, client_id=CHATGPT, **signed())
    assert status == 200, found
    return found


async def refreshed(relay: Place, refresh_token: str, **form: str) -> int:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, **form}
    return (await relay.token(**form))[0]


async def test_chatgpt_connects_refreshes_and_disconnects(relay: Place) -> None:
    found = await connected(relay)
    status, found = await relay.token(
        grant_type="refresh_token", refresh_token=found["refresh_token"], **signed(aud=ORIGIN)
    )  # and no client_id: the assertion says it
    assert status == 200
    reply = await relay.post("/oauth/revoke", {"token": found["refresh_token"], **signed()})
    assert reply.status == 200
    parsed = tokens.parse(found["access_token"])
    assert parsed is not None
    holder = await relay.store.grants.find_token(parsed[1])
    assert isinstance(holder, Holder)
    assert holder.grant.revoked_at is not None


@pytest.mark.parametrize(
    "proof",
    [
        {},
        {"client_secret": "x"},
        {"client_assertion": "x"},
        {"client_assertion_type": assertion.TYPE},
        {**signed(), "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {**signed(), "client_secret": "x"},
        signed("stranger", header={"kid": "rsa"}),
        signed(aud="https://evil.example/oauth/token"),
        signed(exp=NOW + 3600),
        signed(sub=DOCUMENT),
        signed(iss=DOCUMENT),
        signed(jti=None),
    ],
    ids=lambda proof: " ".join(proof) or "nothing",
)
async def test_without_a_good_proof_a_code_is_worth_nothing(relay: Place, proof: dict[str, str]) -> None:
    word = await code(relay)
    status, found = await relay.redeem(word, redirect_uri=BACK, client_id=CHATGPT, **proof)
    assert (status, found["error"]) == (401, "invalid_client")
    status, _ = await relay.redeem(word, redirect_uri=BACK, client_id=CHATGPT, **signed())
    assert status == 200  # and was not used up


async def test_a_proof_and_a_password_at_once_are_none(relay: Place) -> None:
    header = ("authorization", "Basic eDp5")
    status, _ = await relay.token(header, grant_type="refresh_token", refresh_token="x", **signed())
    assert status == 401


async def test_a_proof_is_good_once(relay: Place) -> None:
    found, proof = await connected(relay), signed()
    assert await refreshed(relay, found["refresh_token"], **proof) == 200
    assert await refreshed(relay, found["refresh_token"], **proof) == 401


async def test_a_client_that_signs_has_no_way_around_it(relay: Place) -> None:
    found = await connected(relay)
    assert await refreshed(relay, found["refresh_token"], client_id=CHATGPT) == 401
    del relay.shelf.documents[CHATGPT]  # not even while its document cannot be had
    assert await refreshed(relay, found["refresh_token"], client_id=CHATGPT) == 401


async def test_a_client_that_signs_stays_connected_while_its_document_cannot_be_had(relay: Place) -> None:
    found = await connected(relay)
    del relay.shelf.documents[CHATGPT]
    assert await refreshed(relay, found["refresh_token"], **signed()) == 200


async def test_a_client_whose_document_was_never_had_is_asked_to_come_again(relay: Place) -> None:
    word = await code(relay)
    kept = relay.shelf.documents.pop(CHATGPT)
    status, found = await relay.redeem(word, redirect_uri=BACK, client_id=CHATGPT, **signed())
    assert (status, found["error"]) == (503, "temporarily_unavailable")
    relay.shelf.documents[CHATGPT] = kept
    assert (await relay.redeem(word, redirect_uri=BACK, client_id=CHATGPT, **signed()))[0] == 200


async def test_keys_that_cannot_be_had_are_no_verdict(relay: Place) -> None:
    del relay.shelf.documents[KEYS]
    word = await code(relay)
    status, found = await relay.redeem(word, redirect_uri=BACK, client_id=CHATGPT, **signed())
    assert (status, found["error"]) == (503, "temporarily_unavailable")
    reply = await relay.post("/oauth/revoke", {"token": "x", **signed()})
    assert reply.status == 503


async def test_a_client_that_stops_signing_is_believed_by_its_document(relay: Place) -> None:
    await connected(relay)
    relay.shelf.documents[CHATGPT] = described(token_endpoint_auth_method="none")
    status, found = await relay.redeem(await code(relay), redirect_uri=BACK, client_id=CHATGPT)
    assert status == 200
    assert await relay.store.signing.find(CHATGPT) is None
    del relay.shelf.documents[CHATGPT]
    assert await refreshed(relay, found["refresh_token"], client_id=CHATGPT) == 200


async def test_a_client_that_does_not_sign_shows_no_proof(relay: Place) -> None:
    relay.shelf.documents[DOCUMENT] = document()
    proof = signed(client_id=DOCUMENT)
    status, _ = await relay.redeem(await code(relay, DOCUMENT, CALLBACK), **proof)
    assert status == 401


async def test_one_client_proves_nothing_for_another(relay: Place) -> None:
    word = await code(relay, DOCUMENT, CALLBACK)
    status, _ = await relay.redeem(word, client_id=DOCUMENT, **signed())
    assert status == 401
    without = {
        "grant_type": "authorization_code", "code": word, "redirect_uri": CALLBACK,
        "code_verifier": "v" * 50, **signed(),
    }  # fmt: skip
    status, found = await relay.token(**without)
    assert (status, found["error"]) == (400, "invalid_grant")


async def test_keys_within_the_document(relay: Place) -> None:
    relay.shelf.documents[CHATGPT] = msgspec.json.encode(
        {
            **msgspec.json.decode(described()),
            "jwks": {"keys": [public_jwk("ed")]},
            "jwks_uri": None,
            "token_endpoint_auth_signing_alg": "Ed25519",
        }
    )
    word = await code(relay)
    assert (await relay.redeem(word, redirect_uri=BACK, client_id=CHATGPT, **signed("rsa")))[0] == 401
    status, found = await relay.redeem(word, redirect_uri=BACK, client_id=CHATGPT, **signed("ed"))
    assert status == 200
    del relay.shelf.documents[CHATGPT]
    assert await refreshed(relay, found["refresh_token"], **signed("ed")) == 200


async def test_a_client_of_the_operator_that_signs(relay: Place) -> None:
    jwks = json.dumps({"keys": [public_jwk("ec")]}).encode()
    record = ClientRecord("app-one", "App", (BACK,), "private_key_jwt", None, NOW, None, True, jwks)
    await relay.store.clients.add(record, 0)
    word = await code(relay, "app-one")
    for proof in ({}, signed("rsa", "app-one"), {"client_secret": "x"}):
        assert (await relay.redeem(word, redirect_uri=BACK, client_id="app-one", **proof))[0] == 401
    status, _ = await relay.redeem(word, redirect_uri=BACK, client_id="app-one", **signed("ec", "app-one"))
    assert status == 200
    used = await relay.store.clients.find("app-one")
    assert used is not None
    assert used.used_at == NOW
    assert await refreshed(relay, "x", **signed("ec", "app-two")) == 401


async def test_a_client_of_the_operator_may_send_its_secret_in_either_way(relay: Place) -> None:
    record = ClientRecord(
        "app-two", "App", (BACK,), "client_secret_basic", tokens.digest("s"), NOW, preregistered=True
    )
    await relay.store.clients.add(record, 0)
    word = await code(relay, "app-two")
    for secret in ("", "wrong"):
        form = {"client_id": "app-two", "client_secret": secret, "redirect_uri": BACK}
        assert (await relay.redeem(word, **form))[0] == 401
    status, _ = await relay.redeem(word, client_id="app-two", client_secret="s", redirect_uri=BACK)
    assert status == 200


async def test_the_metadata_says_how_clients_sign_and_that_they_need_not(relay: Place) -> None:
    reply = await relay.get("/.well-known/oauth-authorization-server")
    found = msgspec.json.decode(reply.body)
    for endpoint in ("token", "revocation"):
        methods = found[f"{endpoint}_endpoint_auth_methods_supported"]
        assert methods[0] == "none"  # or Claude shows no document
        assert "private_key_jwt" in methods
        assert "RS256" in found[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
