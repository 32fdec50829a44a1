"""The way to the relay, step by step: name, proxy, connection, TLS, its clock, and whether it lets us in.

Nothing of it disturbs a running agent: no link is opened beside its own.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from penstock import enrolment, refusal, tls
from penstock.link import CLOSE_TIMEOUT
from penstock.tunnel.limits import SUBPROTOCOL
from penstock_agent.dialer.connect import Connect
from penstock_agent.dialer.dialer import LINK_PATH, NOT_KNOWN
from penstock_agent.dialer.proxy import redact
from penstock_agent.dialer.reach import explain, is_foreign_certificate
from penstock_agent.doctor.findings import Finding, Grade, failed, ok, warning
from penstock_agent.enrolment.firstcontact import MAX_HEAD_BYTES, NotARelay, connected, issuer_of
from penstock_agent.problem import printable
from penstock_agent.renewal.verdict import judge
from penstock_agent.state import Joined

STEP_S: Final = 10.0
"""Seconds for each step."""
SKEW_S: Final = 60.0
"""Seconds by which the two clocks may differ: the relay's date has no fractions, and it travels."""


@dataclass(frozen=True, slots=True)
class Way:
    """From here to the relay."""

    joined: Joined
    proxy: str | None
    ca_file: Path | None = None

    @property
    def url(self) -> str:
        return self.joined.relay_url


async def walk(
    way: Way, *, link: bool, step_s: float = STEP_S, clock: Callable[[], float] = time.time
) -> AsyncIterator[Finding]:
    """Ends with the first step that does not work. ``link``: ask whether the relay lets this agent in, too;
    not while the agent runs, which says so itself.
    """
    yield ok("proxy", f"{redact(way.proxy)} is used" if way.proxy else "none is used")
    found = await _resolve(way, step_s)
    yield found
    if found.grade is Grade.FAILED:
        return
    try:
        async with asyncio.timeout(step_s):
            reader, writer = await connected(way.url, way.proxy)
    except (OSError, EOFError, TimeoutError) as error:
        yield failed("connection", explain(error, way.url, way.proxy))
        return
    try:
        place = urlsplit(way.url).netloc
        yield ok("connection", f"{place} answers{' through the proxy' if way.proxy else ''}")
        begun = clock()
        try:
            async with asyncio.timeout(step_s):
                date = await _greet(way, reader, writer)
        except (OSError, EOFError, TimeoutError, NotARelay, tls.BadTlsFile) as error:
            yield await _no_tls(way, error, step_s)
            return
        yield ok("tls", f"{place} holds a certificate of the relay's CA")
        if date is not None:
            yield skew(date - (begun + clock()) / 2)
    finally:
        writer.transport.abort()
    if link:
        yield await _let_in(way, step_s)


def skew(seconds: float) -> Finding:
    """``seconds``: by which the relay's clock is ahead of ours."""
    if abs(seconds) <= SKEW_S:
        return ok("clock", "goes like the relay's")
    which = "behind" if seconds > 0 else "ahead of"
    return warning(
        "clock",
        f"This machine's clock is {abs(seconds):.0f} s {which} the relay's. Certificates and the "
        "ledger's times "
        "depend on it: set it (timedatectl set-ntp true).",
    )


async def _resolve(way: Way, step_s: float) -> Finding:
    host = urlsplit(way.proxy or way.url).hostname or ""
    try:
        async with asyncio.timeout(step_s):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        return failed(
            "dns", f"The name {host} was not resolved within {step_s:g} s. Check this machine's DNS."
        )
    except OSError as error:
        return failed("dns", explain(error, way.url, way.proxy))
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    return ok("dns", f"{host} is {', '.join(list(addresses)[:4])}")


async def _greet(way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float | None:
    """The date of the relay's answer, where it has one."""
    parts = urlsplit(way.url)
    context = tls.client_context(way.ca_file or way.joined.ca_file, None, None)
    await writer.start_tls(context, server_hostname=parts.hostname or "")
    request = f"GET {enrolment.CA_PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    try:
        head = (await reader.readuntil(b"\r\n\r\n"))[:MAX_HEAD_BYTES].decode("latin-1")
    except asyncio.LimitOverrunError:
        raise NotARelay("answered with an endless header") from None
    status, *lines = head.split("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise NotARelay("does not answer like a relay's tunnel listener")
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "date":
            try:
                return parsedate_to_datetime(value.strip()).timestamp()
            except (ValueError, OverflowError):
                return None
    return None


async def _no_tls(way: Way, error: Exception, step_s: float) -> Finding:
    if isinstance(error, tls.BadTlsFile):
        return failed("tls", str(error))
    if isinstance(error, NotARelay):
        return failed(
            "tls", f"{urlsplit(way.url).netloc} {error}. Check the address with the relay's operator."
        )
    text = explain(error, way.url, way.proxy)
    if is_foreign_certificate(error) and (issuer := await _issuer(way, step_s)):
        text += f" The certificate that is shown here was issued by: {printable(issuer, 200)}."
    return failed("tls", text)


async def _issuer(way: Way, step_s: float) -> str:
    """Who issued the certificate that is shown; empty where that cannot be said."""
    try:
        async with asyncio.timeout(step_s):
            _, writer = await connected(way.url, way.proxy)
            try:
                await writer.start_tls(tls.probe_context(), server_hostname=urlsplit(way.url).hostname or "")
                return issuer_of(writer)
            finally:
                writer.transport.abort()
    except (OSError, EOFError, TimeoutError):
        return ""


async def _let_in(way: Way, step_s: float) -> Finding:
    """Opens the websocket of a link and says nothing on it: no link comes of that."""
    joined = way.joined
    try:
        context = tls.client_context(way.ca_file or joined.ca_file, joined.certificate_file, joined.key_file)
        async with Connect(
            way.url + LINK_PATH,
            ssl=context,
            proxy=way.proxy,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            open_timeout=step_s,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=None,
            user_agent_header=None,
        ) as websocket:
            if websocket.subprotocol != SUBPROTOCOL:
                return failed(
                    "link",
                    f"The relay does not speak {SUBPROTOCOL}. Update the older of agent and relay.",
                )
    except tls.BadTlsFile as error:
        return failed("link", str(error))
    except InvalidStatus as error:
        if error.response.status_code == NOT_KNOWN:
            try:
                said = refusal.decode(bytes(error.response.body or b""))
                return failed("link", str(judge(said, joined)))
            except refusal.BadRefusal:
                pass
        return failed("link", explain(error, way.url, way.proxy))
    except (OSError, EOFError, TimeoutError, WebSocketException, ValueError) as error:
        return failed("link", explain(error, way.url, way.proxy))
    return ok("link", f"the relay accepts this agent's certificate, and speaks {SUBPROTOCOL}")
