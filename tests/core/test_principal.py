import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.principal import MAX_CLAIMS_BYTES, Principal

words = st.text(st.characters(codec="utf-8"), max_size=20)
principals = st.builds(
    Principal,
    issuer=words.filter(bool),
    subject=words.filter(bool),
    name=words,
    email=words,
    groups=st.lists(words, max_size=4).map(tuple),
    client=words,
)


@given(principals)
def test_a_principal_is_read_back_from_its_claims(principal: Principal) -> None:
    assert Principal.parse(principal.dump()) == principal


def test_claims_are_canonical() -> None:
    principal = Principal("https://idp", "u1", "Zoë", "z@example.com", ("b", "a"), "chatgpt")
    assert (
        principal.dump()
        == (
            '{"client":"chatgpt","email":"z@example.com","groups":["b","a"],'
            '"issuer":"https://idp","name":"Zoë","subject":"u1"}'
        ).encode()
    )


@given(
    st.one_of(
        st.binary(), st.text().map(str.encode), st.dictionaries(words, words).map(json.dumps).map(str.encode)
    )
)
def test_any_bytes_are_claims_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        principal = Principal.parse(data)
        assert principal.issuer
        assert principal.subject


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"issuer":"i"}',
        b'{"issuer":"i","subject":""}',
        b'{"issuer":"","subject":"s"}',
        b'{"issuer":"i","subject":null}',
        b'{"issuer":"i","subject":7}',
        b'{"issuer":"i","subject":"s","groups":"admins"}',
        b'{"issuer":"i","subject":"\xff"}',
        b"[" * 100_000,
    ],
)
def test_half_an_identity_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Principal.parse(data)


def test_a_refusal_repeats_nothing_of_the_claims() -> None:
    with pytest.raises(ValueError, match="cannot be read") as caught:
        Principal.parse(b'{"issuer":"canary-i","subject":["canary-s"]}')
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_members_of_a_later_version_are_ignored() -> None:
    assert Principal.parse(b'{"issuer":"i","subject":"s","assurance":"high"}') == Principal("i", "s")


def test_claims_above_the_size_of_their_frame_are_refused_both_ways() -> None:
    groups = tuple(f"group-{n:06}" for n in range(5000))
    with pytest.raises(ValueError, match="too large"):
        Principal("i", "s", groups=groups).dump()
    with pytest.raises(ValueError, match="too large"):
        Principal.parse(b" " * (MAX_CLAIMS_BYTES + 1))


def test_a_session_is_bound_to_issuer_subject_and_client() -> None:
    assert Principal("i", "s", name="n", client="c").identity == ("i", "s", "c")
