import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from penstock.ledgerhead import (
    MAX_AT_MS,
    MAX_FILE,
    MAX_N,
    BadHead,
    LedgerHead,
    as_json,
    load,
    moment,
    of_frame,
    pack,
    sign,
    signed_bytes,
    to_frame,
    unpack,
    verify,
)
from tests.harness.jsontext import json_texts

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
HEAD = sign(KEY, 41, b"h" * 32, 1_800_000_000_123)

heads = st.builds(
    sign,
    st.binary(min_size=32, max_size=32).map(Ed25519PrivateKey.from_private_bytes),
    st.integers(0, MAX_N),
    st.binary(min_size=32, max_size=32),
    st.integers(0, MAX_AT_MS),
)


@given(heads)
def test_a_head_is_the_same_packed_as_a_frame_and_as_a_file(head: LedgerHead) -> None:
    assert verify(head)
    assert unpack(pack(head)) == head
    assert of_frame(to_frame(head)) == head
    assert to_frame(head).encode()[10:] == pack(head)
    assert load(json.dumps(as_json(head, "plant", "a1")).encode()) == (head,)


@given(st.integers(0, 143), st.integers(1, 255))
def test_a_head_with_any_byte_changed_is_not_signed(at: int, change: int) -> None:
    data = bytearray(pack(HEAD))
    data[at] ^= change
    assert not verify(unpack(bytes(data)))


@pytest.mark.parametrize(
    "bad",
    [
        replace(HEAD, key=HEAD.key[:31]),
        replace(HEAD, hash=HEAD.hash + b"x"),
        replace(HEAD, n=MAX_N + 1),
        replace(HEAD, n=-1),
        replace(HEAD, at_ms=MAX_AT_MS + 1),
        replace(HEAD, signature=b""),
    ],
)
def test_what_is_out_of_its_range_is_no_head(bad: LedgerHead) -> None:
    assert not verify(bad)
    with pytest.raises(BadHead):
        pack(bad)


def test_a_head_that_could_not_be_sent_is_not_signed() -> None:
    with pytest.raises(BadHead):
        sign(KEY, MAX_N + 1, b"h" * 32, 0)


def test_a_packed_head_has_its_length() -> None:
    with pytest.raises(BadHead, match="144 bytes"):
        unpack(pack(HEAD)[:-1])


def test_the_signature_speaks_of_all_fields_and_of_nothing_else() -> None:
    assert signed_bytes(HEAD) == signed_bytes(replace(HEAD, signature=b""))
    assert signed_bytes(HEAD) == (
        b"penstock ledger head v1\0" + HEAD.key + (41).to_bytes(8, "big") + b"h" * 32
        + (1_800_000_000_123).to_bytes(8, "big")
    )  # fmt: skip


# -- as a file ---------------------------------------------------------------------------------------------


def test_a_file_has_these_members() -> None:
    file = as_json(HEAD, "plant", "a1")
    assert list(file) == ["key", "n", "hash", "at", "signature", "site", "agent"]
    assert (file["n"], file["hash"]) == (41, (b"h" * 32).hex())
    assert file["at"] == moment(HEAD) == "2027-01-15T08:00:00.123Z"
    assert (len(str(file["key"])), len(str(file["signature"]))) == (43, 86)


def test_a_file_may_hold_several_and_needs_no_site() -> None:
    older = sign(KEY, 1, b"g" * 32, 0)
    file = [as_json(HEAD, "plant", "a1"), as_json(older, "plant", "a1")]
    assert load(json.dumps(file).encode()) == (HEAD, older)
    bare = {name: value for name, value in file[0].items() if name not in ("site", "agent")}
    assert load(json.dumps(bare).encode()) == (HEAD,)


@pytest.mark.parametrize(
    "change",
    [
        {"key": "?"}, {"key": "a"}, {"n": "41"}, {"n": 1.5}, {"n": MAX_N + 1}, {"hash": "xy"}, {"hash": None},
        {"at": "yesterday"}, {"at": "2027-01-15T08:00:00"}, {"at": 0}, {"signature": "é"},
    ],
)  # fmt: skip
def test_a_file_that_says_something_else_is_refused_with_the_command_that_makes_one(change: Any) -> None:
    file = json.dumps(as_json(HEAD, "plant", "a1") | change).encode()
    with pytest.raises(BadHead, match="penstock-relay agent heads SITE AGENT --json"):
        load(file)


def test_a_file_that_is_too_large_is_not_read() -> None:
    with pytest.raises(BadHead, match="too large"):
        load(b" " * (MAX_FILE + 1))


@given(json_texts | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_garbage_is_no_head(text: str) -> None:
    with suppress(BadHead):
        load(text.encode("utf-8", "surrogatepass"))


# -- vectors -----------------------------------------------------------------------------------------------

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "heads.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_a_head_is_what_its_vector_says(vector: dict[str, Any]) -> None:
    head = LedgerHead(
        bytes.fromhex(vector["ledger"]), int(vector["n"]), bytes.fromhex(vector["hash"]),
        int(vector["at_ms"]), bytes.fromhex(vector["signature"]),
    )  # fmt: skip
    assert verify(head) is vector["good"]
    if vector["good"]:
        assert signed_bytes(head).hex() == vector["signed"]
