"""The rules of each server, where all servers are one."""

from __future__ import annotations

import itertools

import pytest

from penstock.names import WHOLE_SITE
from penstock_agent.gate.policy.rules import Policy
from penstock_agent.ledger.entries import Decision, Entry, Unrecorded
from penstock_agent.site.names import Target, joined
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.modern import kit as modern
from tests.agent.endpoint.talk import Json, Talk, hello
from tests.agent.gate.policy.kit import rules
from tests.agent.site.kit import Script, endpoint, resource, tool
from tests.harness.fake_exchange import FakeExchange

LONG = "read_" + "x" * 80
HIDDEN = "write_" + "x" * 80
SHORT, SHORT_HIDDEN = joined(Target("a", LONG)), joined(Target("a", HIDDEN))
RULES = rules("""
[[rules]]
name = "reads"
allow = ["read*", "resource:a:*", "prompt:p"]
[rules.arguments.read]
path = { below = "/srv" }
[rules.budget]
calls_per_day = 2
""")
READ_ONLY = rules("", 'profile = "read_only"')

_keys = itertools.count(1)


def scripts() -> dict[str, Script]:
    marked = {"annotations": {"readOnlyHint": True}}
    return {
        "a": Script(
            tools=[tool("read", **marked), tool("write"), tool(LONG), tool(HIDDEN)],
            prompts=[{"name": "p"}, {"name": "q"}],
            resources=[resource("a:1"), resource("x:1")],
            contents={"a:1": "one", "x:1": "two"},
        ),
        "b": Script(tools=[tool("read", **marked), tool("write")]),
    }


class Seen(Unrecorded):
    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(self, entry: Entry, /) -> None:
        self.entries.append(entry)

    @property
    def last(self) -> tuple[str, str, str, str]:
        entry = self.entries[-1]
        assert isinstance(entry, Decision)
        return entry.verdict.value, entry.rule, entry.of, entry.item


async def begin(talk: Talk, server: str = WHOLE_SITE) -> str:
    begun = await talk.send("POST", hello(), server=server).until_end()
    return dict(begun.answered)["mcp-session-id"]


def post(talk: Talk, session: str, method: str, server: str = WHOLE_SITE, **params: object) -> FakeExchange:
    body: Json = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    exchange = talk.send("POST", body, session=session, server=server)
    exchange.key = f"{next(_keys):032x}-1"
    return exchange


def call(talk: Talk, session: str, name: str, server: str = WHOLE_SITE, **arguments: object) -> FakeExchange:
    return post(talk, session, "tools/call", server, name=name, arguments=arguments)


async def listed(exchange: FakeExchange, kind: str = "tools", key: str = "name") -> list[str]:
    result = (await exchange.message())["result"]
    assert isinstance(result, dict)
    return [item[key] for item in result[kind]]


def denied(answer: Json) -> bool:
    return "isError" in str(answer) or "error" in answer


async def test_what_a_servers_rules_say_holds_there_as_at_its_own_url() -> None:
    ledger = Seen()
    async with endpoint(scripts(), policies={"a": RULES}, ledger=ledger) as (talk, _):
        session = await begin(talk)
        assert await listed(post(talk, session, "tools/list")) == ["a__read", SHORT, "b__read", "b__write"]
        assert await listed(post(talk, session, "prompts/list"), "prompts") == ["a__p"]
        assert await listed(post(talk, session, "resources/list"), "resources", "uri") == ["a:1"]
        assert outcome(await call(talk, session, "a__write").message()) == ("denied", False)
        assert ledger.last == ("denied", "rules", "a", "tool:write")
        wrong = await call(talk, session, "a__read", path="/etc/passwd").message()
        assert "path must be a plain absolute path below /srv/" in str(wrong)
        assert not denied(await call(talk, session, "a__read", path="/srv/x").message())
        assert ledger.last == ("allowed", 'rule "reads"', "a", "tool:read")
        assert not denied(await call(talk, session, "b__write").message())
        assert ledger.last == ("allowed", "expose", "b", "tool:write")
        assert denied(await post(talk, session, "resources/read", uri="x:1").message())
        assert denied(await post(talk, session, "resources/subscribe", uri="x:1").message())
        assert not denied(await post(talk, session, "resources/read", uri="a:1").message())
        assert denied(await post(talk, session, "prompts/get", name="a__q").message())
        for name, refused in (("a__q", True), ("a__p", False)):
            reference = {"type": "ref/prompt", "name": name}
            asked = post(talk, session, "completion/complete", ref=reference, argument={"name": "x"})
            assert denied(await asked.message()) is refused


