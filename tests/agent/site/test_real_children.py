"""The whole site with real processes, in two languages."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from penstock_agent.children.child import ChildSpec, ProcessSpec
from penstock_agent.children.pool import Children
from penstock_agent.remote.remotes import Remotes
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import Servers, spec, whole_site
from penstock_agent.site.aggregate import Aggregate
from penstock_agent.site.settings import SiteSettings
from tests.agent.endpoint.talk import Json

ROOT = Path(__file__).parents[3]
ENVIRON = {"PATH": "/usr/bin:/bin"}

#: Not one of the fastest to start, and answers what it is asked for by name.
SERVER = """
import json, os, sys
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m:
        continue
    if m["method"] == "initialize":
        r = {"protocolVersion": m["params"]["protocolVersion"], "capabilities": {"tools": {}}}
    elif m["method"] == "tools/list":
        r = {"tools": [{"name": "pid", "inputSchema": {"type": "object"}}]}
    elif m["params"]["name"] == "die":
        os._exit(3)
    else:
        r = {"content": [{"type": "text", "text": str(os.getpid())}]}
    print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
"""


class Spoken:
    def __init__(self, aggregate: Aggregate) -> None:
        self.aggregate = aggregate
        self.noted: list[object] = []

    async def ask(self, method: str, **params: object) -> Json:
        await self.aggregate.send(
            json.dumps({"jsonrpc": "2.0", "id": method, "method": method, "params": params}).encode()
        )
        while True:
            line = await self.aggregate.receive()
            assert isinstance(line, bytes)
            message = json.loads(line)
            if message.get("id") == method:
                assert isinstance(message, dict)
                return message
            self.noted.append(message.get("method"))


async def test_two_servers_of_two_languages_are_one(tmp_path: Path) -> None:
    servers = {
        "perl": ServerSettings(command=("perl", str(ROOT / "tests/servers/plain.pl")), expose=("echo",)),
        "python": ServerSettings(command=(sys.executable, "-c", SERVER), expose=("*",)),
        "gone": ServerSettings(command=("/nowhere/at/all",), expose=("*",)),
        "shut": ServerSettings(command=("/nowhere/at/all",)),
    }
    specs: dict[str, ChildSpec] = {name: spec(tmp_path, name, one, ENVIRON) for name, one in servers.items()}
    site = whole_site(SiteSettings(alias={"whoami": "python.pid"}), servers, specs)
    assert site is not None
    assert [member.name for member in site.members] == ["perl", "python", "gone"]
    async with (
        Children() as children,
        Remotes() as remotes,
        Servers(children, remotes) as running,
        asyncio.timeout(60),
    ):
        aggregate = await running.start(site)
        assert isinstance(aggregate, Aggregate)
        spoken = Spoken(aggregate)
        greeted = await spoken.ask("initialize", protocolVersion="2025-11-25", capabilities={})
        assert "result" in greeted
        await aggregate.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        listed = (await spoken.ask("tools/list"))["result"]
        assert [tool["name"] for tool in listed["tools"]] == ["perl__echo", "whoami"]  # type: ignore[index]
        echoed = await spoken.ask("tools/call", name="perl__echo", arguments={"text": "hi"})
        assert echoed["result"]["content"][0]["text"] == "hi"  # type: ignore[index]
        before = await spoken.ask("tools/call", name="whoami")
        died = await spoken.ask("tools/call", name="python__die")
        assert "may or may not have taken effect" in died["result"]["content"][0]["text"]  # type: ignore[index]
        after = await spoken.ask("tools/call", name="whoami")
        assert before["result"] != after["result"], "another process"
        counted = +Counter(running.running())
        counted.pop("gone", None)  # being tried again, or not just now
        assert counted == {"perl": 1, "python": 1}
        await aggregate.stop()
        assert len(children) == 0
    assert isinstance(specs["perl"], ProcessSpec)
