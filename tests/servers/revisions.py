"""A small MCP server of whichever era it is told, over stdio, with the standard library only.

    python -m tests.servers.revisions handshake|modern|dual

A server of both eras settles for one with the first request that it gets. Everything is one process and one
loop; what takes time is a job that the loop resumes.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

from tests.servers.revision_features import OF_HANDSHAKE, OF_MODERN, note_of
from tests.servers.revision_wire import META, MODERN, Json, Request, State, notify


def serve(message: Json, eras: str) -> None:
    method = message.get("method")
    if method is None:
        answered(message)
    elif "id" not in message:
        if method == "notifications/cancelled":
            cancel(message["params"]["requestId"])
    else:
        request = Request(message, META + "protocolVersion" in message.get("params", {}).get("_meta", {}))
        if in_its_era(request, eras):
            function = (OF_MODERN if request.modern else OF_HANDSHAKE).get(request.method)
            if function is None:
                request.refuse(-32601, f"There is no method {request.method}.")
            else:
                function(request)


def in_its_era(request: Request, eras: str) -> bool:
    """Whether this process takes such a request at all; it has been refused if not."""
    modern = request.modern
    if modern and request.meta[META + "protocolVersion"] != MODERN and eras != "handshake":
        refuse_version(request)
    elif modern and META + "clientCapabilities" not in request.meta:
        request.refuse(-32602, "_meta has no clientCapabilities.")
    elif (eras == "handshake" and modern) or (State.modern is False and modern):
        request.refuse(-32601, f"There is no method {request.method}.")
    elif (eras == "modern" and not modern) or (State.modern is True and not modern):
        refuse_version(request)
    else:
        State.modern = modern
        return True
    return False


def refuse_version(request: Request) -> None:
    asked = request.meta.get(META + "protocolVersion", request.params.get("protocolVersion", "none"))
    data: Json = {"supported": [MODERN], "requested": asked}
    request.refuse(-32022, f"This server speaks {MODERN}.", data)


def answered(message: Json) -> None:
    asking, capability = State.asked.pop(message["id"], (None, ""))
    if asking is None:
        return
    if "error" in message:
        forget(asking.request.id)
        asking.request.text(f"The client refused: {message['error']['message']}", wrong=True)
    else:
        asking.answered(capability, message["result"])


def forget(id: object) -> None:
    """The questions of this call."""
    for question, (asking, _) in list(State.asked.items()):
        if asking.request.id == id:
            del State.asked[question]


def cancel(id: object) -> None:
    State.listening.pop(id, None)
    forget(id)
    job = State.jobs.pop(id, None)
    if job is not None and "key" in job.request.arguments:
        with open(note_of(job.request), "wb"):
            pass


def work() -> float | None:
    """Does what is due; returns in how many seconds something is."""
    wait: float | None = None
    for id, job in list(State.jobs.items()):
        if job.next <= time.monotonic():
            if job.done >= job.steps:
                del State.jobs[id]
                job.request.text(f"Took {job.done} steps.")
                continue
            job.done += 1
            job.next = time.monotonic() + job.pause
            if (token := job.request.meta.get("progressToken")) is not None:
                step = {"progress": job.done, "total": job.steps, "message": f"step {job.done}"}
                notify("notifications/progress", progressToken=token, **step)
        left = max(0.0, job.next - time.monotonic())
        wait = left if wait is None else min(wait, left)
    return wait


def main(eras: str) -> None:
    heard = b""
    while True:
        if not select.select([0], [], [], work())[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            return
        *lines, heard = (heard + read).split(b"\n")
        for line in lines:
            serve(json.loads(line), eras)


if __name__ == "__main__":
    main(sys.argv[1])
