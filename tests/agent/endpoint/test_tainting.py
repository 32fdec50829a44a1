"""After something sensitive was read: in each way in which a person calls, and of all servers of a site."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.policy import taint
from penstock_agent.gate.policy.taint import Taint
from penstock_agent.ledger.entries import Decision, Entry, Unrecorded
from penstock_agent.site.names import Target, joined
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.modern import kit as modern
from tests.agent.endpoint.talk import Json, Talk, hello
from tests.agent.gate.policy.kit import rules
from tests.agent.site.kit import Script, SiteChildren, endpoint, tool
from tests.harness.fake_exchange import ALICE

NOON = 1_795_867_200.0
BOB = Principal("https://idp.example", "bob", client="assistant")
ELSEWHERE = replace(ALICE, client="another assistant")
INSIDE: Json = {"annotations": {"readOnlyHint": True, "openWorldHint": False}}
LONG_READ, LONG_FIND = "read_" + "x" * 80, "find_" + "x" * 80
SENSITIVE = {"mail": Expose.parse(["read*", "prompt:*"])}
ASKS = Taint(SENSITIVE, approve=True)


def scripts() -> dict[str, Script]:
    reads_outside: Json = {"annotations": {"readOnlyHint": True}}
    return {
        "mail": Script(
            tools=[
                tool("read", **INSIDE),
                tool("find", **INSIDE),
                tool("send"),
                tool(LONG_READ),
                tool(LONG_FIND),
            ],
            prompts=[{"name": "p"}],
        ),
        "files": Script(tools=[tool("list", **INSIDE), tool("fetch", **reads_outside), tool("write")]),
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


class Site:
    """Callers of it, each with a session at each server."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self._sessions: dict[tuple[str, Principal], str] = {}

    async def ask(self, server: str, method: str, who: Principal = ALICE, **params: object) -> Json:
        if (server, who) not in self._sessions:
            begun = await self.talk.send("POST", hello(), server=server, principal=who).until_end()
            self._sessions[server, who] = dict(begun.answered)["mcp-session-id"]
        body: Json = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        session = self._sessions[server, who]
        return await self.talk.send("POST", body, session=session, server=server, principal=who).message()

    async def call(self, server: str, name: str, who: Principal = ALICE) -> str:
        """ "done", or why not."""
        answer = await self.ask(server, "tools/call", who, name=name, arguments={})
        return str(answer) if "isError" in str(answer) or "error" in answer else "done"


def stopped(words: str) -> bool:
    return "sensitive was read" in words and "Nothing was done" in words


async def test_after_a_sensitive_read_what_writes_or_reaches_out_is_refused_everywhere() -> None:
    ledger = Seen()
    async with endpoint(scripts(), taint=Taint(SENSITIVE), ledger=ledger) as (talk, _):
        site = Site(talk)
        for server, name in (("mail", "send"), ("files", "write"), ("files", "fetch")):
            assert await site.call(server, name) == "done", "nothing was read yet"
        assert await site.call("mail", "read") == "done"
        assert ledger.last == ("allowed", "expose", "", "tool:read")
        for server, name in (("mail", "send"), ("files", "write"), ("files", "fetch")):
            assert stopped(await site.call(server, name)), name
            assert ledger.last == ("denied", "taint", "", f"tool:{name}")
        assert stopped(await site.call(WHOLE_SITE, "files__write"))
        assert ledger.last == ("denied", "taint", "files", "tool:write")
        for server, name in (
            ("mail", "read"),
            ("mail", "find"),
            ("files", "list"),
            (WHOLE_SITE, "mail__find"),
        ):
            assert await site.call(server, name) == "done", name
        answer = await site.ask("files", "tools/call", name="write", arguments={})
        assert outcome(answer) == ("denied", False)
        assert "read from mail for you" in str(answer)


async def test_it_is_the_person_that_counts_and_not_the_session_the_application_or_the_era() -> None:
    async with endpoint(scripts(), taint=Taint(SENSITIVE)) as (talk, _):
        first, second = Site(talk), Site(talk)
        assert await first.call("mail", "read") == "done"
        assert stopped(await second.call("files", "write"))
        elsewhere = await first.call("files", "write", ELSEWHERE)
        assert stopped(elsewhere)
        assert "mail" not in elsewhere, "that it reads mail is not told to everybody"
        body = modern.request(1, "tools/call", name="write", arguments={})
        assert stopped(str(await modern.send(talk, body, server="files").message()))
        assert await first.call("files", "write", BOB) == "done"
        assert await first.call("mail", "send", BOB) == "done"


async def test_a_request_without_a_session_that_reads_counts_too() -> None:
    async with endpoint(scripts(), taint=Taint(SENSITIVE)) as (talk, _):
        body = modern.request(1, "tools/call", name="read", arguments={})
        assert "isError" not in str(await modern.send(talk, body, server="mail").message())
        assert stopped(await Site(talk).call("files", "write"))


