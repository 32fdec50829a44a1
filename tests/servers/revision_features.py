"""Tools, prompts and resources of the server of `revisions`: those of `plain.pl`, in each era's own way."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
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


TOOLS: dict[str, tuple[str, Json, Callable[[Request], None]]] = {}


def tool(description: str, **properties: str) -> Callable[[Callable[[Request], None]], object]:
    """The name is that of the function; the properties are types by name."""

    def add(function: Callable[[Request], None]) -> object:
        schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}
        TOOLS[function.__name__.rstrip("_")] = (description, schema, function)
        return function

    return add


@tool("Gives its text back.", text="string")
def echo(request: Request) -> None:
    request.text(request.arguments["text"])


@tool(
    "Takes `steps` steps of `pause` seconds, with progress for each.",
    steps="integer",
    pause="number",
    key="string",
)
def slow(request: Request) -> None:
    State.jobs[request.id] = Job(request)


@tool("Whether a call of `slow` with this key has been cancelled, in whichever process.", key="string")
def cancelled(request: Request) -> None:
    request.text("yes" if os.path.exists(note_of(request)) else "no")


@tool("How many calls of `slow` are not finished.")
def running(request: Request) -> None:
    request.text(len(State.jobs))


@tool("Ends the process.")
def die(request: Request) -> None:
    sys.exit(3)


@tool("Gives back what its `_meta` has of others than MCP, and something of its own in its result's.")
def meta(request: Request) -> None:
    own = {name: value for name, value in request.meta.items() if not name.startswith(META)}
    content = [{"type": "text", "text": json.dumps(own)}]
    request.answer({"content": content, "_meta": {"example.com/back": [1]}, "example": {"a": None}})


@tool("Fails.")
def fail(request: Request) -> None:
    request.text("It failed, as it should.", wrong=True)


@tool("Logs a text at a level.", text="string", level="string")
def log(request: Request) -> None:
    wanted = request.meta.get(META + "logLevel") if request.modern else State.level
    level = request.arguments["level"]
    if wanted is not None and LEVELS.index(level) >= LEVELS.index(wanted):
        notify("notifications/message", level=level, logger="plain", data=request.arguments["text"])
    request.text("Logged.")


@tool("Says that tools, prompts or resources have changed, or one resource to who subscribed.", what="string")
def change(request: Request) -> None:
    what = request.arguments["what"]
    if request.modern:
        for id, wanted in State.listening.items():
            tag = {"_meta": {META + "subscriptionId": id}}
            if what in LISTS and wanted.get(f"{what}ListChanged"):
                notify(f"notifications/{what}/list_changed", **tag)
            elif what == "watched" and WATCHED in wanted.get("resourceSubscriptions", ()):
                notify("notifications/resources/updated", uri=WATCHED, **tag)
    elif what in LISTS:
        notify(f"notifications/{what}/list_changed")
    elif WATCHED in State.subscribed:
        notify("notifications/resources/updated", uri=WATCHED)
    request.text("Said so.")


@tool("Asks the user for a colour.")
def elicit(request: Request) -> None:
    ask(request, [["elicitation"]])


@tool("Asks the client's model.")
def sample(request: Request) -> None:
    ask(request, [["sampling"]])


@tool("Asks for the client's roots.")
def roots(request: Request) -> None:
    ask(request, [["roots"]])


@tool("Asks the user and the client's model, at once.")
def both(request: Request) -> None:
    ask(request, [["elicitation", "sampling"]])


@tool("Asks the user, and then the client's model.")
def twice(request: Request) -> None:
    ask(request, [["elicitation"], ["sampling"]])


# -- questions

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


# -- other requests


def note_of(request: Request) -> str:
    """Where a process leaves word that a call was cancelled, for the others of this server."""
    return "cancelled-" + re.sub(r"[^a-z0-9-]", "", str(request.arguments["key"]))


def initialize(request: Request) -> None:
    State.client = request.params["capabilities"]
    asked = request.params["protocolVersion"]
    agreed = asked if asked in HANDSHAKES else HANDSHAKES[0]
    request.answer({"protocolVersion": agreed, "capabilities": CAPABILITIES, "serverInfo": INFO})


def list_tools(request: Request) -> None:
    found = [
        {"name": name, "description": description, "inputSchema": schema}
        for name, (description, schema, _) in TOOLS.items()
    ]
    request.answer({"tools": found})


def call_tool(request: Request) -> None:
    if request.params["name"] in TOOLS:
        TOOLS[request.params["name"]][2](request)
    else:
        request.refuse(-32602, "There is no such tool.")


def list_prompts(request: Request) -> None:
    arguments = [{"name": "whom", "description": "Who is greeted", "required": True}]
    request.answer({"prompts": [{"name": "greeting", "description": "A greeting.", "arguments": arguments}]})


def get_prompt(request: Request) -> None:
    if request.params["name"] != "greeting":
        request.refuse(-32602, "There is no such prompt.")
        return
    words = {"type": "text", "text": f"Greet {request.arguments['whom']}."}
    request.answer({"messages": [{"role": "user", "content": words}]})


def complete(request: Request) -> None:
    begun = request.params["argument"]["value"]
    values = [name for name in ("Ada", "Alan", "Grace") if name.startswith(begun)]
    request.answer({"completion": {"values": values, "total": len(values), "hasMore": False}})


def list_resources(request: Request) -> None:
    found = [
        {"uri": "plain://note", "name": "note", "description": "A note."},
        {"uri": WATCHED, "name": "watched", "description": "Can be subscribed to."},
    ]
    request.answer({"resources": found})


def list_templates(request: Request) -> None:
    square = {"uriTemplate": "plain://square/{number}", "name": "square", "description": "The square."}
    request.answer({"resourceTemplates": [square]})


def read_resource(request: Request) -> None:
    uri = request.params["uri"]
    text = {"plain://note": "Water flows through the penstock.", WATCHED: "Watched."}.get(uri)
    if (square := re.fullmatch(r"plain://square/(\d{1,6})", uri)) is not None:
        text = str(int(square[1]) ** 2)
    if text is None:
        request.refuse(-32602 if request.modern else -32002, "Resource not found", {"uri": uri})
        return
    request.answer({"contents": [{"uri": uri, "mimeType": "text/plain", "text": text}]})


def subscribe(request: Request) -> None:
    State.subscribed.add(request.params["uri"])
    request.answer({})


def unsubscribe(request: Request) -> None:
    State.subscribed.discard(request.params["uri"])
    request.answer({})


def set_level(request: Request) -> None:
    State.level = request.params["level"]
    request.answer({})


def discover(request: Request) -> None:
    request.answer({"supportedVersions": [MODERN], "capabilities": CAPABILITIES})


def listen(request: Request) -> None:
    wanted: Json = request.params["notifications"]
    State.listening[request.id] = wanted
    tag = {META + "subscriptionId": request.id}
    notify("notifications/subscriptions/acknowledged", _meta=tag, notifications=wanted)


SHARED: dict[str, Callable[[Request], None]] = {
    "tools/list": list_tools,
    "tools/call": call_tool,
    "prompts/list": list_prompts,
    "prompts/get": get_prompt,
    "completion/complete": complete,
    "resources/list": list_resources,
    "resources/templates/list": list_templates,
    "resources/read": read_resource,
}
OF_HANDSHAKE = {
    **SHARED,
    "initialize": initialize,
    "ping": lambda request: request.answer({}),
    "resources/subscribe": subscribe,
    "resources/unsubscribe": unsubscribe,
    "logging/setLevel": set_level,
}
OF_MODERN = {**SHARED, "server/discover": discover, "subscriptions/listen": listen}
