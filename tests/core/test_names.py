import contextlib
import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.names import RESERVED, AgentId, BadName, parse_name, tag_of

usable = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=40).filter(
    lambda text: text not in RESERVED
)


@given(st.text())
def test_any_text_is_a_name_or_a_bad_name(text: str) -> None:
    try:
        assert parse_name(text) == text
    except BadName:
        assert text in RESERVED or not (
            0 < len(text) <= 40 and set(text) <= set(string.ascii_lowercase + string.digits + "-")
        )


@pytest.mark.parametrize("text", ["", "a" * 41, "A", "a.b", "a_b", "a/b", "é", "a\n", "\u0661", "ﬀ"])
def test_a_name_outside_the_alphabet_or_length_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadName, match=r"The site .* is not usable: take 1 to 40"):
        parse_name(text, "site")


def test_forty_characters_are_a_name() -> None:
    assert parse_name("a" * 40) == "a" * 40


@pytest.mark.parametrize("text", sorted(RESERVED))
def test_a_reserved_name_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadName, match="reserved"):
        parse_name(text)


def test_a_refused_name_cannot_steer_a_terminal() -> None:
    with pytest.raises(BadName) as caught:
        parse_name("\x1b[2J" + "x" * 10_000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@given(usable, usable)
def test_an_agent_is_read_back_from_its_uri(site: str, agent: str) -> None:
    assert AgentId.from_uri(AgentId(site, agent).uri) == AgentId(site, agent)


@given(st.text())
def test_any_uri_is_an_agent_or_a_bad_name(uri: str) -> None:
    for candidate in (uri, "spiffe://penstock.internal/site/" + uri):
        with contextlib.suppress(BadName):
            assert AgentId.from_uri(candidate).uri == candidate


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "plant/agent/a1",
        "spiffe://penstock.internal/site/plant",
        "spiffe://penstock.internal/site/plant/agent/",
        "spiffe://penstock.internal/site//agent/a1",
        "spiffe://penstock.internal/site/plant/agent/a1/",
        "spiffe://penstock.internal/site/plant/agent/a1/agent/a2",
        "SPIFFE://penstock.internal/site/plant/agent/a1",
        "spiffe://penstock.internal/site/pl%61nt/agent/a1",
        "spiffe://penstock.internal.example/site/plant/agent/a1",
        "spiffe://penstock.internal/site/oauth/agent/a1",
        "spiffe://penstock.internal/site/plant/agent/a1?x",
    ],
)
def test_a_uri_that_is_not_exactly_an_agents_is_refused(uri: str) -> None:
    with pytest.raises(BadName):
        AgentId.from_uri(uri)


def test_an_agent_cannot_be_made_of_names_that_are_not() -> None:
    with pytest.raises(BadName):
        AgentId("plant/agent/other", "a1")


def test_a_tag_is_the_head_of_the_base32_hash_of_the_uri() -> None:
    agent = AgentId("plant", "a1")
    assert agent.uri == "spiffe://penstock.internal/site/plant/agent/a1"
    bits = int.from_bytes(hashlib.sha256(agent.uri.encode()).digest()[:5])
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    assert agent.tag == "".join(alphabet[bits >> shift & 31] for shift in range(35, -5, -5))


@given(usable, usable, st.text("abcXYZ019-_~!", min_size=1, max_size=64))
def test_the_tag_of_a_session_id_is_found(site: str, agent: str, random: str) -> None:
    tag = AgentId(site, agent).tag
    assert tag_of(f"{tag}.{random}") == tag


@pytest.mark.parametrize(
    "text",
    ["", "abcdefgh", "abcdefgh.", "abcdefg.x", "abcdefghi.x", "ABCDEFGH.x", "abcdefg1.x", "abcdefgh.x y"],
)
def test_other_session_ids_have_no_tag(text: str) -> None:
    assert tag_of(text) is None
