"""Where a call goes, as a table and as properties."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.names import WHOLE_SITE, AgentId
from penstock_relay.switchboard import registry as registry_module
from penstock_relay.switchboard.registry import SETTLE, Caller, Entry, Registry

A1, A2, OTHER = AgentId("plant", "a1"), AgentId("plant", "a2"), AgentId("office", "a1")
FILES = frozenset({"files"})


def registry(*entries: Entry) -> Registry:
    made = Registry()
    for entry in entries:
        made.add(entry)
    return made


def number(entry: Entry | None) -> int | None:
    return None if entry is None else entry.number


def test_of_one_agent_the_newest_link_that_offers_the_server_is_picked() -> None:
    links = registry(Entry(1, A1, FILES), Entry(2, A1, FILES), Entry(3, A1, frozenset({"time"})))
    assert number(links.pick("plant", "files", None)) == 2
    assert number(links.pick("plant", "time", None)) == 3
    assert number(links.pick("plant", WHOLE_SITE, None)) == 3
    assert links.pick("plant", "none", None) is None
    assert links.pick("office", "files", None) is None


# -- callers and their agents ---------------------------------------------------------------------

CALLERS = [("https://sso.example.com", f"user-{n}", "https://claude.ai/client") for n in range(50)]


def homes(links: Registry, server: str = "files") -> dict[Caller, str]:
    """The agent of each caller."""
    picked = {caller: links.pick("plant", server, None, caller) for caller in CALLERS}
    return {caller: entry.agent.agent for caller, entry in picked.items() if entry is not None}


def fleet(*numbers: int, servers: frozenset[str] = FILES) -> Registry:
    return registry(*(Entry(n, AgentId("plant", f"a{n}"), servers) for n in numbers))


def test_callers_are_spread_over_the_agents_of_a_site_and_each_stays_at_its_own() -> None:
    for agents in (2, 5):
        links = fleet(*range(agents))
        found = homes(links)
        counts = Counter(found.values())
        assert len(counts) == agents
        assert min(counts.values()) > 50 / agents / 3
        assert homes(links) == found
        assert homes(fleet(*reversed(range(agents)))) == found, "whichever dialled first"


def test_only_the_callers_of_a_lost_agent_move_and_come_back_with_it() -> None:
    links = fleet(0, 1, 2)
    before = homes(links)
    links.remove(1, 100.0, 0.0)
    while_away = homes(links)
    moved = {caller for caller in CALLERS if while_away[caller] != before[caller]}
    assert moved == {caller for caller in CALLERS if before[caller] == "a1"}
    assert {while_away[caller] for caller in moved} == {"a0", "a2"}
    links.add(Entry(9, AgentId("plant", "a1"), FILES))
    assert homes(links) == before


def test_a_new_agent_takes_callers_and_moves_none_between_the_others() -> None:
    links = fleet(0, 1)
    before = homes(links)
    links.add(Entry(2, AgentId("plant", "a2"), FILES))
    after = homes(links)
    assert {after[caller] for caller in CALLERS if after[caller] != before[caller]} == {"a2"}


def test_the_agent_of_a_caller_is_the_same_in_every_process() -> None:
    """As it was when this was written: another hash would move everybody, once."""
    found = homes(fleet(0, 1, 2))
    assert "".join(found[caller][1] for caller in CALLERS[:20]) == "20020100100201221110"


def test_a_caller_may_have_another_agent_at_another_server_and_is_user_and_client_together() -> None:
    links = fleet(0, 1, servers=frozenset({"files", "time"}))
    assert homes(links, "files") != homes(links, "time")
    issuer, subject, _ = CALLERS[0]
    clients = {number(links.pick("plant", "files", None, (issuer, subject, f"c{n}"))) for n in range(20)}
    assert clients == {0, 1}
    # Where one text ends and the next begins counts as well.
    assert {number(links.pick("plant", "files", None, (f"i{n}", "s", ""))) for n in range(20)} == {0, 1}


def test_a_caller_whose_agent_drains_or_hides_the_server_is_another_agents() -> None:
    links = fleet(0, 1)
    mine = next(caller for caller, agent in homes(links).items() if agent == "a0")
    links.offer(0, frozenset({"time"}))
    assert number(links.pick("plant", "files", None, mine)) == 1
    links.offer(0, FILES)
    assert number(links.pick("plant", "files", None, mine)) == 0
    links.add(Entry(7, AgentId("plant", "a0"), FILES))
    assert number(links.pick("plant", "files", None, mine)) == 7
    links.drain(7, 100.0)
    assert number(links.pick("plant", "files", None, mine)) == 0
    links.drain(0, 100.0)
    assert number(links.pick("plant", "files", None, mine)) == 1
    assert links.expected("plant", "files", None, 101.0) == SETTLE - 1, "and nobody waits but who finds none"


def test_what_is_remembered_of_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "CHOICES", 10)
    links = fleet(0, 1)
    found = homes(links)
    assert len(links._choices) <= 10
    assert homes(links) == found
    for index in range(100):
        assert links.pick("plant", f"server-{index}", None, CALLERS[0]) is None
    assert list(links._sites["plant"].routes) == ["files"]


def test_the_whole_site_is_answered_for_by_an_agent_with_several_servers_where_there_is_one() -> None:
    links = registry(Entry(1, A1, FILES), Entry(2, A2, frozenset({"files", "time"})))
    assert set(homes(links, WHOLE_SITE).values()) == {"a2"}
    assert set(homes(links, "files").values()) == {"a1", "a2"}
    assert number(links.pick("plant", WHOLE_SITE, A1.tag)) == 1, "a session is where it was begun"
    links.offer(2, frozenset({"time"}))
    assert set(homes(links, WHOLE_SITE).values()) == {"a1", "a2"}
    links.offer(1, frozenset())
    links.remove(2, 100.0, 0.0)
    assert number(links.pick("plant", WHOLE_SITE, None)) == 1


def test_the_tag_of_a_session_wins() -> None:
    links = registry(Entry(1, A1, FILES), Entry(2, A1, FILES), Entry(3, A2, FILES))
    assert number(links.pick("plant", "files", A1.tag)) == 2
    assert number(links.pick("plant", "files", A2.tag)) == 3
    assert number(links.pick("plant", "files", "abcdefgh")) == number(links.pick("plant", "files", None))


def test_sites_are_apart_even_where_the_tag_would_fit() -> None:
    links = registry(Entry(1, OTHER, FILES))
    assert links.pick("plant", "files", OTHER.tag) is None


def test_a_changed_offer_counts_at_once() -> None:
    links = registry(Entry(1, A1, FILES))
    links.offer(1, frozenset({"time"}))
    links.offer(9, FILES)
    assert links.pick("plant", "files", None) is None
    assert number(links.pick("plant", "time", None)) == 1


def test_a_draining_link_is_not_picked_and_its_agent_is_expected_back() -> None:
    links = registry(Entry(1, A1, FILES))
    links.drain(1, 100.0)
    links.drain(9, 100.0)
    assert links.pick("plant", "files", None) is None
    assert links.linked("plant")
    assert not links.lacks("plant", "files", 100.0)
    assert links.expected("plant", "files", None, 101.0) == SETTLE - 1
    links.add(Entry(2, A1, FILES))
    assert number(links.pick("plant", "files", None)) == 2
    assert links.expected("plant", "files", None, 101.0) == 0


def test_an_agent_with_another_link_is_not_expected_when_one_drains_or_goes() -> None:
    links = registry(Entry(1, A1, FILES), Entry(2, A1, FILES), Entry(3, A1, FILES))
    links.drain(1, 100.0)
    links.remove(3, 100.0, 0.0)
    assert links.expected("plant", "files", None, 100.0) == 0


def test_a_link_that_comes_up_draining_is_no_return() -> None:
    links = registry(Entry(1, A1, FILES))
    links.remove(1, 100.0, 0.0)
    links.add(Entry(2, A1, FILES, draining=True))
    assert links.expected("plant", "files", None, 100.0) == SETTLE


def test_a_lost_agent_is_expected_for_ten_seconds() -> None:
    links = registry(Entry(1, A1, FILES))
    links.remove(1, 100.0, 5.0)
    links.remove(1, 101.0, 6.0)
    assert links.expected("plant", "files", None, 100.0) == SETTLE
    assert links.expected("plant", "files", A1.tag, 104.0) == SETTLE - 4
    assert links.expected("plant", "files", A2.tag, 104.0) == 0
    assert links.expected("plant", "time", None, 104.0) == 0
    assert links.expected("plant", "", None, 104.0) == SETTLE - 4
    assert links.expected("office", "files", None, 104.0) == 0
    assert links.expected("plant", "files", None, 100.0 + SETTLE) == 0
    assert not links._lost, "what is over is forgotten"


def test_the_longest_wait_of_several_lost_agents_counts() -> None:
    links = registry(Entry(1, A1, FILES), Entry(2, A2, FILES))
    links.remove(1, 100.0, 0.0)
    links.remove(2, 103.0, 0.0)
    assert links.expected("plant", "files", None, 104.0) == SETTLE - 1


def test_offline_since_is_the_loss_of_the_last_link() -> None:
    links = registry(Entry(1, A1, FILES), Entry(2, A2, FILES))
    assert links.offline_since("plant") is None
    links.remove(1, 100.0, 1000.0)
    assert links.offline_since("plant") is None
    assert links.linked("plant")
    links.remove(2, 101.0, 1001.0)
    assert links.offline_since("plant") == 1001.0
    assert not links.linked("plant")
    assert len(links) == 0


def test_a_server_is_lacking_only_where_that_can_be_known() -> None:
    links = registry()
    assert not links.lacks("plant", "files", 0.0), "the site is offline"
    links.add(Entry(1, A1, FILES))
    assert not links.lacks("plant", "files", 0.0)
    assert links.lacks("plant", "time", 0.0)
    links.add(Entry(2, A2, frozenset({"time"})))
    links.remove(2, 50.0, 0.0)
    assert not links.lacks("plant", "time", 50.0 + SETTLE - 1), "lost a moment ago"
    assert links.lacks("plant", "time", 50.0 + SETTLE)
    assert not links.lacks("plant", WHOLE_SITE, 50.0 + SETTLE)
    links.offer(1, frozenset())
    assert not links.lacks("plant", WHOLE_SITE, 50.0 + SETTLE), "an agent is there to say so itself"


def test_lost_agents_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "SETTLING", 3)
    links = Registry()
    for index in range(5):
        links.add(Entry(index, AgentId("plant", f"a{index}"), FILES))
    for index in (4, 0, 1, 2, 3):
        links.remove(index, 100.0, 0.0)
    assert [agent.agent for agent in links._lost] == ["a1", "a2", "a3"]
    links.add(Entry(9, AgentId("plant", "a1"), FILES))
    links.remove(9, 101.0, 0.0)
    assert [agent.agent for agent in links._lost] == ["a2", "a3", "a1"]


AGENTS = [A1, A2, OTHER]
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "drain", "offer"]), st.integers(0, 5), st.booleans()),
    max_size=30,
)


@given(STEPS)
def test_what_is_picked_is_linked_offers_the_server_and_does_not_drain(
    steps: list[tuple[str, int, bool]],
) -> None:
    links = Registry()
    model: dict[int, Entry] = {}
    fresh = 0
    for at, (what, which, offers) in enumerate(steps):
        servers = FILES if offers else frozenset[str]()
        chosen = list(model)[which % len(model)] if model else -1
        match what:
            case "add":
                fresh += 1
                model[fresh] = Entry(fresh, AGENTS[which % 3], servers)
                links.add(Entry(fresh, AGENTS[which % 3], servers))
            case "remove":
                model.pop(chosen, None)
                links.remove(chosen, float(at), float(at))
            case "drain" if chosen in model:
                model[chosen].draining = True
                links.drain(chosen, float(at))
            case "offer" if chosen in model:
                model[chosen].servers = servers
                links.offer(chosen, servers)
        for site in ("plant", "office"):
            here = [e for e in model.values() if e.agent.site == site]
            good = {e.agent: e for e in here if not e.draining and "files" in e.servers}
            picked = links.pick(site, "files", None, CALLERS[0])
            assert number(picked) in {e.number for e in good.values()} if good else picked is None
            # What went before does not count, only what there is.
            again = registry(*(Entry(e.number, e.agent, e.servers) for e in reversed(good.values())))
            assert number(again.pick(site, "files", None, CALLERS[0])) == number(picked)
            for agent, newest in good.items():
                assert number(links.pick(site, "files", agent.tag)) == newest.number
            assert links.linked(site) == bool(here)
            assert 0 <= links.expected(site, "files", None, float(at)) <= SETTLE
        assert len(links) == len(model)
