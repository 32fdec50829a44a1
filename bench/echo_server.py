"""The stdio server of the bench: one tool, `echo`, and as little work of its own as Python allows."""

import json
import sys

TOOLS = [
    {
        "name": "echo",
        "description": "Gives back its text.",
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        "annotations": {"readOnlyHint": True},
    }
]


def answer(message: dict[str, dict[str, object]]) -> object:
    method, params = str(message["method"]), message.get("params", {})
    if method == "tools/call":
        arguments = params["arguments"]
        text = arguments["text"] if isinstance(arguments, dict) else ""
        return {"content": [{"type": "text", "text": text}]}
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bench-echo", "version": "1"},
        }
    return {"tools": TOOLS} if method == "tools/list" else {}


for line in sys.stdin.buffer:
    request = json.loads(line)
    if "id" in request and "method" in request:
        reply = {"jsonrpc": "2.0", "id": request["id"], "result": answer(request)}
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()
