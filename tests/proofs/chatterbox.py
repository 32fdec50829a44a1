"""A stdio server that never stops talking: on its output, on standard error, and into files of its folder.

Standard library only. Every kind of message that a server could send without being asked is among it, and
answers to requests that nobody made. Writes how many lines it has said to the file `said` of its folder.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from itertools import count

SECRET = os.environ.get("CHATTER", "chatter")
ROUND_S = 0.02
"""Between two rounds of chatter."""
LOCK = threading.Lock()


def write(*lines: bytes) -> None:
    with LOCK:
        sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
        sys.stdout.buffer.flush()


def say(**message: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


def tools(round_: int) -> list[dict[str, object]]:
    """Others in every round."""
    return [
        {"name": "echo", "description": f"{SECRET} {round_}", "inputSchema": {"type": "object"}},
        {"name": f"tool-{round_}-{SECRET}", "inputSchema": {"type": "object"}},
    ]


ROUND = count(1)
"""Shared: the list of tools changes with the chatter, too."""


def chatter() -> None:
    for number in ROUND:
        text = f"{SECRET} {number}"
        write(
            say(method="notifications/message", params={"level": "error", "data": text}),
            say(method="notifications/progress", params={"progressToken": number % 5, "progress": number}),
            say(method="notifications/tools/list_changed"),
            say(method="notifications/resources/list_changed"),
            say(method="notifications/prompts/list_changed"),
            say(method="notifications/resources/updated", params={"uri": f"file:///{SECRET}"}),
            say(method="notifications/cancelled", params={"requestId": number % 7, "reason": text}),
            say(method=f"notifications/{SECRET}", params={"text": text}),
            say(id=number % 9, result={"content": [{"type": "text", "text": text}]}),
            say(id=str(number), error={"code": -32000, "message": text}),
            say(id=f"ask-{number}", method="sampling/createMessage", params={"messages": [text]}),
            say(id=f"roots-{number}", method="roots/list"),
            say(id=f"ping-{number}", method="ping"),
        )
        if not number % 50:
            write(b"no JSON: " + text.encode())
        os.write(2, f"{text} on standard error\n".encode())
        with open(f"{SECRET}-{number % 20}", "w") as file:
            file.write(text)
        with open("said", "w") as file:
            file.write(str(13 * number))
        time.sleep(ROUND_S)


threading.Thread(target=chatter, daemon=True).start()
for line in sys.stdin.buffer:
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    if method == "initialize":
        result: dict[str, object] = {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {
                "tools": {"listChanged": True},
                "prompts": {"listChanged": True},
                "resources": {"listChanged": True, "subscribe": True},
                "logging": {},
            },
            "serverInfo": {"name": SECRET, "version": "1"},
        }
    elif method == "tools/list":
        result = {"tools": tools(next(ROUND))}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": json.dumps(message["params"])}]}
    else:
        result = {}
    if method is not None and id is not None:
        write(say(id=id, result=result))
