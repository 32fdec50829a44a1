"""Tokens of clouds and services, put together here so that none stands in this file."""

from __future__ import annotations

import pytest

from penstock_agent.gate.redaction.tokens import find

WORD = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9nO2qR5"
UPPER = "ABCDEFGH234567AB"
HEX = "0123456789abcdef" * 4
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
AZURE = "Ab+/" * 21 + "Ab=="
JWT = "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0."

TOKENS = [
    "AK" + f"IA{UPPER}",
    "AS" + f"IA{UPPER}",
    "AI" + f"za{WORD[:35]}",
    "ya" + f"29.{WORD}",
    "GOC" + f"SPX-{WORD[:28]}",
    *("gh" + f"{kind}_{WORD[:36]}" for kind in "pousr"),
    "github" + f"_pat_{WORD}_{WORD}",
    "gl" + f"pat-{WORD[:20]}",
    "gl" + f"pat-{WORD[:27]}.01.0a1b2c3d4",
    "gl" + f"rt-{WORD[:20]}",
    "xo" + f"xb-1234567890-{WORD[:24]}",
    "xa" + f"pp-1-A012345-123456-{WORD}",
    "sk" + f"_live_{WORD[:24]}",
    "rk" + f"_test_{WORD[:24]}",
    "wh" + f"sec_{WORD[:32]}",
    "sk" + f"-{WORD[:40]}",
    "sk" + f"-proj-{WORD}_{WORD}",
    "sk" + f"-ant-api03-{WORD}-{WORD}AA",
    "np" + f"m_{WORD[:36]}",
    "py" + f"pi-AgEIcHlwaS5vcmc{WORD}",
    "h" + f"f_{WORD[:34]}",
    "S" + f"G.{WORD[:22]}.{WORD[:43]}",
    "dop" + f"_v1_{HEX}",
    f"{JWT}SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    JWT,
    "ps" + f"t_abcde12345_{WORD[:43]}",
    "ps" + f"a_abcdefgh12345678_{WORD[:43]}",
    "pen" + f"stock1.{WORD}{WORD}",
]


def taken(text: str) -> set[str]:
    return {text[start:end] for start, end in find(text)}


@pytest.mark.parametrize("token", TOKENS, ids=[token[:6] for token in TOKENS[:-1]] + ["join string"])
def test_a_token_is_found_wherever_it_stands(token: str) -> None:
    for before, after in [
        ("", ""), ("token=", "&x=1"), ('{"key":"', '"}'), ("Bearer ", "\n"), ("a\n-", " b"), ("\\n", "\\n"),
        ("https://user:", "@example.com/"), ("(", ")."), ("\1", "\0"),
    ]:  # fmt: skip
        assert any(token.startswith(one) for one in taken(f"{before}{token}{after}")), (before, after)


@pytest.mark.parametrize("token", TOKENS, ids=[token[:6] for token in TOKENS[:-1]] + ["join string"])
def test_the_same_inside_of_a_word_is_none(token: str) -> None:
    assert not any(token in one for one in taken(f"x{token}"))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"aws_secret_access_key = {AWS_SECRET}", AWS_SECRET),
        (f"AWS_SECRET_ACCESS_KEY={AWS_SECRET}\n", AWS_SECRET),
        (f'"SecretAccessKey": "{AWS_SECRET}",', AWS_SECRET),
        (f"<SecretAccessKey>{AWS_SECRET}</SecretAccessKey>", AWS_SECRET),
        (f"secretAccessKey\1{AWS_SECRET}\0", AWS_SECRET),
        ("AK" + f"IA{UPPER},{AWS_SECRET}", AWS_SECRET),
        (f"aws_session_token={WORD * 3}==", f"{WORD * 3}=="),
        ("DefaultEndpointsProtocol=https;Account" + f"Key={AZURE};End", "Account" + f"Key={AZURE}"),
        (f'"keyName": "key1", "value": "{AZURE}"', AZURE),
        (f"storage_key\1{AZURE}\0", AZURE),
        (f"https://x.blob/y?se=2027&sig={WORD[:43]}%3D", f"sig={WORD[:43]}%3D"),
        ("AZURE_CLIENT_SECRET=abC8" + f"Q~{WORD[:34]}", "abC8" + f"Q~{WORD[:34]}"),
        ("https://hooks.slack.com/services/T012/B012/" + WORD, "hooks.slack.com/services/T012/B012/" + WORD),
    ],
)
def test_a_secret_without_a_prefix_is_known_by_its_name(text: str, secret: str) -> None:
    assert secret in taken(text)


def test_the_key_of_a_google_service_account_is_one() -> None:
    key = "-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----"
    assert key in taken('{"type":"service_account","private_key": "' + key + '\\n"}')
    assert taken(key) == set()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A task-based approach, with-sk-prefix-that-is-only-a-word-with-many-dashes",
        f"sha512-{AZURE}",
        f"commit {HEX[:40]}",
        AWS_SECRET,
        "123e4567-e89b-12d3-a456-426614174000",
        "ghp_short npm_install sk-learn xoxo pypi-server hf_hub AKIA",
        "eyJhbGciOiJIUzI1NiJ9 is the head of a token, and no token",
        f"secret key: {HEX[:40]}0",
        "please value your access key",
    ],
)
def test_what_only_looks_a_little_like_one_stays(text: str) -> None:
    assert find(text) == []
