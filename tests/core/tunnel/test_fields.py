import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.fields import Key, Reader, Writer, member
from penstock.tunnel.frames import Method
from penstock.tunnel.limits import MAX_DATA, MAX_METADATA

text = st.text(st.characters(codec="utf-8"), max_size=40)


@given(
    st.integers(0, 2**8 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    text,
    st.binary(max_size=300),
    st.lists(text, max_size=5).map(tuple),
    st.lists(st.tuples(text, text), max_size=5).map(tuple),
)
def test_fields_are_read_as_they_were_written(
    a: int, b: int, c: int, d: int, e: str, f: bytes, g: tuple[str, ...], h: tuple[tuple[str, str], ...]
) -> None:
    w = Writer().u8(a).u16(b).u32(c).u64(d).text8(e).text16(e).bytes16(f).names(g).headers(h)
    r = Reader(w.done())
    assert (r.u8(), r.u16(), r.u32(), r.u64()) == (a, b, c, d)
    assert (r.text8(), r.text16(), r.bytes16(), r.names(), r.headers()) == (e, e, f, g, h)
    r.finish()


@given(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            (
                "u8",
                "u16",
                "u32",
                "u64",
                "text8",
                "text16",
                "bytes16",
                "key",
                "names",
                "headers",
                "rest",
                "data",
                "finish",
            )
        ),
        max_size=8,
    ),
)
def test_any_bytes_are_fields_or_malformed(body: bytes, reads: list[str]) -> None:
    r = Reader(b"before" + body + b"behind", 6, 6 + len(body))
    codes = set()
    try:
        for read in reads:
            getattr(r, read)()
    except RemoteError as error:
        codes.add(error.code)
    assert codes <= {CloseCode.MALFORMED}


@pytest.mark.parametrize(
    "read", ["u8", "u16", "u32", "u64", "text8", "text16", "bytes16", "key", "names", "headers"]
)
def test_a_reader_does_not_look_behind_its_frame(read: str) -> None:
    r = Reader(b"\0" * 100, 50, 50)
    with pytest.raises(RemoteError, match="shorter than its fields"):
        getattr(r, read)()


def test_metadata_is_measured_from_the_start_of_the_body() -> None:
    r = Reader(bytes(MAX_METADATA + 20), 10)
    r.fixed(MAX_METADATA)
    assert r.data() == bytes(10)
    r = Reader(bytes(MAX_METADATA + 20), 10)
    r.fixed(MAX_METADATA + 1)
    with pytest.raises(RemoteError, match="64 KiB"):
        r.data()


def test_payload_of_more_than_16_kib_is_malformed() -> None:
    assert len(Reader(bytes(MAX_DATA)).data()) == MAX_DATA
    with pytest.raises(RemoteError, match="16 KiB"):
        Reader(bytes(MAX_DATA + 1)).data()


@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.u8(256),
        lambda w: w.u16(2**16),
        lambda w: w.u32(2**32),
        lambda w: w.u64(2**64),
        lambda w: w.u8(-1),
        lambda w: w.pack(struct.Struct("!BI"), 1, 2**32),
        lambda w: w.text8("é" * 128),
        lambda w: w.text16("x" * 65_536),
        lambda w: w.text8("\ud800"),
        lambda w: w.text16("\udce9"),
        lambda w: w.bytes16(bytes(65_536)),
        lambda w: w.fixed(b"123", 4),
        lambda w: w.names(("x",) * 65_536),
        lambda w: w.headers((("x", "y" * 60_000),) * 2).done(),
    ],
)
def test_a_value_that_does_not_fit_is_our_own_error(write: object) -> None:
    assert callable(write)
    with pytest.raises(LocalError):
        write(Writer())


def test_a_number_outside_an_enum_is_malformed() -> None:
    assert member(Method, 2) is Method.POST
    with pytest.raises(RemoteError, match="9 is no Method"):
        member(Method, 9)


def test_a_key_is_shown_short_enough_for_a_log() -> None:
    assert str(Key(b"\x01" * 16, 7)) == "01010101.7"
