"""What the server of `revisions` says in each era, and what it remembers."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

HANDSHAKES = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # newest first
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
CACHED = (
    "server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list",
    "resources/read",
)  # fmt: skip
LISTS = ("tools", "prompts", "resources")
WATCHED = "plain://watched"
CAPABILITIES: Json = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
    "completions": {},
}
INFO = {"name": "revisions", "version": "1.0.0"}


def say(**message: object) -> None:
    line = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


def notify(method: str, **params: object) -> None:
    say(method=method, **({"params": params} if params else {}))


class Request:
    """One of the client's, until it is answered."""

    def __init__(self, message: Json, modern: bool) -> None:
        self.id = message["id"]
        self.method: str = message["method"]
        self.params: Json = message.get("params", {})
        self.meta: Json = self.params.get("_meta", {})
        self.arguments: Json = self.params.get("arguments", {})
        self.modern = modern

    def answer(self, result: Json) -> None:
        if self.modern:
            named = {META + "serverInfo": INFO, **result.get("_meta", {})}
            result = {"resultType": "complete", **result, "_meta": named}
            if self.method in CACHED:
                result |= {"ttlMs": 0, "cacheScope": "private"}
        say(id=self.id, result=result)

    def text(self, words: object, *, wrong: bool = False) -> None:
        content = [{"type": "text", "text": str(words)}]
        self.answer({"content": content, **({"isError": True} if wrong else {})})

    def refuse(self, code: int, message: str, data: Json | None = None) -> None:
        say(id=self.id, error={"code": code, "message": message, **({"data": data} if data else {})})


class Job:
    """A call of `slow`."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.done = 0
        self.steps = int(request.arguments.get("steps", 3))
        self.pause = float(request.arguments.get("pause", 0.05))
        self.next = time.monotonic()


class State:
    """What this process remembers."""

    modern: bool | None = None
    """Which era it has settled for."""
    client: Json = {}  # noqa: RUF012 - capabilities of the client, replaced whole
    level = "debug"
    subscribed: set[str] = set()  # noqa: RUF012
    jobs: dict[object, Job] = {}  # noqa: RUF012
    questions = 0
    asked: dict[str, tuple[Asking, str]] = {}  # noqa: RUF012 - id of a question -> whose, and which
    listening: dict[object, Json] = {}  # noqa: RUF012 - id of a subscription -> what it wants


COLOUR = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
CAPITAL = {"role": "user", "content": {"type": "text", "text": "What is the capital of France?"}}
QUESTIONS: dict[str, tuple[str, Json, Callable[[Json], str]]] = {
    "elicitation": (
        "elicitation/create",
        {"message": "Which colour?", "requestedSchema": COLOUR},
        lambda given: f"The user said {given['action']}: {given.get('content', {}).get('colour', 'nothing')}",
    ),
    "sampling": (
        "sampling/createMessage",
        {"messages": [CAPITAL], "maxTokens": 100},
        lambda given: f"The model said: {given['content']['text']}",
    ),
    "roots": (
        "roots/list",
        {},
        lambda given: "The roots are: " + ", ".join(root["uri"] for root in given["roots"]),
    ),
}
"""By capability: method, parameters, and what an answer is in words."""


class Asking:
    """What a call asks the client in the handshake era, while it waits."""

    def __init__(self, request: Request, rounds: list[list[str]]) -> None:
        self.request = request
        self.rounds = rounds
        self.said: dict[str, str] = {}

    def next(self) -> None:
        if not self.rounds:
            self.request.text(". ".join(self.said.values()))
            return
        for capability in self.rounds[0]:
            method, params, _ = QUESTIONS[capability]
            State.questions += 1
            id = f"revisions-{State.questions}"
            State.asked[id] = (self, capability)
            say(id=id, method=method, params=params)

    def answered(self, capability: str, given: Json) -> None:
        self.said[capability] = QUESTIONS[capability][2](given)
        if all(each in self.said for each in self.rounds[0]):
            del self.rounds[0]
            self.next()


def ask(request: Request, rounds: list[list[str]]) -> None:
    """Capabilities, in rounds."""
    can = request.meta[META + "clientCapabilities"] if request.modern else State.client
    for capability in (each for round in rounds for each in round):
        if capability not in can:
            words = f"The client does not offer {capability}."
            if request.modern:
                request.refuse(-32021, words, {"requiredCapabilities": {capability: {}}})
            else:
                request.text(words, wrong=True)
            return
    if request.modern:
        ask_by_result(request, rounds)
    else:
        Asking(request, rounds).next()


def ask_by_result(request: Request, rounds: list[list[str]]) -> None:
    """In which round it is, and what was said before, the client brings along."""
    number, said = 0, list[str]()
    if (state := request.params.get("requestState")) is not None:
        try:
            number, said = json.loads(base64.b64decode(state, validate=True))
        except ValueError:
            request.refuse(-32602, "requestState is not one that this server gave.")
            return
        given = request.params.get("inputResponses", {})
        if all(each in given for each in rounds[number]):
            said += [QUESTIONS[each][2](given[each]) for each in rounds[number]]
            number += 1
    if number == len(rounds):
        request.text(". ".join(said))
        return
    state = base64.b64encode(json.dumps([number, said]).encode()).decode()
    wanted = {each: {"method": QUESTIONS[each][0], "params": QUESTIONS[each][1]} for each in rounds[number]}
    request.answer({"resultType": "input_required", "inputRequests": wanted, "requestState": state})
