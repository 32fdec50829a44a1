"""Tokens of others: which are believed. tests/data/jwt_attacks.json has those that are not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import jwk, jwt
from penstock.jwk import KeySet
from penstock.jwt import BadToken, Claims
from tests.harness.signing import (
    AUDIENCE,
    ISSUER,
    NOW,
    b64,
    claims,
    compact,
    hmac_secret,
    key_set,
    patched,
    private,
    public_jwk,
    token,
)

ATTACKS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "data" / "jwt_attacks.json").read_text(encoding="utf-8")
)
PLAIN_HEADER: Final = b'{"alg":"RS256","kid":"rsa"}'


@pytest.fixture(scope="module")
def known() -> KeySet:
    listed = [
        public_jwk("rsa"),
        public_jwk("rsa-2"),
        public_jwk("rsa-only", alg="RS256"),
        public_jwk("ec"),
        public_jwk("ed"),
        public_jwk("encryption", use="enc"),
        public_jwk("weak"),
        {**public_jwk("private"), "d": "AQAB"},
        {"kty": "oct", "kid": "secret", "k": b64(hmac_secret("oct"))},
    ]
    return jwk.parse(json.dumps({"keys": listed}).encode())


def verify(text: str, known: KeySet, **more: Any) -> Claims:
    usual: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ("RS256", "ES256", "Ed25519"),
        "now": NOW,
    }
    return jwt.verify(text, known, **{**usual, **more})


def refused(text: str, known: KeySet, **more: Any) -> str:
    with pytest.raises(BadToken) as caught:
        verify(text, known, **more)
    assert str(caught.value) == caught.value.reason  # nothing of the token
    return caught.value.reason


def altered(text: str, how: str) -> str:
    header, payload, signature = text.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    other = token(sub="root").split(".")
    table: dict[str, Callable[[], str]] = {
        "trailing_space": lambda: text + " ",
        "newline": lambda: f"{header}.{payload}\n.{signature}",
        "padding": lambda: text + "==",
        "plain_base64": lambda: f"{header}.{payload}.{base64.b64encode(raw).decode().rstrip('=')}+/",
        "four_parts": lambda: text + ".x",
        "five_parts": lambda: text + ".x.x",
        "two_parts": lambda: f"{header}.{payload}",
        "no_signature": lambda: f"{header}.{payload}.",
        "no_payload": lambda: f"{header}..{signature}",
        "empty": lambda: "",
        "json": lambda: json.dumps({"protected": header, "payload": payload, "signature": signature}),
        "noncanonical": lambda: text[:-1] + _same_bits(text[-1]),
        "flip_signature": lambda: f"{header}.{payload}.{b64(bytes((raw[0] ^ 1,)) + raw[1:])}",
        "other_subject": lambda: f"{header}.{other[1]}.{signature}",
        "other_header": lambda: f"{b64(PLAIN_HEADER)}.{payload}.{signature}",
        "other_signature": lambda: f"{header}.{payload}.{other[2]}",
        "long_signature": lambda: f"{header}.{payload}.{b64(raw + raw)}",
        "latin1": lambda: compact(PLAIN_HEADER, b'{"sub":"\xe4"}', "rsa"),
    }
    return table[how]()


def _same_bits(character: str) -> str:
    """Another character whose bits beyond the last byte differ: decoders that do not look read it alike."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) ^ 1]


def made(row: dict[str, Any]) -> str:
    usual = {"alg": "RS256", "kid": "rsa", "typ": "JWT"}
    header = json.dumps(patched(usual, row.get("header", {})))
    payload = json.dumps(claims(**row.get("claims", {})))
    text = compact(
        row.get("raw_header", header).encode(),
        row.get("raw_claims", payload).encode(),
        row.get("sign", "rsa"),
    )
    return altered(text, row["alter"]) if "alter" in row else text


def test_the_table_is_large_and_has_no_row_twice() -> None:
    names = [row["what"] for row in ATTACKS]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: row["what"])
def test_an_attack_is_refused_for_its_reason(row: dict[str, Any], known: KeySet) -> None:
    text = made(row)
    allowed = {"algorithms": row["allow"]} if "allow" in row else {}
    if row["reason"] == "configuration":
        with pytest.raises(ValueError, match="asymmetric"):
            verify(text, known, **allowed)
    else:
        assert refused(text, known, **allowed) == row["reason"]


