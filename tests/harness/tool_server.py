"""A stdio MCP server whose tools do what the tests need, good and bad. Standard library only, no SDK.

    python tests/harness/tool_server.py [LEDGER]

Each tools/call writes one line (tool, id) to LEDGER before anything else, so that a test can count runs.
"""

import json
import os
import sys
import threading
import time
from typing import Any

OUT = threading.Lock()
LEDGER = sys.argv[1] if len(sys.argv) > 1 else os.devnull
CANCELLED: set[str] = set()
ANSWERS: dict[object, object] = {}
ANSWERED = threading.Condition()

TOOLS = {
    "echo": "gives its arguments back",
    "count": "writes to the ledger only",
    "big": "a text of `size` bytes",
    "progress": "`steps` notifications, then its label",
    "sleep": "answers after `seconds`, or when cancelled",
    "hang": "never answers",
    "die": "ends the process",
    "junk": "writes lines that are no JSON, then answers",
    "endless": "writes `size` bytes without a line break, then answers",
    "surrogate": "answers with a lone surrogate, as broken strings do in JavaScript",
    "ask": "asks the client for its roots and tells what it said",
    "pid": "the process id",
    "hidden": "is never exposed",
}


def write(line: bytes) -> None:
    with OUT:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def send(message: object) -> None:
    write(json.dumps(message).encode() + b"\n")


def answer(id: object, text: str) -> None:
    send({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})


def call(id: object, params: Any) -> None:
    name, arguments = params["name"], params.get("arguments", {})
    with open(LEDGER, "a") as ledger:
        ledger.write(f"{name} {arguments.get('tag', '')}\n")
    if name == "echo":
        answer(id, json.dumps(arguments))
    elif name == "count":
        answer(id, "counted")
    elif name == "big":
        answer(id, "x" * arguments["size"])
    elif name == "progress":
        token = params["_meta"]["progressToken"]
        for step in range(arguments["steps"]):
            value = {"progressToken": token, "progress": step, "message": arguments["label"]}
            send({"jsonrpc": "2.0", "method": "notifications/progress", "params": value})
            time.sleep(arguments.get("pause", 0.01))
        answer(id, arguments["label"])
    elif name == "sleep":
        until = time.monotonic() + arguments["seconds"]
        while time.monotonic() < until and json.dumps(id) not in CANCELLED:
            time.sleep(0.01)
        answer(id, "slept")
    elif name == "hang":
        pass
    elif name == "die":
        os._exit(3)
    elif name == "junk":
        write(b"this is no JSON\n\n[]\n\xff\xfe\n" + b'{"jsonrpc": "2.0", "id": "nobody", "result": {}}\n')
        answer(id, "after junk")
    elif name == "endless":
        with OUT:  # one line: nothing of another thread may stand in it
            for _ in range(arguments["size"] // 65536):
                sys.stdout.buffer.write(b"y" * 65536)
            sys.stdout.buffer.write(b"\n")
            sys.stdout.buffer.flush()
        answer(id, "after an endless line")
    elif name == "surrogate":
        content = '{"content":[{"type":"text","text":"\\ud800"}]}'
        write(f'{{"jsonrpc":"2.0","id":{json.dumps(id)},"result":{content}}}\n'.encode())
    elif name == "ask":
        send({"jsonrpc": "2.0", "id": 7, "method": "roots/list"})
        with ANSWERED:
            ANSWERED.wait_for(lambda: 7 in ANSWERS, 20)
        answer(id, json.dumps(ANSWERS.pop(7, None)))
    elif name == "pid":
        answer(id, str(os.getpid()))
    else:
        send({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "no such tool"}})


def handle(message: Any) -> None:
    method, id = message.get("method"), message.get("id")
    if method == "initialize":
        result = {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "tool-server", "version": "1"},
        }
        send({"jsonrpc": "2.0", "id": id, "result": result})
    elif method == "tools/list":
        tools = [
            {"name": n, "description": d, "inputSchema": {"type": "object"}, "x-number": 10**39 + 7}
            for n, d in TOOLS.items()
        ]
        send({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}})
    elif method == "tools/call":
        threading.Thread(target=call, args=(id, message["params"]), daemon=True).start()
    elif method == "notifications/cancelled":
        CANCELLED.add(json.dumps(message["params"]["requestId"]))
    elif method == "ping":
        send({"jsonrpc": "2.0", "id": id, "result": {}})
    elif method is None:
        with ANSWERED:
            ANSWERS[id] = message.get("result", message.get("error"))
            ANSWERED.notify_all()
    elif id is not None:
        send({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "unknown method"}})


for line in sys.stdin.buffer:
    handle(json.loads(line))
