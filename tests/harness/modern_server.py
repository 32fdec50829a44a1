"""A server of 2026-07-28 in a few lines, without any SDK: it starts at once, and counts what was cancelled.

echo      gives its arguments back
hang      never answers
cancelled how many requests were cancelled so far
change    tells subscriptions that the tools have changed
slow      answers after `seconds`, with progress on the way
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

TOOLS = ("echo", "hang", "cancelled", "change", "slow")
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
VERSIONS = ["2026-07-28"]

_lock = threading.Lock()
_cancelled = 0
_listening: list[object] = []


def say(**message: object) -> None:
    with _lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def note(method: str, **params: object) -> None:
    say(method=method, params=params)


def answer(id: object, text: object) -> None:
    say(id=id, result={"resultType": "complete", "content": [{"type": "text", "text": json.dumps(text)}]})


def slow(id: object, token: object, seconds: float) -> None:
    if token is not None:
        note("notifications/progress", progressToken=token, progress=0)
    threading.Timer(seconds, answer, (id, "done")).start()


def call(id: object, name: str, params: dict[str, Any]) -> None:
    arguments = params.get("arguments", {})
    if name == "echo":
        answer(id, arguments)
    elif name == "cancelled":
        answer(id, _cancelled)
    elif name == "slow":
        slow(id, params["_meta"].get("progressToken"), float(arguments["seconds"]))
    elif name == "change":
        for one in _listening:
            note("notifications/tools/list_changed", _meta={SUBSCRIPTION: one})
        answer(id, len(_listening))


def serve(message: dict[str, Any]) -> None:
    global _cancelled
    id, method, params = message.get("id"), message.get("method"), message.get("params", {})
    if method == "notifications/cancelled":
        _cancelled += 1
        if params["requestId"] in _listening:
            _listening.remove(params["requestId"])
    elif method == "server/discover":
        found = {"supportedVersions": VERSIONS, "capabilities": {"tools": {"listChanged": True}}}
        say(id=id, result={"resultType": "complete", **found, "ttlMs": 0, "cacheScope": "public"})
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
        say(id=id, result={"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "public"})
    elif method == "subscriptions/listen":
        _listening.append(id)
        wanted = params["notifications"]
        note("notifications/subscriptions/acknowledged", _meta={SUBSCRIPTION: id}, notifications=wanted)
    elif method == "tools/call":
        call(id, params["name"], params)
    elif id is not None:
        say(id=id, error={"code": -32601, "message": f"no {method} here"})


if __name__ == "__main__":
    for line in sys.stdin:
        serve(json.loads(line))
