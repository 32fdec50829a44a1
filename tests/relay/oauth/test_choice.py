"""From what a site offers to lines on a page, and from ticks to what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.allowance import MAX_NAMES, Allowance, Later
from penstock.names import WHOLE_SITE
from penstock_relay.oauth import choice
from penstock_relay.oauth.choice import MAX_SHOWN, Block, Line
from penstock_relay.oauth.offers import Effect, Offer, Tool
from tests.relay.oauth.visiting import DROP, FILES, READ, WRITE

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
offers = st.builds(
    Offer,
    tools=st.lists(
        st.builds(Tool, name=names, effect=st.sampled_from(Effect)), max_size=20, unique_by=lambda t: t.name
    ).map(tuple),
)


def many(count: int, name: str = "crm_{}", effect: Effect = Effect.READ) -> Offer:
    return Offer(tuple(Tool(name.format(n), effect) for n in range(count)))


def ticked(block: Block, allowance: Allowance | None = None) -> list[str]:
    return [line.name for group in choice.groups(0, block, allowance) for line in group.lines if line.ticked]


def test_tools_stand_in_groups_and_those_that_only_read_are_ticked() -> None:
    block = choice.block("files", Offer((DROP, READ, WRITE)))
    found = [(group.effect, [line.name for line in group.lines]) for group in choice.groups(0, block, None)]
    assert found == [(Effect.READ, ["read"]), (Effect.WRITE, ["write"]), (Effect.DESTRUCTIVE, ["drop"])]
    assert ticked(block) == ["read"]


def test_too_many_tools_of_a_whole_site_are_gathered_by_their_servers() -> None:
    tools = [f"{server}__t_{n}" for server in ("my-files", "my-git", "crm") for n in range(MAX_NAMES // 2)]
    found = choice.block(WHOLE_SITE, Offer(tuple(Tool(name, Effect.READ) for name in tools)))
    assert [line.name for line in found.lines] == ["my-files__", "my-git__", "crm__"]
    assert all(line.prefix for line in found.lines)
    # What the site calls otherwise stays by itself: as a beginning it would stand for others, too.
    found = choice.block(WHOLE_SITE, Offer(tuple(Tool(n, Effect.READ) for n in (*tools, "c", "search"))))
    assert [(line.name, line.prefix) for line in found.lines[3:]] == [("c", False), ("search", False)]
    alone = choice.block("files", Offer(tuple(Tool(name, Effect.READ) for name in tools)))
    assert [line.name for line in alone.lines] == ["my-", "crm_"]


def test_a_beginning_that_begins_others_is_as_harmful_as_these() -> None:
    names = [f"crm_{n}" for n in range(MAX_NAMES)]
    tools = [*(Tool(name, Effect.READ) for name in names), Tool("crm_drop", Effect.DESTRUCTIVE)]
    found = choice.block("files", Offer((Tool("c", Effect.READ), *tools)))
    assert [(line.name, line.effect) for line in found.lines] == [
        ("c", Effect.DESTRUCTIVE),
        ("crm_", Effect.DESTRUCTIVE),
    ]


@given(offers, st.data())
def test_exactly_what_was_ticked_is_allowed(offer: Offer, data: st.DataObject) -> None:
    block = choice.block("files", offer)
    names = [tool.name for tool in offer.tools]
    on = data.draw(st.sets(st.sampled_from(names))) if names else set()
    form = {choice.field(0, n): "on" for n, name in enumerate(names) if name in on}
    shown = choice.parse_shown(choice.shown([block]))
    allowed = choice.chosen(form, shown, later=True)["files"]
    assert Allowance.parse(allowed.dump()) == allowed
    assert {name for name in names if allowed.allows_tool(name, names)} == on
    assert not allowed.others
    # And a page that shows it again has the same ticks.
    assert set(ticked(block, allowed)) == on


@pytest.mark.parametrize(("later", "new", "marked"), [("none", 0, 0), ("read_only", 0, 1), ("all", 1, 1)])
def test_later_tools_come_in_but_not_those_that_were_left_out(later: str, new: int, marked: int) -> None:
    shown = choice.parse_shown(choice.shown([choice.block("files", FILES)]))
    allowed = choice.chosen({"t0.0": "on", "later": later}, shown, later=True)["files"]
    assert allowed.allows_tool("read", ())
    assert not allowed.allows_tool("drop", ("drop",))
    assert allowed.allows_tool("new", ()) == bool(new)
    assert allowed.allows_tool("new", ("new",)) == bool(marked)


def test_where_later_ones_are_forbidden_no_form_brings_them_in() -> None:
    shown = choice.parse_shown(choice.shown([choice.block("files", FILES)]))
    for form in ({"t0.0": "on", "later": "all"}, {"silent": "read_only"}):
        assert choice.chosen(form, shown, later=False)["files"].later is Later.NONE


def test_a_silent_site_allows_nothing_yet_or_what_only_reads() -> None:
    shown = choice.parse_shown(choice.shown([choice.block("files", None)]))
    assert choice.chosen({"silent": "nothing"}, shown, later=True) == {"files": Allowance()}
    assert choice.chosen({"silent": "read_only"}, shown, later=True) == {
        "files": Allowance(later=Later.READ_ONLY, others=True)
    }


def test_prompts_and_resources_are_one_tick() -> None:
    block = choice.block("files", Offer(prompts=2, resources=1))
    assert block.others == "2 prompts and 1 resource"
    shown = choice.parse_shown(choice.shown([block]))
    assert choice.chosen({"o0": "on"}, shown, later=True)["files"] == Allowance(others=True)
    assert choice.block("files", Offer()).others == ""


def test_more_than_500_tools_are_put_by_how_their_names_begin() -> None:
    offer = Offer(many(400).tools + many(200, "erp.{}", Effect.DESTRUCTIVE).tools)
    block = choice.block("files", offer)
    assert block.lines == (Line("crm_", Effect.READ, True), Line("erp.", Effect.DESTRUCTIVE, True))
    assert not block.whole
    shown = choice.parse_shown(choice.shown([block]))
    allowed = choice.chosen({"t0.0": "on", "later": "all"}, shown, later=True)["files"]
    assert allowed == Allowance(prefixes=("crm_",))
    assert ticked(block) == ["crm_"]
    assert ticked(block, allowed) == ["crm_"]


def test_a_beginning_is_as_harmful_as_the_worst_of_its_tools() -> None:
    offer = Offer((*many(600).tools, Tool("crm_drop", Effect.DESTRUCTIVE)))
    assert choice.block("files", offer).lines == (Line("crm_", Effect.DESTRUCTIVE, True),)


def test_500_tools_still_stand_one_by_one() -> None:
    assert choice.block("files", many(500)).whole
    assert not choice.block("files", many(501)).whole


@settings(max_examples=20)
@given(st.integers(1, 10_000), st.sampled_from(["{}", "{}_x", "é{}_", "a" * 200 + "{}"]))
def test_any_number_of_tools_fits_on_a_page(count: int, name: str) -> None:
    block = choice.block("files", many(count, name))
    assert len(choice.shown(choice.fitting([block]))) <= MAX_SHOWN + 100
    form = {choice.field(0, n): "on" for n in range(len(block.lines))}
    assert choice.chosen(form, {"files": block.lines}, later=True)["files"].dump()


def test_further_servers_are_left_out_when_they_do_not_fit() -> None:
    blocks = [choice.block(name, many(300)) for name in ("a", "b", "c")]
    small = choice.block("d", FILES)
    assert [block.server for block in choice.fitting([*blocks, small])] == ["a", "d"]


def test_each_server_has_its_own_ticks() -> None:
    blocks = [choice.block("files", FILES), choice.block("git", FILES)]
    shown = choice.parse_shown(choice.shown(blocks))
    allowed = choice.chosen({"t0.0": "on", "t1.2": "on", "o1": "on"}, shown, later=True)
    assert allowed == {"files": Allowance(("read",)), "git": Allowance(("drop",), others=True)}


@pytest.mark.parametrize("text", ["", "[]", "null", '{"a":1}', '{"a":[["x","odd",false]]}', "[" * 1000])
def test_a_page_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        choice.parse_shown(text)


@pytest.mark.parametrize(
    ("allowance", "words"),
    [
        (None, "everything that the site exposes, now and later"),
        (Allowance(), "nothing yet"),
        (Allowance(("a",)), "1 tool"),
        (Allowance(("a", "b"), others=True), "2 tools; prompts and resources"),
        (Allowance(prefixes=("crm_",)), "tools whose names begin with crm_"),
        (Allowance(later=Later.READ_ONLY), "every tool that only reads, also those added later"),
        (Allowance(("a",), later=Later.ALL), "1 tool; every tool added later"),
    ],
)
def test_it_is_told_in_words(allowance: Allowance | None, words: str) -> None:
    assert choice.in_words(allowance) == words


@pytest.mark.parametrize(
    ("button", "names"), [("all", ["read", "write", "drop"]), ("none", []), ("read", ["read"])]
)
def test_buttons_tick_for_their_user(button: str, names: list[str]) -> None:
    assert ticked(choice.block("files", FILES), choice.ticked_by(button)) == names
