"""Tools, prompts and resources of the server of `revisions`: those of `plain.pl`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable

from tests.servers.revision_wire import (
    CAPABILITIES,
    HANDSHAKES,
    INFO,
    LEVELS,
    LISTS,
    META,
    MODERN,
    WATCHED,
    Job,
    Json,
    Request,
    State,
    ask,
    notify,
)

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