async def test_a_budget_is_one_whichever_way_it_is_used() -> None:
    async with endpoint(scripts(), policies={"a": RULES}) as (talk, _):
        site, own = await begin(talk), await begin(talk, "a")
        assert not denied(await call(talk, site, "a__read", path="/srv").message())
        assert not denied(await call(talk, own, "read", "a", path="/srv").message())
        for session, name, server in ((site, "a__read", WHOLE_SITE), (own, "read", "a")):
            over = await call(talk, session, name, server, path="/srv").message()
            assert "2 calls in a day" in str(over)
        assert not denied(await call(talk, site, SHORT).message()), "another tool"


async def test_a_shortened_name_is_judged_by_what_it_stands_for() -> None:
    ledger = Seen()
    async with endpoint(scripts(), policies={"a": RULES}, ledger=ledger) as (talk, children):
        session = await begin(talk)
        assert not denied(await call(talk, session, SHORT).message())
        assert ledger.last == ("allowed", 'rule "reads"', "a", f"tool:{LONG}")
        assert denied(await call(talk, session, SHORT_HIDDEN).message())
        assert ledger.last == ("denied", "rules", "a", f"tool:{HIDDEN}")
        called = [each for child in children.members["a"] for each in child.heard_of("tools/call")]
        assert [each["params"]["name"] for each in called] == [LONG]  # type: ignore[index]  # of a call


async def test_a_shortened_name_is_refused_where_its_server_does_not_say_what_it_offers() -> None:
    found = scripts()
    ledger = Seen()
    async with endpoint(found, policies={"a": RULES}, ledger=ledger) as (talk, _):
        session = await begin(talk)
        found["a"].silent = {"tools/list"}
        refused = call(talk, session, SHORT)
        await talk.pass_time(200)
        assert outcome(await refused.message()) == ("not_executed", True)
        assert ledger.last[:3] == ("failed", "rules", "a")
        assert not denied(await call(talk, session, "a__read", path="/srv").message())


@pytest.mark.parametrize("policies", [{"a": READ_ONLY}, {"a": READ_ONLY, "b": READ_ONLY}])
async def test_the_read_only_profile_of_one_server_is_not_that_of_the_others(
    policies: dict[str, Policy],
) -> None:
    async with endpoint(scripts(), policies=policies) as (talk, _):
        session = await begin(talk)
        others = ["b__read"] + ["b__write"] * ("b" not in policies)
        assert await listed(post(talk, session, "tools/list")) == ["a__read", *others]
        assert denied(await call(talk, session, "a__write").message())
        assert denied(await call(talk, session, "b__write").message()) is ("b" in policies)


async def test_the_same_for_a_client_of_2026_07_28() -> None:
    ledger = Seen()
    async with endpoint(scripts(), policies={"a": RULES}, ledger=ledger) as (talk, _):
        for name, refused in (("a__write", True), ("b__write", False), (SHORT, False), (SHORT_HIDDEN, True)):
            asked = modern.send(
                talk, modern.request(1, "tools/call", name=name, arguments={}), server=WHOLE_SITE
            )
            assert denied(await asked.message()) is refused
        asked = modern.send(talk, modern.request(1, "tools/list"), server=WHOLE_SITE)
        assert await listed(asked) == ["a__read", SHORT, "b__read", "b__write"]