def test_the_token_that_all_attacks_start_from_is_good(known: KeySet) -> None:
    found = verify(made({}), known)
    assert (found.issuer, found.subject, found.audience) == (ISSUER, "anna", (AUDIENCE,))
    assert (found.expires, found.issued) == (NOW + 600, NOW)
    assert (found.jti, found.nonce, found.scopes, found.groups, found.azp) == ("", "", (), (), "")
    assert (found.name, found.email, found.email_verified) == ("", "", False)


@pytest.mark.parametrize("key", ["rsa", "rsa-only", "ec", "ed"])
def test_every_kind_of_key_verifies_its_own_algorithm(key: str, known: KeySet) -> None:
    assert verify(token(key), known).subject == "anna"


def test_the_old_name_of_ed25519_is_understood_where_it_is_allowed(known: KeySet) -> None:
    text = token("ed", {"alg": "EdDSA"})
    assert verify(text, known, algorithms=["EdDSA"]).subject == "anna"
    assert refused(text, known) == "algorithm"


def test_a_set_of_one_key_needs_no_name_for_it() -> None:
    alone = jwk.parse(key_set("rsa"))
    assert verify(token(header={"kid": None}), alone).subject == "anna"
    assert refused(token("stranger", {"kid": None}), alone) == "signature"


def test_two_keys_of_one_name_are_both_tried() -> None:
    twins = jwk.parse(json.dumps({"keys": [public_jwk("rsa-2", kid="rsa"), public_jwk("rsa")]}).encode())
    assert verify(token(), twins).subject == "anna"


@pytest.mark.parametrize(
    ("claim", "value", "good"),
    [
        ("exp", NOW - 29, True),
        ("exp", NOW - 30, False),
        ("nbf", NOW + 30, True),
        ("nbf", NOW + 31, False),
        ("iat", NOW + 30, True),
        ("iat", NOW + 31, False),
        ("exp", NOW + 0.5, True),
    ],
)
def test_clocks_may_differ_by_half_a_minute(claim: str, value: float, good: bool, known: KeySet) -> None:
    changed: dict[str, Any] = {claim: value}
    text = token(**changed)
    if good:
        assert verify(text, known).subject == "anna"
    else:
        assert refused(text, known) in ("expired", "not_yet")


def test_one_audience_of_several_is_enough_on_either_side(known: KeySet) -> None:
    text = token(aud=["account", AUDIENCE])
    assert verify(text, known).audience == ("account", AUDIENCE)
    assert verify(token(aud="b"), known, audience=("a", "b")).audience == ("b",)


def test_an_issuer_may_have_two_names_and_both_are_exact(known: KeySet) -> None:
    names = ("https://issuer.example/v2.0", ISSUER)
    assert verify(token(), known, issuer=names).issuer == ISSUER
    assert refused(token(iss="https://issuer.example/v1"), known, issuer=names) == "issuer"


@pytest.mark.parametrize("nothing", ["", (), [""], [ISSUER, ""]])
@pytest.mark.parametrize("name", ["issuer", "audience"])
def test_a_caller_that_would_let_every_token_pass_is_told(name: str, nothing: Any, known: KeySet) -> None:
    with pytest.raises(ValueError, match="any token pass"):
        verify(token(), known, **{name: nothing})


@pytest.mark.parametrize("more", [{"algorithms": ()}, {"algorithms": ["none"]}, {"required": ("iss",)}])
def test_a_caller_that_would_believe_too_much_is_told(more: dict[str, Any], known: KeySet) -> None:
    with pytest.raises(ValueError, match=r"asymmetric|needs"):
        verify(token(), known, **more)


def test_iat_may_be_absent_where_it_is_not_required(known: KeySet) -> None:
    text = token(iat=None)
    assert verify(text, known, required=("iss", "sub", "aud", "exp")).issued is None
    assert refused(text, known) == "missing"


