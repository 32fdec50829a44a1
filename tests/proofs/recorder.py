"""A stdio server that writes down every line that it gets, in `journal` in its folder, and answers all.

    python recorder.py SEED NAME

Whatever it says of an item holds a canary of that item, so that it can be told where it is seen. Both eras;
standard library only. The tool `late` answers only once it was cancelled, as servers that do not listen do.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time

SEED = NAME = ""
"""Of the program; whoever imports this sets them."""
TOOLS = ("allowed", "hidden", "danger", "late", "wrong")
RESOURCES = ("file:///allowed", "file:///hidden")
PROMPTS = ("greet", "hidden")
MODERN = "2026-07-28"


def canary(what: str) -> str:
    """128 bits that say what they are of, to those who know the seed."""
    return hashlib.sha256(f"{SEED}/{NAME}/{what}".encode()).hexdigest()[:32]


def say(**message: object) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tools() -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "title": canary(f"title:{name}"),
            "description": canary(f"description:{name}"),
            "inputSchema": {
                "type": "object",
                "properties": {"word": {"type": "string", "description": canary(f"schema:{name}")}},
            },
            "annotations": {"readOnlyHint": name == "allowed"},
            "_meta": {"x": canary(f"meta:{name}")},
        }
        for name in TOOLS
    ]


def result(method: str, params: dict[str, object]) -> dict[str, object] | None:
    about = {"serverInfo": {"name": NAME, "version": "1"}, "instructions": canary("instructions")}
    able = {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True},
        "prompts": {},
        "completions": {},
        "logging": {},
    }
    if method == "initialize":
        if params.get("protocolVersion") == MODERN:
            return None
        return {"protocolVersion": params.get("protocolVersion"), "capabilities": able, **about}
    if method == "server/discover":
        return None
    if method == "tools/list":
        return {"tools": tools()}
    if method == "tools/call":
        text = canary(f"result:{params.get('name')}")
        # The same in the forms that text may take.
        forms = [text, text.encode().hex(), text[::-1], f"{text}é\n"]
        return {"content": [{"type": "text", "text": json.dumps(forms)}]}
    if method == "resources/list":
        return {"resources": [{"uri": uri, "name": canary(f"name:{uri}")} for uri in RESOURCES]}
    if method == "resources/templates/list":
        return {"resourceTemplates": [{"uriTemplate": "file:///{x}", "name": canary("template")}]}
    if method == "resources/read":
        uri = params.get("uri")
        return {"contents": [{"uri": uri, "text": canary(f"content:{uri}")}]}
    if method == "prompts/list":
        return {"prompts": [{"name": name, "description": canary(f"prompt:{name}")} for name in PROMPTS]}
    if method == "prompts/get":
        text = canary(f"said:{params.get('name')}")
        return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}
    if method == "completion/complete":
        return {"completion": {"values": [canary("completion")]}}
    return {"x": canary(f"method:{method}")}


def main() -> None:
    late: dict[str, object] = {}
    with open("journal", "ab", buffering=0) as journal:
        os.makedirs(canary("folder"), exist_ok=True)
        with open(f"{canary('folder')}/{canary('file name')}", "w") as file:
            file.write(canary("file content"))
        for line in sys.stdin.buffer:
            journal.write(line)
            try:
                message = json.loads(line)
                method, id, params = message.get("method"), message.get("id"), message.get("params") or {}
            except (ValueError, AttributeError):
                continue
            os.write(2, f"{canary('stderr')} {time.time()}\n".encode())
            if method == "notifications/cancelled":
                if (waiting := late.pop(json.dumps(params.get("requestId")), None)) is not None:
                    # As if it had not been cancelled.
                    say(id=waiting, result=result("tools/call", {"name": "late"}))
                continue
            # A message without id is answered by nobody; a sloppy server may act on it all the same.
            if method is None or id is None:
                continue
            if method == "tools/call" and params.get("name") == "late":
                late[json.dumps(id)] = id
                continue
            if method == "tools/call" and params.get("name") == "wrong":
                say(id=id, error={"code": -32602, "message": canary("result:wrong")})
                continue
            found = result(method, params)
            if found is None:
                say(id=id, error={"code": -32601, "message": "no such method"})
            else:
                say(id=id, result=found)


if __name__ == "__main__":
    SEED, NAME = sys.argv[1:3]
    main()
