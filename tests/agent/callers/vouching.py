"""A site that believes its company's provider only, that provider, and relays that are honest or are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from penstock import jwk
from penstock.allowance import Allowance
from penstock.jwk import KeySet
from penstock.principal import Principal
from penstock.voucher import Voucher, nonce
from penstock_agent.callers.challenge import Challenges
from penstock_agent.callers.proof import Provider
from tests.harness import signing

SITE, SERVER = "plant", "files"
PROVIDER = Provider("https://login.example", "penstock-relay", 30 * 86_400.0)
CHALLENGES = Challenges(b"k" * 32, SITE)
NOW = float(signing.NOW)
ALICE = Principal(
    PROVIDER.issuer, "alice-17", name="Alice", client="https://claude.ai/c", allowance=Allowance(("read",))
)


def key_set(*names: str) -> KeySet:
    return jwk.parse(signing.key_set(*(names or ("ec",))))


def id_token(
    principal: Principal = ALICE,
    challenge: str | None = None,
    *,
    key: str = "ec",
    site: str = SITE,
    server: str = SERVER,
    **changes: Any,
) -> str:
    """What the provider issues when it is asked to sign this grant; `changes`: claims, None for without."""
    challenge = challenge or CHALLENGES.make(SERVER, NOW)
    claims = {
        "iss": PROVIDER.issuer,
        "sub": principal.subject,
        "aud": PROVIDER.audience,
        "iat": NOW + 20,
        "exp": NOW + 320,
        "nonce": nonce(site, server, principal.client, principal.dump_grant(), challenge),
        **changes,
    }
    return signing.token(key, **claims)


def vouched(principal: Principal = ALICE, **changes: Any) -> Principal:
    """The caller as an honest relay brings it, with whatever the provider was made to sign instead."""
    challenge = changes.pop("challenge", None) or CHALLENGES.make(SERVER, NOW)
    token = id_token(principal, challenge, **changes)
    return replace(principal, proof=Voucher(challenge, token).dump())
