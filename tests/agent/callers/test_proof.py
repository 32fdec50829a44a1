"""What a hostile relay can do at trust level *caller*: nothing that the company's provider did not sign."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.allowance import Allowance, Later
from penstock.principal import Principal
from penstock.voucher import Voucher
from penstock_agent.callers import proof
from penstock_agent.callers.challenge import Challenges
from penstock_agent.callers.proof import LOGIN_S
from penstock_agent.callers.trust import NotProven
from tests.agent.callers.vouching import (
    ALICE,
    CHALLENGES,
    NOW,
    PROVIDER,
    SERVER,
    SITE,
    id_token,
    key_set,
    vouched,
)


def judged(caller: Principal, server: str = SERVER, site: str = SITE) -> None:
    proof.judge(proof.read(caller), caller, site, server, CHALLENGES, PROVIDER, key_set())


def test_what_the_provider_signed_is_believed() -> None:
    judged(vouched())


@pytest.mark.parametrize(
    "lie",
    [
        {"allowance": Allowance(("read", "drop"))},
        {"allowance": Allowance(("read",), later=Later.ALL)},
        {"allowance": Allowance(("read",), others=True)},
        {"allowance": None},
        {"subject": "bob-4"},
        {"issuer": "https://relay.example"},
        {"client": "https://evil.example/c"},
    ],
    ids=lambda lie: "-".join(lie),
)
def test_a_relay_cannot_widen_or_move_a_grant(lie: dict[str, Any]) -> None:
    with pytest.raises(NotProven, match="signed"):
        judged(replace(vouched(), **lie))


def test_claims_that_nobody_signs_are_the_relays_own() -> None:
    judged(replace(vouched(), name="Somebody", email="x@example.com", groups=("staff",)))


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "n" * 43},
        {"nonce": None},
        {"site": "oslo"},
        {"server": "git"},
        {"iss": "https://relay.example"},
        {"aud": "another-program"},
        {"aud": ["another-program"]},
        {"aud": ["penstock-relay", "another-program"], "azp": "another-program"},
        {"sub": "bob-4"},
        {"iat": None},
        {"exp": None},
        {"iat": NOW - 3600.0},
        {"iat": NOW + LOGIN_S + 60.0, "exp": NOW + LOGIN_S + 400.0},
        {"exp": NOW - LOGIN_S - 60.0, "iat": NOW - LOGIN_S - 90.0},
        {"key": "ec-of-the-relay"},
    ],
    ids=lambda changes: "-".join(f"{name}-{str(value)[:12]}" for name, value in changes.items()),
)
def test_a_token_that_is_not_this_login_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotProven):
        judged(vouched(**changes))


def test_a_relay_with_a_key_of_the_same_name_is_refused() -> None:
    forged = id_token(key="ec-2").split(".")
    header = id_token(key="ec").split(".")[0]
    caller = replace(
        ALICE, proof=Voucher(CHALLENGES.make(SERVER, NOW), ".".join([header, *forged[1:]])).dump()
    )
    with pytest.raises(NotProven, match="signature"):
        judged(caller)


def test_another_server_of_the_site_is_another_grant() -> None:
    with pytest.raises(NotProven):
        judged(vouched(), server="git")


@pytest.mark.parametrize("data", [b"", b"{}", b"junk", b'{"challenge":"c","id_token":"not a token"}'])
def test_no_proof_or_one_that_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(NotProven, match="Connect this application again"):
        judged(replace(ALICE, proof=data))


def test_a_challenge_of_another_site_is_not_one_of_ours() -> None:
    other = Challenges(b"o" * 32, SITE).make(SERVER, NOW)
    with pytest.raises(NotProven, match="was not made with this agent"):
        judged(vouched(challenge=other))
    with pytest.raises(NotProven, match="was not made with this agent"):
        proof.ends(Voucher(other, "t"), SERVER, CHALLENGES, PROVIDER, NOW)


def test_a_grant_ends_when_the_site_says_so() -> None:
    voucher = proof.read(vouched())
    last = NOW + PROVIDER.max_life
    assert proof.ends(voucher, SERVER, CHALLENGES, PROVIDER, NOW) == last
    assert proof.ends(voucher, SERVER, CHALLENGES, PROVIDER, last - 1) == last
    with pytest.raises(NotProven, match="has ended"):
        proof.ends(voucher, SERVER, CHALLENGES, PROVIDER, last)