async def test_prompts_and_reads_through_the_whole_site_count_too() -> None:
    for method, server, name in (
        ("prompts/get", "mail", "p"),
        ("prompts/get", WHOLE_SITE, "mail__p"),
        ("tools/call", WHOLE_SITE, "mail__read"),
        ("tools/call", WHOLE_SITE, joined(Target("mail", LONG_READ))),
    ):
        async with endpoint(scripts(), taint=Taint(SENSITIVE)) as (talk, _):
            site = Site(talk)
            await site.ask(server, method, name=name, arguments={})
            assert stopped(await site.call("files", "write")), (method, name)


async def test_what_is_refused_or_not_sensitive_taints_nobody() -> None:
    shut = rules('[[rules]]\nname = "r"\nallow = ["find*", "send"]\n')
    async with endpoint(scripts(), policies={"mail": shut}, taint=Taint(SENSITIVE)) as (talk, _):
        site = Site(talk)
        assert await site.call("mail", "read") != "done"
        assert await site.call("mail", "find") == "done"
        assert await site.call(WHOLE_SITE, joined(Target("mail", LONG_FIND))) == "done"
        await site.ask("mail", "tools/list")
        assert await site.call("mail", "send") == "done"


async def test_it_is_over_after_its_time_which_begins_when_the_answer_must_have_come() -> None:
    now = [NOON]
    async with endpoint(scripts(), taint=Taint(SENSITIVE, lasts=600), now=lambda: now[0]) as (talk, _):
        site = Site(talk)
        assert await site.call("mail", "read") == "done"
        now[0] = NOON + 600 + 119  # a call may take 120 s
        assert stopped(await site.call("files", "write"))
        now[0] += 1
        assert await site.call("files", "write") == "done"


async def test_own_methods_and_notifications_and_answers_to_tasks_are_refused_too() -> None:
    async with endpoint(scripts(), taint=Taint(SENSITIVE)) as (talk, children):
        site = Site(talk)
        await site.call("mail", "read")
        for method in ("x/own", "tasks/update"):
            assert stopped(str(await site.ask("files", method, taskId="1"))), method
        note: Json = {"jsonrpc": "2.0", "method": "notifications/x/own"}
        session = site._sessions["files", ALICE]
        await talk.send("POST", note, session=session, server="files").until_end()
        await talk.settle()
        assert heard(children, "notifications/x/own") == 0


def heard(children: SiteChildren, method: str) -> int:
    logs = [getattr(child, "log", []) for child in children.started]
    return sum(message.get("method") == method for log in logs for message in log)


async def test_somebody_on_site_may_let_a_call_pass_where_the_site_says_so() -> None:
    ledger = Seen()
    async with endpoint(scripts(), taint=ASKS, ledger=ledger) as (talk, _):
        site = Site(talk)
        await site.call("mail", "read")
        assert "waits for approval on site" in await site.call("files", "write")
        assert ledger.last == ("waiting", "taint", "", "tool:write")
        approving = talk.endpoint._shared.approving
        (request,) = approving.requests()
        assert (request.call.why, request.call.item) == ("taint", "tool:write")
        approving.answer(request.id, True, 0)
        assert await site.call("files", "write") == "done"
        assert ledger.last == ("allowed", "taint", "", "tool:write")
        assert await site.call("files", "list") == "done"
        assert ledger.last == ("allowed", "expose", "", "tool:list")


async def test_what_waits_for_a_rules_approval_is_refused_when_something_was_read_meanwhile() -> None:
    asks = rules('[[rules]]\nname = "r"\nallow = ["*"]\napprove = "always"\n')
    async with endpoint(scripts(), policies={"files": asks}, taint=Taint(SENSITIVE)) as (talk, _):
        site = Site(talk)
        assert "waits for approval" in await site.call("files", "write")
        approving = talk.endpoint._shared.approving
        (request,) = approving.requests()
        approving.answer(request.id, True, 0)
        await site.call("mail", "read")
        assert stopped(await site.call("files", "write"))


async def test_what_cannot_be_remembered_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taint, "PEOPLE_MAX", 1)
    ledger = Seen()
    async with endpoint(scripts(), taint=Taint(SENSITIVE), ledger=ledger) as (talk, children):
        site = Site(talk)
        assert await site.call("mail", "read") == "done"
        reads = heard(children, "tools/call")
        assert "remembers more people now than it can" in await site.call("mail", "read", BOB)
        assert ledger.last == ("denied", "taint", "", "tool:read")
        assert heard(children, "tools/call") == reads
        assert await site.call("files", "write", BOB) == "done"


async def test_a_server_that_does_not_say_what_it_offers_is_not_used_then() -> None:
    told = scripts()
    told["files"].silent = {"tools/list"}
    ledger = Seen()
    async with endpoint(told, taint=Taint(SENSITIVE), ledger=ledger) as (talk, _):
        site = Site(talk)
        assert await site.call("files", "list") == "done", "nobody asks before it matters"
        await site.call("mail", "read")
        assert "it did not say that" in await site.call("files", "list")
        assert ledger.last == ("failed", "taint", "", "tool:list")
