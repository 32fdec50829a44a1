"""The internet around a relay, on loopback: its TLS front, and the hosts that assistants have.

    with Internet(folder) as internet, Stack(servers, relay_env=internet.relay_env, …) as stack:
        internet.lead_to(stack.relay.env["PENSTOCK_RELAY_LISTEN"])

`ORIGIN` is the relay's public URL, TLS with a certificate of this run's own CA, as a reverse proxy would
terminate it. The hosts of `HOSTS` serve the metadata documents that the assistants publish, and a page where
their callbacks lead. Names are real; `transport` and `chromium_rules` lead them to ports of this machine.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx2
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.clients.drivers import FOLDER
from tests.harness.certs import Authority

RELAY: Final = "mcp.penstock.example"
ORIGIN: Final = f"https://{RELAY}"
HOSTS: Final = ("chatgpt.com", "claude.ai", "client.example")
RELAY_PROGRAM: Final = (sys.executable, str(Path(__file__).with_name("relay_of_the_internet.py")))

CHATGPT_CALLBACK: Final = "https://chatgpt.com/connector_platform_oauth_redirect"
CHATGPT_OWN_CALLBACK: Final = "https://chatgpt.com/connector/oauth/{callback_id}"
CLAUDE_CALLBACK: Final = "https://claude.ai/api/mcp/auth_callback"
CALLBACK_ID: Final = "6f1c0a"
BACK: Final = "Back at the assistant"
"""Title and heading of the page where a login ends."""

PROGRAM: Final = "https://client.example/program.json"
"""A document for programs that are told its URL."""


def _document(client_id: str, name: str, *callbacks: str) -> dict[str, object]:
    return {
        "client_id": client_id,
        "client_name": name,
        "redirect_uris": list(callbacks),
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }


DOCUMENTS: Final = {
    found["client_id"]: found
    for found in (
        _document("https://chatgpt.com/oauth/client.json", "ChatGPT", CHATGPT_CALLBACK),
        _document(
            f"https://chatgpt.com/oauth/{CALLBACK_ID}/client.json",
            "ChatGPT",
            CHATGPT_OWN_CALLBACK.format(callback_id=CALLBACK_ID),
        ),
        _document("https://claude.ai/oauth/mcp-oauth-client-metadata", "Claude", CLAUDE_CALLBACK),
        _document(
            "https://claude.ai/oauth/claude-code-client-metadata",
            "Claude Code",
            "http://localhost/callback",
            "http://127.0.0.1/callback",
        ),
        _document(PROGRAM, "A program on this computer", "http://127.0.0.1/oauth/callback"),
    )
}
"""What the assistants publish of themselves, by client_id."""


class Internet:
    """Runs in a thread of its own. `asked` lists the URLs that anybody asked the hosts of assistants for."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder, "internet")
        names = [x509.DNSName(name) for name in (RELAY, *HOSTS)]
        files = authority.relay(names)
        self.ca = authority.ca
        key = files.certificate.public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.spki = base64.b64encode(hashlib.sha256(spki).digest()).decode()
        """What Chromium's --ignore-certificate-errors-spki-list wants of the one certificate."""
        self.asked: list[str] = []
        self.pages: dict[str, str] = {}
        """What else the hosts serve, by URL: HTML."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.chain, files.key)
        self._relay = ("127.0.0.1", 0)
        self._callers = 0
        self._ports: Future[tuple[int, int]] = Future()
        self._end: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="internet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._front, self._hosts = self._ports.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._thread.join(10)

    @property
    def relay_env(self) -> dict[str, str]:
        """Settings of a relay behind the front; start it as `RELAY_PROGRAM`."""
        return {
            "PENSTOCK_RELAY_PUBLIC_URL": ORIGIN,
            "INTERNET_PORT": str(self._hosts),
            "INTERNET_CA": str(self.ca),
        }

    def lead_to(self, address: str) -> None:
        """`address` is where the relay listens, "host:port"."""
        host, _, port = address.rpartition(":")
        self._relay = (host, int(port))

    def transport(self) -> Transport:
        """For httpx2: leads the real names here, and verifies certificates by this run's CA."""
        return Transport(self.ca, self._mapped)

    @property
    def node_env(self) -> dict[str, str]:
        """Environment of a Node program that shall find the real names here, too."""
        return {
            "NODE_OPTIONS": f"--require {FOLDER / 'internet.cjs'}",
            "NODE_EXTRA_CA_CERTS": str(self.ca),
            "INTERNET_PORTS": json.dumps(self._mapped),
        }

    @property
    def chromium_rules(self) -> str:
        """For --host-resolver-rules: nothing outside of this machine is ever asked."""
        mapped = [f"MAP {host} 127.0.0.1:{port}" for host, port in self._mapped.items()]
        return ", ".join([*mapped, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1"])

    @property
    def _mapped(self) -> dict[str, int]:
        return {RELAY: self._front, **dict.fromkeys(HOSTS, self._hosts)}

    # -- in the thread

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self._end = lambda: loop.call_soon_threadsafe(over.set)
        try:
            front = await asyncio.start_server(self._carry, "127.0.0.1", 0, ssl=self._context)
            runner = web.ServerRunner(web.Server(self._host, access_log=None))
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context)
            await site.start()
            self._ports.set_result((front.sockets[0].getsockname()[1], runner.addresses[0][1]))
        except BaseException as error:
            self._ports.set_exception(error)
            raise
        await over.wait()
        front.close()
        await runner.cleanup()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to the relay, its TLS taken off."""
        try:
            self._callers += 1
            # From an address of its own each, as callers come: limits for one address meet none of them.
            caller = f"127.1.{self._callers // 250 % 250}.{self._callers % 250 + 1}"
            inner_reader, inner_writer = await asyncio.open_connection(*self._relay, local_addr=(caller, 0))
            with contextlib.closing(inner_writer), contextlib.closing(writer):
                await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        except (OSError, asyncio.CancelledError):  # the end of all; Python 3.11 would complain of the latter
            writer.close()

    async def _host(self, request: web.BaseRequest) -> web.Response:
        """A document, or the page where a login ends."""
        url = f"https://{request.host}{request.raw_path}"
        self.asked.append(url)
        found = DOCUMENTS.get(url)
        if found is not None:
            return web.json_response(found)
        text = self.pages.get(
            url, f"<!doctype html><html lang=en><title>{BACK}</title><h1>{BACK}</h1></html>"
        )
        return web.Response(text=text, content_type="text/html")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


class Transport(httpx2.AsyncHTTPTransport):
    """Dials ports of this machine instead of the hosts in `ports`; all else about a request stays."""

    def __init__(self, ca: Path, ports: dict[str, int]) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=str(ca)), trust_env=False)
        self._mapped = ports

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        port = self._mapped.get(request.url.host)
        if port is None:
            return await super().handle_async_request(request)
        extensions = {**request.extensions, "sni_hostname": request.url.host}
        led = httpx2.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1", port=port),
            headers=request.headers,  # Host among them
            stream=request.stream,
            extensions=extensions,
        )
        return await super().handle_async_request(led)
