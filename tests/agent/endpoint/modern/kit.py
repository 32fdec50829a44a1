"""A client of 2026-07-28, and what its server's processes hear before they hear of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from penstock.principal import Principal
from penstock_agent.children.eras import Era
from tests.agent.endpoint.talk import FakeChild, Json, Talk
from tests.harness.fake_exchange import ALICE, FakeExchange

VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"
ENVELOPE: Json = {
    META + "protocolVersion": VERSION,
    META + "clientInfo": {"name": "client", "version": "1"},
    META + "clientCapabilities": {"elicitation": {}},
}
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri", "tasks/get": "taskId"}
BOB = Principal("https://idp.example", "bob", client="assistant")


def request(id: object, method: str, meta: Json | None = None, /, **params: object) -> Json:
    """With the envelope; ``meta`` is added to it."""
    return {
        "jsonrpc": "2.0",
        "id": id,
        "method": method,
        "params": {**params, "_meta": {**ENVELOPE, **(meta or {})}},
    }


def headers(body: Json) -> dict[str, str]:
    """What a client sends with this request."""
    method, params = body["method"], body.get("params")
    assert isinstance(method, str)
    found = {"mcp-method": method}
    name = params.get(NAMED.get(method, "")) if isinstance(params, dict) else None
    if isinstance(name, str):
        found["mcp-name"] = name
    return found


def send(
    talk: Talk,
    body: Json,
    *,
    principal: Principal = ALICE,
    version: str = VERSION,
    extra: Mapping[str, str] | None = None,
    deadline: float = float("inf"),
    server: str = "files",
) -> FakeExchange:
    return talk.send(
        "POST",
        body,
        version=version,
        principal=principal,
        headers={**headers(body), **(extra or {})},
        deadline=deadline,
        server=server,
    )


def ask(
    talk: Talk, id: object, method: str = "tools/call", meta: Json | None = None, /, **params: object
) -> FakeExchange:
    """Alice's request; tools/call calls "echo" unless told otherwise."""
    if method == "tools/call":
        params = {"name": "echo", "arguments": {}, **params}
    return send(talk, request(id, method, meta, **params))


def found(*versions: str) -> Json:
    """A result of server/discover."""
    return {
        "resultType": "complete",
        "supportedVersions": list(versions or (VERSION,)),
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
    }


def refuse(child: FakeChild, asked: Json, code: int = -32601, **data: object) -> None:
    error = {"code": code, "message": "no", **({"data": data} if data else {})}
    child.say({"jsonrpc": "2.0", "id": asked["id"], "error": error})


async def probed(talk: Talk, era: Era, first: int = 1) -> int:
    """Answer the processes that are only asked for their era. Returns the number of the next one."""
    one = await talk.children.number(first)
    asked = await one.heard("server/discover")
    if era is Era.HANDSHAKE:
        refuse(one, asked)
        return first + 1
    one.answer(asked, found())
    two = await talk.children.number(first + 1)
    hello = await two.heard("initialize")
    if era is Era.DUAL:
        two.answer(hello, {"protocolVersion": "2025-11-25", "capabilities": {}})
    else:
        refuse(two, hello, -32022, supported=[VERSION], requested="2025-11-25")
    return first + 2


async def greeted(talk: Talk, number: int) -> FakeChild:
    """A process for requests, once it has said that it is modern."""
    child = await talk.children.number(number)
    child.answer(await child.heard("server/discover"), found())
    return child


async def started(talk: Talk, era: Era = Era.DUAL) -> FakeChild:
    """Alice's process, ready."""
    exchange = ask(talk, "first", "prompts/list")
    child = await greeted(talk, await probed(talk, era))
    child.answer(await child.heard("prompts/list"), {"resultType": "complete", "prompts": []})
    await exchange.json()
    return child


def meta_of(message: Json) -> Json:
    params = message["params"]
    assert isinstance(params, dict)
    meta = params["_meta"]
    assert isinstance(meta, dict)
    return meta


def error_of(answer: Json) -> Json:
    error = answer["error"]
    assert isinstance(error, dict)
    return error


def result_of(answer: Json) -> Json:
    result = answer["result"]
    assert isinstance(result, dict)
    return result


def shown(value: object) -> str:
    return json.dumps(value)
