from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tunnel.codec import decode
from penstock.tunnel.errors import LocalError, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import HEADER, Data, Frame, Head, Hello, Open, Principal
from tests.core.tunnel.strategies import frames, u32
from tests.harness import wire

KEY = Key(bytes(16), 1)


@given(frames, u32)
def test_a_frame_is_decoded_as_it_was_encoded(frame: Frame, link: int) -> None:
    data = frame.encode(link)
    length, kind, flags, at = HEADER.unpack_from(data)
    assert (length, kind, at) == (len(data) - 10, frame.type, link)
    assert decode(kind, flags, data[10:]) == frame


@given(frames, st.binary(min_size=1, max_size=20))
def test_only_hello_and_welcome_may_have_bytes_appended(frame: Frame, more: bytes) -> None:
    data = frame.encode()
    kind, flags, body = data[4], data[5], data[10:] + more
    if frame.type.name in ("HELLO", "WELCOME"):
        assert decode(kind, flags, body) == frame
        return
    with suppress(RemoteError):
        assert decode(kind, flags, body) != frame  # its payload may be longer


@given(frames.filter(lambda frame: len(frame.encode()) > 10))
def test_a_frame_that_is_cut_short_is_malformed_or_another(frame: Frame) -> None:
    data = frame.encode()
    with suppress(RemoteError):
        assert decode(data[4], data[5], data[10:-1]) != frame


def test_a_head_is_encoded_from_parts_as_it_is_whole() -> None:
    head = Head(KEY, 200, (("content-type", "text/plain"),), b"data", True)
    assert Head.frame(Head.metadata(KEY, 200, head.headers), b"data", True) == head.encode()


def test_the_parts_of_a_principal() -> None:
    content = Principal.pack(b"claims", b"grant", b"token")
    assert Principal.unpack(content) == (b"claims", b"grant", b"token")
    with pytest.raises(RemoteError):
        Principal.unpack(content + b"x")


def test_what_a_peer_would_refuse_is_not_encoded() -> None:
    with pytest.raises(LocalError, match="16 KiB"):
        Data(KEY, 0, bytes(16 * 1024 + 1)).encode()
    content = Principal.pack(bytes(48 * 1024 - 5))
    with pytest.raises(LocalError, match="48 KiB"):
        Principal(sha256(content).digest(), content).encode()
    request = wire.request()
    with pytest.raises(LocalError, match="32 bytes"):
        Open(KEY, 1, "s", "f", request.method, request.purpose, b"short", 1, 0, 0, ()).encode()


def test_every_frame_type_is_a_property_of_its_class() -> None:
    assert Hello.type.name == "HELLO"
