"""`penstock-relay` on a machine where the hosts of assistants' documents are ports of the loopback.

Run as a program. Nothing of the relay is another than the user's but what stands between it and a name
server: any host is at 127.0.0.1, port `INTERNET_PORT`, and proves itself by the CA in `INTERNET_CA`.
"""

from __future__ import annotations

import os
import ssl
from functools import partial
from typing import Any

from aiohttp.abc import ResolveResult

from penstock_relay import daemon
from penstock_relay.cli import main
from penstock_relay.oauth import fetch


async def _find(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def _rebuild() -> None:
    port = int(os.environ["INTERNET_PORT"])
    resolve = fetch._Judged.resolve

    async def elsewhere(self: fetch._Judged, *given: Any, **named: Any) -> list[ResolveResult]:
        found = await resolve(self, *given, **named)
        return [ResolveResult(**{**each, "port": port}) for each in found]

    fetch._Judged.resolve = elsewhere  # type: ignore[method-assign]
    documents = partial(
        fetch.Documents,
        find=_find,
        allow=lambda address: address == "127.0.0.1",
        context=ssl.create_default_context(cafile=os.environ["INTERNET_CA"]),
    )
    setattr(daemon, "Documents", documents)  # noqa: B010  the daemon imports it by its name


if __name__ == "__main__":
    _rebuild()
    main()
