import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.allowance import MAX_BYTES, MAX_NAMES, Allowance, Later
from penstock.principal import Principal

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
several = st.lists(names, max_size=5).map(tuple)
allowances = st.builds(
    Allowance,
    tools=several,
    prefixes=several,
    denied=several,
    later=st.sampled_from(Later),
    others=st.booleans(),
)


@given(allowances)
def test_it_is_read_back_as_it_was(allowance: Allowance) -> None:
    assert Allowance.parse(allowance.dump()) == allowance


@given(allowances, names, st.sets(names))
def test_a_tool_is_allowed_only_by_what_was_chosen(allowance: Allowance, name: str, marked: set[str]) -> None:
    chosen = name in allowance.tools or any(name.startswith(prefix) for prefix in allowance.prefixes)
    later = {Later.NONE: False, Later.READ_ONLY: name in marked, Later.ALL: True}[allowance.later]
    allowed = allowance.allows_tool(name, marked)
    if chosen or not later or name in allowance.denied:
        assert allowed == chosen
    elif not allowed:
        assert allowance.later is Later.ALL
        assert name not in marked
        assert allowance.denied, "it is like none of those"


def test_only_these_is_what_it_says() -> None:
    these = Allowance(tools=("read",))
    assert these.allows_tool("read", ())
    assert not these.allows_tool("reader", ("reader",))
    assert not these.allows_tool("READ", ())


def test_what_was_not_chosen_does_not_come_in_later() -> None:
    later = Allowance(tools=("read",), denied=("drop",), later=Later.ALL)
    assert later.allows_tool("new", ())
    assert not later.allows_tool("drop", ())


@pytest.mark.parametrize("name", ["write ", " write", "WRITE", "write\0x", "\uff57rite", "w\u200brite"])
def test_what_a_lenient_server_takes_for_a_denied_tool_is_denied(name: str) -> None:
    allowance = Allowance(tools=("read",), denied=("write",), later=Later.ALL)
    assert not allowance.allows_tool(name, set())
    assert allowance.allows_tool("writes", set())
    assert Allowance(tools=(name,), denied=("write",)).allows_tool(name, set()), "it stood on the page itself"


def test_without_anything_nothing_is_allowed() -> None:
    assert not Allowance().allows_tool("read", ("read",))
    assert Allowance.parse(b"{}") == Allowance()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"tools":"read"}',
        b'{"tools":[1]}',
        b'{"later":"always"}',
        b'{"others":1}',
        b'{"until":5}',  # a limit that this version does not know
        b'{"tools":["\xff"]}',
        b"[" * 10_000,
        b'{"tools":["' + b"a" * MAX_BYTES + b'"]}',
    ],
)
def test_what_cannot_be_read_for_certain_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="This grant"):
        Allowance.parse(data)


@given(st.binary())
def test_any_bytes_are_an_allowance_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        Allowance.parse(data)


def test_it_is_bounded() -> None:
    assert Allowance(tools=tuple(f"t{n}" for n in range(MAX_NAMES))).dump()
    for large in (
        Allowance(tools=tuple(f"t{n}" for n in range(MAX_NAMES)), denied=("x",)),
        Allowance(tools=("a" * MAX_BYTES,)),
    ):
        with pytest.raises(ValueError, match="at most"):
            large.dump()


def test_it_travels_beside_the_claims() -> None:
    caller = Principal("https://idp", "alice", allowance=Allowance(tools=("read",)))
    assert b"read" not in caller.dump()
    assert Principal.parse(caller.dump(), caller.dump_grant()) == caller
    assert Principal("https://idp", "alice").dump_grant() == b""


def test_claims_cannot_bring_their_own() -> None:
    caller = Principal.parse(b'{"issuer":"i","subject":"s","allowance":{"tools":["x"]}}', b"{}")
    assert caller.allowance == Allowance()
    assert Principal.parse(b'{"issuer":"i","subject":"s","allowance":{"tools":["x"]}}').allowance is None


def test_a_grant_that_cannot_be_read_is_not_everything() -> None:
    with pytest.raises(ValueError, match="This grant cannot be read"):
        Principal.parse(b'{"issuer":"i","subject":"s"}', b'{"unknown":1}')
