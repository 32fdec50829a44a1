import base64
import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.joinstring import MAX_TEXT, BadJoinString, JoinString

GOOD = JoinString("wss://relay.example:8443", bytes(range(32)), bytes(range(16)), "plant")
join_strings = st.builds(
    JoinString,
    url=st.sampled_from(
        ["wss://relay.example:443", "wss://127.0.0.1:8443", "wss://[::1]:1", "wss://localhost:65535"]
    ),
    pin=st.binary(min_size=32, max_size=32),
    secret=st.binary(min_size=16, max_size=16),
    site=st.text("abcz09-", min_size=1, max_size=40),
)


def sealed(payload: bytes, prefix: str = "penstock1.") -> str:
    checksum = hashlib.sha256(prefix.encode() + payload).digest()[:4]
    return prefix + base64.urlsafe_b64encode(payload + checksum).decode().rstrip("=")


@given(join_strings)
def test_a_join_string_is_read_back(join: JoinString) -> None:
    text = join.dump()
    assert JoinString.parse(text) == join
    assert len(text) < 200
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_the_form_is_the_one_that_other_versions_read() -> None:
    assert GOOD.dump() == sealed(
        bytes(range(32)) + bytes(range(16)) + b"\x05plant" + b"wss://relay.example:8443"
    )


@given(join_strings, st.integers(0), st.characters(codec="utf-8"))
def test_one_slip_of_copying_is_found(join: JoinString, at: int, other: str) -> None:
    text = join.dump()
    at %= len(text)
    before, after = text[:at], text[at + 1 :]
    for slip in (before + other + after, before + after, before + other + text[at:]):
        if "".join(slip.split()) == text:
            continue
        with pytest.raises(BadJoinString, match=r"damaged|not a join string|newer relay"):
            JoinString.parse(slip)


@given(st.one_of(st.text(), st.text().map("penstock1.".__add__), st.binary().map(sealed)))
def test_any_text_is_a_join_string_or_a_bad_one(text: str) -> None:
    with contextlib.suppress(BadJoinString):
        assert JoinString.parse(text).dump() == "".join(text.split())


def test_white_space_of_a_wrapped_line_does_not_matter() -> None:
    text = GOOD.dump()
    assert JoinString.parse(f"  {text[:50]}\r\n   {text[50:]}\n") == GOOD


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a join string"),
        ("hello", "not a join string"),
        ("https://relay.example", "not a join string"),
        ("Penstock1.abc", "not a join string"),
        ("penstock2.abc", "newer relay"),
        ("penstock10.abc", "newer relay"),
        ("penstock1.", "damaged"),
        ("penstock1.abc", "damaged"),
        ("penstock1.abc=", "damaged"),
        ("penstock1." + "é" * 80, "damaged"),
        (GOOD.dump() + "=", "damaged"),
        (GOOD.dump().swapcase(), "not a join string"),
        ("penstock1." + "A" * 1_000_000, "damaged"),
        (sealed(b"x" * 48), "damaged"),
        (sealed(b"x" * 48 + b"\xffplant"), "wss://host:port"),
        (sealed(b"x" * 48 + b"\x05plant"), "wss://host:port"),
        (sealed(b"x" * 48 + b"\x05PLANTwss://relay:1"), "not usable"),
        (sealed(b"x" * 48 + b"\x05plant" + "wss://é:1".encode()), "damaged"),
    ],
)
def test_what_is_wrong_is_said_in_words(text: str, words: str) -> None:
    with pytest.raises(BadJoinString, match=words) as caught:
        JoinString.parse(text)
    assert str(caught.value).endswith(".")


def test_a_spelling_that_only_decodes_alike_is_refused() -> None:
    join = JoinString("wss://relay.example:18443", bytes(32), bytes(16), "plant")
    text = join.dump()
    assert len(text.removeprefix("penstock1.")) % 4 == 3  # the last character has two bits to spare
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]
    assert base64.urlsafe_b64decode(other[10:] + "=") == base64.urlsafe_b64decode(text[10:] + "=")
    with pytest.raises(BadJoinString, match="damaged"):
        JoinString.parse(other)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example:443",
        "ws://relay.example:443",
        "https://relay.example:443",
        "wss://relay.example",
        "wss://relay.example:0",
        "wss://relay.example:65536",
        "wss://relay.example:0443",
        "wss://relay.example:443/",
        "wss://relay.example:443?x",
        "wss://relay.example:443#x",
        "wss://user@relay.example:443",
        "wss://RELAY.example:443",
        "wss://:443",
        "wss://relay.example :443",
        "wss://relay\x00:443",
        "wss://rélay:443",
        "wss://[::1:443",
        "wss://" + "a" * 300 + ":443",
    ],
)
def test_only_a_bare_tunnel_address_is_taken(url: str) -> None:
    with pytest.raises(BadJoinString, match="wss://host:port"):
        JoinString(url, bytes(32), bytes(16), "plant")


def test_parts_of_the_wrong_size_are_refused() -> None:
    for pin, secret in ((bytes(31), bytes(16)), (bytes(32), bytes(15)), (bytes(33), bytes(16)), (b"", b"")):
        with pytest.raises(BadJoinString):
            JoinString("wss://relay:1", pin, secret, "plant")
    with pytest.raises(BadJoinString, match="reserved"):
        JoinString("wss://relay:1", bytes(32), bytes(16), "oauth")


def test_the_longest_join_string_can_be_read() -> None:
    join = JoinString("wss://" + "a" * 288 + ":65535", bytes(32), bytes(16), "s" * 40)
    assert len(join.dump()) <= MAX_TEXT
    assert JoinString.parse(join.dump()) == join


def test_the_secret_is_not_in_the_repr() -> None:
    secret = b"canary-canary-16"
    assert "canary" not in repr(JoinString("wss://relay:1", bytes(32), secret, "plant"))
