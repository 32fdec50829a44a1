"""A process that owns a child in a container like the agent does: ``contained_agent.py STATE SETTINGS``.

SETTINGS is a server's table as JSON. It starts one, says a line that the child writes, and waits to be
killed.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from penstock_agent.children.child import Child, ProcessSpec
from penstock_agent.children.keeper import Keeper
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import spec


async def main(state: Path, settings: str) -> None:
    what = spec(state, "probe", ServerSettings.model_validate(json.loads(settings)), os.environ)
    assert isinstance(what, ProcessSpec)
    child = await Child.start(what, await Keeper.start())
    os.write(1, b"started\n")
    line = await child.receive()
    assert isinstance(line, bytes)
    os.write(1, line + b"\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
