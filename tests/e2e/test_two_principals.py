"""What one principal holds is to another as if it had never existed: byte for byte, over the real relay.

Kinds of things that a caller can hold: today sessions, event ids, and requests that a server asks in one.
Cursors, task ids and request states join `HELD` when the agent hands them out.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import pytest

from tests.harness.assistants import LEGACY, Assistant, ChatGPT, Claude
from tests.harness.internet import RELAY
from tests.harness.town import Town

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Caller:
    """A connected assistant, as what it can send."""

    token: str
    session: str
    event: str = ""
    """The id of an event of a call that was answered in that session."""


async def connected(town: Town, assistant: Assistant, name: str) -> Caller:
    async with assistant:
        async with town.person(name) as person:
            await assistant.come_back(await person.allow(await assistant.connect()))
        await assistant.handshake()
        caller = Caller(assistant.tokens["access_token"], assistant.session)
    call = message("tools/call", name="sleep", arguments={"seconds": 0.4})
    answer = await raw(town, "POST", caller.token, call, Mcp_Session_Id=caller.session)
    found = re.search(rb"\nid: (\S+)\n", answer)
    assert found is not None, answer
    return replace(caller, event=found[1].decode())


async def raw(town: Town, method: str, token: str, body: bytes = b"", **headers: str) -> bytes:
    """All that the relay's own listener answers, but Date; headers in their order."""
    host, _, port = town.stack.relay.env["PENSTOCK_RELAY_LISTEN"].rpartition(":")
    lines = {
        "Host": RELAY,
        "Authorization": f"Bearer {token}",
        "Accept": "text/event-stream" if method == "GET" else "application/json, text/event-stream",
        "Connection": "close",
        "MCP-Protocol-Version": LEGACY,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if method == "POST":
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"{method} /plant/tools/mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
        async with asyncio.timeout(20):
            answer = await reader.read()
    finally:
        writer.transport.abort()
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"Date: "))


def message(method: str, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 9, "method": method, "params": params}).encode()


CANCEL: Final = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}'
ANSWER: Final = b'{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}'
STOLEN: Final[dict[str, tuple[str, bytes]]] = {
    "list": ("POST", message("tools/list")),
    "call": ("POST", message("tools/call", name="echo", arguments={})),
    "unknown method": ("POST", message("no/such/method")),
    "cancel": ("POST", CANCEL),
    "answer": ("POST", ANSWER),
    "stream": ("GET", b""),
    "end": ("DELETE", b""),
}
"""What can be done with a session."""

HELD: Final[dict[str, Callable[[Caller], dict[str, str]]]] = {
    "session": lambda holder: {"Mcp_Session_Id": holder.session},
    "session, to be resumed": lambda holder: {"Mcp_Session_Id": holder.session, "Last_Event_Id": "1"},
    "session and event": lambda holder: {"Mcp_Session_Id": holder.session, "Last_Event_Id": holder.event},
}


def never_was(held: dict[str, str]) -> dict[str, str]:
    """The same in form, and nobody's."""
    session = held["Mcp_Session_Id"]
    return {**held, "Mcp_Session_Id": session[:-1] + ("A" if session[-1] != "A" else "B")}


@pytest.mark.parametrize("held", HELD)
async def test_what_is_anothers_is_what_never_was(town: Town, held: str) -> None:
    net = town.internet.transport
    alice = await connected(town, Claude(town.url(), net()), "alice")
    bob = await connected(town, ChatGPT(town.url(), net()), "bob")
    ended = await connected(town, Claude(town.url(), net()), "alice")
    assert (await raw(town, "DELETE", ended.token, Mcp_Session_Id=ended.session)).startswith(b"HTTP/1.1 20")
    hers = HELD[held](alice)
    for what, (method, body) in STOLEN.items():
        stolen = await raw(town, method, bob.token, body, **hers)
        assert stolen.startswith(b"HTTP/1.1 404 "), (what, stolen)
        assert stolen == await raw(town, method, bob.token, body, **never_was(hers)), what
        assert stolen == await raw(town, method, bob.token, body, **HELD[held](ended)), what
        # Nor does it matter whose the session is not: she sees the same of one that never was.
        assert stolen == await raw(town, method, alice.token, body, **never_was(hers)), what
    # And hers has come to no harm.
    own = await raw(town, "POST", alice.token, message("tools/list"), Mcp_Session_Id=alice.session)
    assert own.startswith(b"HTTP/1.1 200 ")
    assert b'"echo"' in own


async def test_an_event_of_another_is_in_ones_own_session_what_never_was(town: Town) -> None:
    net = town.internet.transport
    alice = await connected(town, Claude(town.url(), net()), "alice")
    bob = await connected(town, ChatGPT(town.url(), net()), "bob")
    own = {"Mcp_Session_Id": bob.session}
    foreign = await raw(town, "GET", bob.token, b"", **own, Last_Event_Id=alice.event)
    assert foreign.startswith(b"HTTP/1.1 400 ")
    changed = alice.event[:-4] + ("AAAA" if alice.event[-4:] != "AAAA" else "BBBB")
    for never in (changed, "1", bob.event[:-4] + ("AAAA" if bob.event[-4:] != "AAAA" else "BBBB")):
        assert foreign == await raw(town, "GET", bob.token, b"", **own, Last_Event_Id=never), never
    # His own is his.
    resumed = await raw(town, "GET", bob.token, b"", **own, Last_Event_Id=bob.event)
    assert resumed.startswith(b"HTTP/1.1 200 ")
    assert b'"slept"' in resumed


async def test_two_clients_of_one_user_are_two_principals(town: Town) -> None:
    net = town.internet.transport
    claude = await connected(town, Claude(town.url(), net()), "alice")
    chatgpt = await connected(town, ChatGPT(town.url(), net()), "alice")
    held = {"Mcp_Session_Id": claude.session}
    stolen = await raw(town, "POST", chatgpt.token, message("tools/list"), **held)
    assert stolen.startswith(b"HTTP/1.1 404 ")
    assert stolen == await raw(town, "POST", chatgpt.token, message("tools/list"), **never_was(held))
