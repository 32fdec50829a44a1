import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.voucher import MAX_BYTES, Voucher, nonce

parts = st.tuples(st.text(), st.text(), st.text(), st.binary(), st.text())


@given(st.text(), st.text())
def test_it_is_read_back_as_it_was(challenge: str, id_token: str) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        voucher = Voucher(challenge, id_token)
        assert Voucher.parse(voucher.dump()) == voucher


@given(parts, parts)
def test_another_grant_has_another_nonce(
    one: tuple[str, str, str, bytes, str], other: tuple[str, str, str, bytes, str]
) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        assert (nonce(*one) == nonce(*other)) == (one == other)


def test_what_moves_from_one_part_to_the_next_is_another_grant() -> None:
    grants = [
        ("ab", "c", "d", b"e", "f"),
        ("a", "bc", "d", b"e", "f"),
        ("a", "b", "cd", b"e", "f"),
        ("a", "b", "c", b"de", "f"),
        ("a", "b", "c", b"d", "ef"),
    ]
    assert len({nonce(*grant) for grant in grants}) == len(grants)


def test_a_nonce_is_what_providers_take() -> None:
    found = nonce("oslo", "files", "https://claude.ai/c", b"{}", "challenge")
    assert len(found) == 43
    assert found.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"challenge":"c"}', b'{"challenge":"c","id_token":1}', b" " * (MAX_BYTES + 1),
     b'{"challenge":"c","id_token":"t","more":1}'],
)  # fmt: skip
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="The proof"):
        Voucher.parse(data)
