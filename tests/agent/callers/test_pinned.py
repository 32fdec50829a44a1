"""The provider's keys: from a file, or from the one address that the site allows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from penstock.jwks import KeysUnavailable
from penstock_agent.callers.pinned import AtUrl, InFile
from penstock_agent.problem import Problem
from tests.agent.callers.vouching import id_token
from tests.harness import signing


async def test_a_file_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(signing.key_set("ec"))
    keys = InFile(file)
    file.unlink()
    assert [key.kid for key in (await keys.of("")).keys] == ["ec"]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"junk"])
def test_a_file_that_cannot_be_used_is_said_in_words(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Problem, match=r"caller\.keys_file: .*keys\.json"):
        InFile(file)


class Publishing(BaseHTTPRequestHandler):
    answer: ClassVar[tuple[int, bytes]] = (200, b"")
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, body = self.answer
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return None


@contextmanager
def published(status: int, body: bytes) -> Iterator[str]:
    Publishing.answer, Publishing.asked[:] = (status, body), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publishing)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def found(url: str, proxy: str | None = None) -> list[str | None]:
    keys = AtUrl(url, proxy)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(keys.run())
            names = [key.kid for key in (await keys.of(id_token())).keys]
            running.cancel()
    except* KeysUnavailable as group:
        raise group.exceptions[0] from None
    return names


async def test_keys_are_fetched_when_they_are_needed() -> None:
    with published(200, signing.key_set("ec")) as url:
        assert await found(f"{url}/keys") == ["ec"]
        assert Publishing.asked == ["/keys"]


async def test_the_proxy_is_asked_where_one_is_set() -> None:
    with published(200, signing.key_set("ec")) as proxy:
        assert await found("http://login.example/keys", proxy) == ["ec"]
        assert Publishing.asked == ["http://login.example/keys"]


@pytest.mark.parametrize(("status", "body"), [(500, b""), (302, b""), (200, b"junk"), (200, b" " * 70_000)])
async def test_anything_but_keys_is_none(status: int, body: bytes) -> None:
    with published(status, body) as url, pytest.raises(KeysUnavailable):
        await found(f"{url}/keys")
    assert Publishing.asked == ["/keys"]


async def test_an_address_where_nobody_is_gives_no_keys() -> None:
    with published(200, b"") as url:
        pass
    with pytest.raises(KeysUnavailable):
        await found(url)