def test_the_type_is_compared_without_case_and_prefix(known: KeySet) -> None:
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert verify(token(header={"typ": typ}), known, typ=jwt.ACCESS).subject == "anna"
    assert verify(token(header={"typ": None}), known).subject == "anna"
    assert refused(token(), known, typ={"at+jwt"}) == "type"


@pytest.mark.parametrize(
    ("more", "scopes"),
    [
        ({"scope": "mcp  files mcp"}, ("mcp", "files")),
        ({"scp": "mcp files"}, ("mcp", "files")),
        ({"scp": ["mcp", "files"]}, ("mcp", "files")),
        ({"scope": ["mcp"]}, ("mcp",)),
        ({"scope": "mcp", "scp": "other"}, ("mcp",)),
        ({"scope": ""}, ()),
    ],
)
def test_scopes_in_every_spelling(more: dict[str, Any], scopes: tuple[str, ...], known: KeySet) -> None:
    assert verify(token(**more), known).scopes == scopes


def test_who_the_user_is(known: KeySet) -> None:
    found = verify(
        token(name="Anna Ek", email="anna@example.com", email_verified=True, groups=["a b", "c"], azp="x",
              jti="1", nonce="n"), known,
    )  # fmt: skip
    assert (found.name, found.email, found.email_verified) == ("Anna Ek", "anna@example.com", True)
    assert (found.groups, found.azp, found.jti, found.nonce) == (("a b", "c"), "x", "1", "n")


@pytest.mark.parametrize("word", ["true", 1, "1", [True], None])
def test_an_address_is_verified_only_by_true(word: Any, known: KeySet) -> None:
    assert not verify(token(email="a@example.com", email_verified=word), known).email_verified


@pytest.mark.parametrize("groups", ["all", {"a": 1}, [["a"]], [1], 7])
def test_groups_of_another_form_are_no_groups(groups: Any, known: KeySet) -> None:
    assert verify(token(groups=groups), known).groups == ()


def test_a_name_that_cannot_be_shown_is_left_out(known: KeySet) -> None:
    found = verify(token(name="Anna\u202egro", email=["a@example.com"]), known)
    assert (found.name, found.email) == ("", "")


def test_every_claim_can_be_read_and_none_written(known: KeySet) -> None:
    more: dict[str, Any] = {"realm_access": {"roles": ["ops"]}, "https://x.example/g": ["a"]}
    found = verify(token(tid="7", **more), known)
    assert found.extra["tid"] == "7"
    assert jwt.claim(found.extra, "realm_access.roles") == ["ops"]
    assert jwt.claim(found.extra, "https://x.example/g") == ["a"]
    assert jwt.claim(found.extra, "realm_access.roles.x") is None
    assert jwt.claim(found.extra, "nothing") is None
    with pytest.raises(TypeError):
        found.extra["tid"] = "8"  # type: ignore[index]


def test_what_a_token_says_before_it_is_believed() -> None:
    found = jwt.unverified(token("stranger", iss="https://evil.example"))
    assert (found.algorithm, found.kid, found.typ) == ("RS256", "stranger", "jwt")
    assert found.issuer == "https://evil.example"
    assert jwt.unverified(token(iss=7)).issuer is None


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{0,40}){2}", fullmatch=True))
def test_any_text_is_refused_and_raises_nothing_else(text: str) -> None:
    with pytest.raises(BadToken):
        verify(text, KeySet(()))


@given(
    st.dictionaries(
        st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "scope", "groups", "name", "azp", "jti"]),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
        | st.lists(st.text(max_size=4), max_size=3),
    )
)  # fmt: skip
def test_whatever_a_key_has_signed_is_claims_or_a_bad_token(more: dict[str, Any]) -> None:
    signed = jwk.parse(key_set("ed"))
    payload = json.dumps({**claims(), **more}).encode()
    text = compact(b'{"alg":"Ed25519","kid":"ed"}', payload, "ed")
    try:
        found = verify(text, signed)
    except BadToken:
        return
    assert found.issuer == ISSUER
    assert AUDIENCE in found.audience
    assert found.subject
    assert found.expires > NOW - jwt.LEEWAY_S


def test_private_keys_are_of_the_run() -> None:
    assert private("rsa") is private("rsa")
    assert private("rsa") is not private("rsa-2")
