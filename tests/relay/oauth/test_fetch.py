"""Documents of strangers: which hosts are asked, and what of their answers is taken. Real TLS on loopback;
tests/data/oauth/addresses.json has the addresses."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from penstock.jwks import FetchError
from penstock_relay.oauth import copies as kept
from penstock_relay.oauth import fetch
from penstock_relay.oauth.copies import FAILED_S, FRESH_S, MAX_COPIES, STALE_S
from penstock_relay.oauth.fetch import (
    AT_ONCE,
    MAX_DOCUMENT,
    PER_HOST,
    Documents,
    is_public,
)
from tests.harness.certs import Authority

BOTH_LOOPS = True

ADDRESSES: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "data" / "oauth" / "addresses.json").read_text(encoding="utf-8")
)
HOST: Final = "client.example"
KNOWN: Final = "claude.ai"
HERE: Final = "127.0.0.1"
BODY: Final = b'{"client_id":"x"}'
PLENTY_S: Final = 60.0
"""For what should not need any time."""


def test_the_table_is_large_and_has_no_row_twice() -> None:
    addresses = [row["address"] for row in ADDRESSES]
    assert len(addresses) >= 40
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("row", ADDRESSES, ids=lambda row: f"{row['what']}: {row['address']}")
def test_which_addresses_are_public(row: dict[str, Any]) -> None:
    assert is_public(row["address"]) is row["public"]


@given(st.ip_addresses(v=4))
def test_an_address_that_carries_another_is_judged_by_that(inner: IPv4Address) -> None:
    number = int(inner)
    mapped, nat64 = f"::ffff:{inner}", f"64:ff9b::{inner}"
    sixtofour = f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1"
    assert {is_public(mapped), is_public(nat64), is_public(sixtofour)} == {is_public(str(inner))}
    assert not is_public(f"::{inner}")
    assert not is_public(f"64:ff9b:1::{inner}")


@given(st.one_of(st.text(), st.ip_addresses(v=6).map(str)))
def test_only_global_unicast_and_nat64_are_ever_public(text: str) -> None:
    if is_public(text) and ":" in text:
        assert text[0] in "23" or text.startswith(("64:ff9b::", "::ffff:"))


def answer(
    body: bytes = BODY, *headers: str, status: str = "200 OK", kind: str | None = "application/json"
) -> bytes:
    """An answer that ends with its connection."""
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close"]
    if kind is not None:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def nothing(_: asyncio.StreamWriter) -> None:
    """Ends the answer."""


@dataclass
class Host:
    """Answers every path with `answers`, then does `more`. Keeps what it was asked."""

    context: ssl.SSLContext
    answers: dict[str, bytes] = field(default_factory=dict)
    more: Callable[[asyncio.StreamWriter], Awaitable[None]] = nothing
    port: int = 0
    connections: int = 0
    requests: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [request.split(" ")[1] for request in self.requests]

    def url(self, path: str = "/client.json", host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(request)
            writer.write(self.answers.get(request.split(" ")[1], answer()))
            await writer.drain()
            await self.more(writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the fetcher had enough
        finally:
            writer.close()


@dataclass
class Names:
    """A name server: its answers one after the other, the last one for ever."""

    answers: list[list[str]]
    asked: list[str] = field(default_factory=list)

    async def find(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@dataclass
class Clock:
    now: float = 1000.0


@dataclass
class Place:
    host: Host
    trust: ssl.SSLContext
    clock: Clock = field(default_factory=Clock)

    @asynccontextmanager
    async def documents(
        self,
        names: Names | None = None,
        *,
        allow: Callable[[str], bool] = lambda address: address == HERE or is_public(address),
        timeout_s: float = PLENTY_S,
    ) -> AsyncIterator[Documents]:
        made = Documents(
            find=(names or Names([[HERE]])).find,
            allow=allow,
            context=self.trust,
            port=self.host.port,
            ticks=lambda: self.clock.now,
            timeout_s=timeout_s,
        )
        try:
            yield made
        finally:
            await made.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("documents"))


@pytest.fixture
async def place(authority: Authority) -> AsyncIterator[Place]:
    names = [x509.DNSName(HOST), x509.DNSName(f"*.{HOST}"), x509.DNSName("localhost"), x509.DNSName(KNOWN)]
    files = authority.relay(names, file="client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    host = Host(context)
    server = await asyncio.start_server(host.serve, HERE, 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield Place(host, ssl.create_default_context(cafile=str(authority.ca)))
    finally:
        server.close()
        await server.wait_closed()


async def refused(documents: Documents, url: str) -> str:
    with pytest.raises(FetchError) as caught:
        await documents.get(url)
    assert caught.value.__cause__ is None
    text = str(caught.value)
    for detail in (HOST, HERE, "169.254", "302", "404", "certificate", "secret"):
        assert detail not in text  # who asks learns nothing of what answered
    return text


async def test_a_document_is_fetched_and_asked_for_plainly(place: Place) -> None:
    names = Names([[HERE]])
    async with place.documents(names) as documents:
        assert await documents.get(place.host.url("/a/b.json")) == BODY
    assert names.asked == [HOST]
    assert place.host.paths == ["/a/b.json"]
    request = place.host.requests[0].lower()
    assert request.startswith("get /a/b.json http/1.1\r\n")
    assert f"\r\nhost: {HOST}:{place.host.port}\r\n" in request
    assert "\r\naccept: application/json\r\n" in request
    assert "\r\naccept-encoding: identity\r\n" in request
    assert "cookie" not in request
    assert "authorization" not in request


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.2"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        [HERE, "10.0.0.1"],
        ["10.0.0.1", HERE],
        ["8.8.8.8", "fd00:ec2::254"],
        ["localhost"],
        [],
    ],
)
async def test_a_name_with_an_address_inside_is_not_dialled_at_all(
    place: Place, addresses: list[str]
) -> None:
    async with place.documents(Names([addresses])) as documents:
        await refused(documents, place.host.url())
    assert place.host.connections == 0


async def test_this_machine_is_not_public_when_nothing_is_allowed_for_a_test(place: Place) -> None:
    async with place.documents(allow=is_public) as documents:
        await refused(documents, place.host.url())
    assert place.host.connections == 0


async def test_a_name_server_that_changes_its_mind_is_asked_once_and_judged_each_time(place: Place) -> None:
    names = Names([[HERE], ["169.254.169.254"], [HERE]])
    async with place.documents(names) as documents:
        assert await documents.get(place.host.url("/1")) == BODY
        assert names.asked == [HOST]
        await refused(documents, place.host.url("/2"))
        assert await documents.get(place.host.url("/3")) == BODY
    assert len(names.asked) == 3
    assert place.host.paths == ["/1", "/3"]


@pytest.mark.parametrize(("allowed", "connections"), [(0, 0), (1, 0), (2, 1)])
async def test_an_address_is_judged_when_found_when_dialled_and_when_connected(
    place: Place, allowed: int, connections: int
) -> None:
    judged: list[str] = []

    def allow(address: str) -> bool:
        judged.append(address)
        return len(judged) <= allowed

    async with place.documents(allow=allow) as documents:
        await refused(documents, place.host.url())
    assert judged == [HERE] * (allowed + 1)
    assert place.host.connections <= connections  # the server may not have seen yet that one was made
    assert place.host.requests == []


async def test_nothing_is_asked_of_an_address_that_was_judged_only_twice(place: Place) -> None:
    judged: list[str] = []

    def allow(address: str) -> bool:
        judged.append(address)
        return True

    async with place.documents(allow=allow) as documents:
        assert await documents.get(place.host.url()) == BODY
    assert judged == [HERE] * 3


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "8.8.8.8"])
async def test_an_address_instead_of_a_name_is_refused(place: Place, host: str) -> None:
    async with place.documents(allow=lambda _: True) as documents:
        assert "address" in await refused(documents, place.host.url(host=host))
    assert place.host.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "http://client.example:{port}/x",
        "ftp://client.example:{port}/x",
        "file:///etc/passwd",
        "data:application/json,1",
        "https:///x",
        "https://:{port}/x",
        "https://[/x",
        "https://[::1",
        "https://client.example:1/x",
        "https://client.example:80/x",
        "https://client.example:99999/x",
        "https://client.example:x/x",
        "https://@client.example:{port}/x",
        "https://user@client.example:{port}/x",
        "https://user:secret@client.example:{port}/x",
    ],
)
async def test_other_urls_are_refused_before_anybody_is_asked(place: Place, url: str) -> None:
    names = Names([[HERE]])
    async with place.documents(names) as documents:
        await refused(documents, url.format(port=place.host.port))
    assert names.asked == []
    assert place.host.connections == 0


@pytest.mark.parametrize("error", [OSError("secret"), socket.gaierror(8, "secret"), UnicodeError("secret")])
async def test_a_name_that_cannot_be_resolved_is_a_refusal(place: Place, error: Exception) -> None:
    class Broken(Names):
        async def find(self, host: str, port: int) -> list[str]:
            raise error

    async with place.documents(Broken([])) as documents:
        await refused(documents, place.host.url())


async def test_the_port_is_that_of_https_unless_a_test_says_otherwise(place: Place) -> None:
    names = Names([[HERE]])
    documents = Documents(find=names.find, allow=lambda _: True, context=place.trust)
    await refused(documents, place.host.url())
    assert names.asked == []
    await documents.close()


async def test_a_host_that_cannot_prove_its_name_is_not_asked(place: Place, tmp_path: Path) -> None:
    async with place.documents() as documents:
        await refused(documents, place.host.url(host="other.example"))
    place.trust = ssl.create_default_context(cafile=str(Authority(tmp_path, "stranger").ca))
    async with place.documents() as documents:
        await refused(documents, place.host.url())
    place.trust = ssl.create_default_context()
    async with place.documents() as documents:
        await refused(documents, place.host.url())
    assert place.host.requests == []


async def test_the_environment_names_no_proxy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with place.documents() as documents:
        assert await documents.get(place.host.url()) == BODY


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
@pytest.mark.parametrize(
    "to", ["/other", "https://169.254.169.254/latest/meta-data", "http://client.example/"]
)
async def test_a_redirect_is_not_followed(place: Place, status: str, to: str) -> None:
    place.host.answers["/client.json"] = answer(BODY, f"Location: {to}", status=status)
    names = Names([[HERE]])
    async with place.documents(names) as documents:
        await refused(documents, place.host.url())
    assert place.host.paths == ["/client.json"]
    assert names.asked == [HOST]


@pytest.mark.parametrize(
    "status",
    ["201 Created", "204 No Content", "206 Partial", "304 Not Modified", "400 x", "401 x", "404 x", "500 x"],
)
async def test_only_200_is_an_answer(place: Place, status: str) -> None:
    place.host.answers["/client.json"] = answer(status=status)
    async with place.documents() as documents:
        await refused(documents, place.host.url())


@pytest.mark.parametrize(
    "kind",
    ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/cimd+json"],
)
async def test_json_is_taken(place: Place, kind: str) -> None:
    place.host.answers["/client.json"] = answer(kind=kind)
    async with place.documents() as documents:
        assert await documents.get(place.host.url()) == BODY


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/html", "text/plain", "application/jsonp", "text/html; x=application/json", "json"],
)
async def test_what_is_not_called_json_is_refused(place: Place, kind: str | None) -> None:
    place.host.answers["/client.json"] = answer(kind=kind)
    async with place.documents() as documents:
        await refused(documents, place.host.url())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity", "gzip, gzip"])
async def test_a_compressed_document_is_refused_and_not_unpacked(place: Place, encoding: str) -> None:
    bomb = gzip.compress(bytes(1 << 24))
    place.host.answers["/client.json"] = answer(bomb, f"Content-Encoding: {encoding}")
    async with place.documents() as documents:
        await refused(documents, place.host.url())


def chunked(body: bytes) -> bytes:
    return answer(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), "Transfer-Encoding: chunked")


@pytest.mark.parametrize("framed", [answer, chunked], ids=["until the end", "chunked"])
async def test_a_document_may_be_as_long_as_the_limit_and_no_longer(
    place: Place, framed: Callable[[bytes], bytes]
) -> None:
    place.host.answers = {
        "/limit": framed(b"x" * MAX_DOCUMENT),
        "/more": framed(b"x" * (MAX_DOCUMENT + 1)),
    }
    async with place.documents() as documents:
        assert len(await documents.get(place.host.url("/limit"))) == MAX_DOCUMENT
        assert "long" in await refused(documents, place.host.url("/more"))


async def test_a_document_without_an_end_is_left_at_the_limit(place: Place) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(16_384))
            await writer.drain()

    place.host.more = endless
    async with place.documents() as documents:
        assert "long" in await refused(documents, place.host.url())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n{}",
    ],
    ids=["nothing", "no HTTP", "cut off", "bad chunk", "long header", "bad length"],
)
async def test_a_broken_answer_is_a_refusal(place: Place, text: bytes) -> None:
    place.host.answers["/client.json"] = text
    async with place.documents() as documents:
        await refused(documents, place.host.url())


async def test_a_host_that_drips_has_no_more_time_than_another(place: Place) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)  # the drip itself; nothing waits for it

    place.host.more = drip
    async with place.documents(timeout_s=0.3) as documents:
        assert "in time" in await refused(documents, place.host.url())
    assert place.host.paths == ["/client.json"]


async def test_a_name_server_that_never_answers_has_no_more_time_either(place: Place) -> None:
    class Silent(Names):
        async def find(self, host: str, port: int) -> list[str]:
            await asyncio.Event().wait()
            return []

    async with place.documents(Silent([]), timeout_s=0.05) as documents:
        assert "in time" in await refused(documents, place.host.url())


async def test_a_host_that_never_greets_has_no_more_time_either(place: Place) -> None:
    with socket.create_server((HERE, 0)) as silent:  # accepts, and does no handshake
        place.host.port = silent.getsockname()[1]
        async with place.documents(timeout_s=0.1) as documents:
            assert "in time" in await refused(documents, place.host.url())


def test_all_of_it_has_three_seconds() -> None:
    assert fetch.TIMEOUT_S == 3.0


async def test_a_document_is_good_for_five_minutes(place: Place) -> None:
    url = place.host.url()
    async with place.documents() as documents:
        assert await documents.get(url) == BODY
        place.host.answers["/client.json"] = answer(b"[2]")
        place.clock.now += FRESH_S - 0.001
        assert await documents.get(url) == BODY
        place.clock.now += 0.001
        assert await documents.get(url) == b"[2]"
    assert len(place.host.requests) == 2


@pytest.mark.parametrize("status", ["404 x", "500 x"])
async def test_a_failure_is_remembered_for_a_moment(place: Place, status: str) -> None:
    place.host.answers["/client.json"] = answer(status=status)
    async with place.documents() as documents:
        said = await refused(documents, place.host.url())
        del place.host.answers["/client.json"]
        place.clock.now += FAILED_S - 0.001
        assert await refused(documents, place.host.url()) == said
        assert len(place.host.requests) == 1
        place.clock.now += 0.001
        assert await documents.get(place.host.url()) == BODY


@pytest.mark.parametrize("status", ["500 x", "502 x", "503 x", "429 x", "408 x"])
async def test_the_last_good_copy_serves_for_a_day_while_its_host_fails(
    place: Place, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with place.documents() as documents:
        url = place.host.url()
        assert await documents.get(url) == BODY
        place.host.answers["/client.json"] = answer(b"[2]", status=status)
        place.clock.now += FRESH_S
        with caplog.at_level("WARNING"):
            assert await documents.get(url) == BODY
            assert await documents.get(url) == BODY
        (line,) = [record.msg for record in caplog.records]
        assert isinstance(line, dict)
        assert (line["event"], line["host"], line["age_s"]) == ("client_document_stale", HOST, int(FRESH_S))
        place.clock.now += STALE_S - FRESH_S - FAILED_S
        assert await documents.get(url) == BODY
        place.clock.now += FAILED_S
        await refused(documents, url)


async def test_the_last_good_copy_serves_while_no_name_server_answers(place: Place) -> None:
    gate = Gate([[HERE]])
    gate.opened.set()
    async with place.documents(gate, timeout_s=0.3) as documents:
        assert await documents.get(place.host.url()) == BODY
        gate.opened.clear()
        place.clock.now += FRESH_S
        assert await documents.get(place.host.url()) == BODY
        assert "in time" in await refused(documents, place.host.url("/another"))


@pytest.mark.parametrize("gone", [answer(status="404 x"), answer(status="410 x"), answer(kind="text/html")])
async def test_a_document_that_was_withdrawn_is_not_used_any_more(place: Place, gone: bytes) -> None:
    async with place.documents() as documents:
        assert await documents.get(place.host.url()) == BODY
        place.host.answers["/client.json"] = gone
        place.clock.now += FRESH_S
        await refused(documents, place.host.url())
        place.host.answers["/client.json"] = answer(status="500 x")
        place.clock.now += FAILED_S
        await refused(documents, place.host.url())


async def test_what_costs_a_fetch_is_known_beforehand(place: Place) -> None:
    place.host.answers["/none"] = answer(status="404 x")
    async with place.documents() as documents:
        good, none = place.host.url(), place.host.url("/none")
        assert documents.costs(good)
        await documents.get(good)
        await refused(documents, none)
        assert not documents.costs(good)
        assert not documents.costs(none)
        place.clock.now += FAILED_S
        assert documents.costs(none)
        place.clock.now += FRESH_S
        assert documents.costs(good)


async def test_no_more_is_remembered_than_the_limit_and_the_oldest_goes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_COPIES == 256
    monkeypatch.setattr(kept, "MAX_COPIES", 3)
    async with place.documents() as documents:
        for path in ("/1", "/2", "/3", "/4"):
            await documents.get(place.host.url(path))
        assert len(place.host.requests) == 4
        for path in ("/4", "/3", "/2"):
            await documents.get(place.host.url(path))
        assert len(place.host.requests) == 4
        await documents.get(place.host.url("/1"))
        assert place.host.paths[-1] == "/1"
        assert len(place.host.requests) == 5


@dataclass
class Gate(Names):
    """A name server that answers when told to."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def find(self, host: str, port: int) -> list[str]:
        self.waiting += 1
        try:
            await self.opened.wait()
        finally:
            self.waiting -= 1
        return await Names.find(self, host, port)


async def settle() -> None:
    """Until everybody waits for something."""
    for _ in range(100):
        await asyncio.sleep(0)


async def outcome(documents: Documents, url: str) -> bytes | str:
    try:
        return await documents.get(url)
    except FetchError as error:
        return str(error)


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
async def test_many_who_want_one_document_share_one_fetch(place: Place, status: str) -> None:
    place.host.answers["/client.json"] = answer(status=status)
    gate = Gate([[HERE]])
    async with place.documents(gate) as documents, asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(documents, place.host.url())) for _ in range(50)]
        await settle()
        gate.opened.set()
        found = {await task for task in tasks}
    assert len(found) == 1
    assert (found == {BODY}) is (status == "200 OK")
    assert len(place.host.requests) == 1
    assert len(gate.asked) == 1


async def test_all_who_wait_for_a_slow_document_give_up_with_it(place: Place) -> None:
    gate = Gate([[HERE]])
    async with place.documents(gate, timeout_s=0.05) as documents, asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(documents, place.host.url())) for _ in range(5)]
        assert {await task for task in tasks} == {"it did not come in time"}
    assert gate.waiting == 0


async def test_who_waits_goes_on_when_the_one_who_fetched_is_cancelled(place: Place) -> None:
    gate = Gate([[HERE]])
    async with place.documents(gate) as documents, asyncio.TaskGroup() as group:
        first, *others = [group.create_task(outcome(documents, place.host.url())) for _ in range(4)]
        await settle()
        assert gate.waiting == 1
        first.cancel()
        await settle()
        assert gate.waiting == 1
        others[-1].cancel()  # one who only waits takes nobody along
        gate.opened.set()
        assert [await task for task in others[:-1]] == [BODY, BODY]
    assert len(place.host.requests) == 1


async def test_only_so_many_are_fetched_at_once(place: Place) -> None:
    assert AT_ONCE == 8
    gate = Gate([[HERE]])
    async with place.documents(gate) as documents, asyncio.TaskGroup() as group:
        urls = [place.host.url(host=f"h{n}.{HOST}") for n in range(AT_ONCE * 3)]
        tasks = [group.create_task(outcome(documents, url)) for url in urls]
        await settle()
        assert gate.waiting == AT_ONCE
        gate.opened.set()
        assert [await task for task in tasks] == [BODY] * len(tasks)
    assert len(place.host.requests) == len(tasks)


async def test_of_one_host_fewer_are_fetched_at_once_and_others_need_not_wait(place: Place) -> None:
    gate = Gate([[HERE]])
    async with place.documents(gate) as documents, asyncio.TaskGroup() as group:
        urls = [place.host.url(f"/{n}") for n in range(AT_ONCE)]
        tasks = [group.create_task(outcome(documents, url)) for url in urls]
        await settle()
        assert gate.waiting == PER_HOST
        tasks.append(group.create_task(outcome(documents, place.host.url(host=f"other.{HOST}"))))
        await settle()
        assert gate.waiting == PER_HOST + 1
        gate.opened.set()
        assert [await task for task in tasks] == [BODY] * len(tasks)
        assert documents._at_host == {}


async def test_strangers_hosts_keep_none_waiting_that_is_in_use(place: Place) -> None:
    class Stalled(Gate):
        async def find(self, host: str, port: int) -> list[str]:
            return await (Names if host in (KNOWN, f"mine.{HOST}") else Gate).find(self, host, port)

    gate = Stalled([[HERE]])
    async with place.documents(gate) as documents, asyncio.TaskGroup() as group:
        mine = place.host.url(host=f"mine.{HOST}")
        await documents.get(mine)
        documents.use(mine)
        place.clock.now += FRESH_S
        urls = [place.host.url(host=f"h{n}.{HOST}") for n in range(AT_ONCE * 3)]
        tasks = [group.create_task(outcome(documents, url)) for url in urls]
        await settle()
        assert gate.waiting == AT_ONCE
        async with asyncio.timeout(5):
            assert await documents.get(place.host.url(host=KNOWN)) == BODY
            assert await documents.get(mine) == BODY
        gate.opened.set()
        assert [await task for task in tasks] == [BODY] * len(tasks)


async def test_a_turn_that_never_came_is_no_failure_of_the_host(place: Place) -> None:
    gate = Gate([[HERE]])
    async with place.documents(gate) as documents, asyncio.TaskGroup() as group:
        for n in range(AT_ONCE):
            group.create_task(outcome(documents, place.host.url(host=f"h{n}.{HOST}")))
        await settle()
        documents._timeout_s = 0.02
        late = place.host.url(host=f"late.{HOST}")
        assert "in time" in await refused(documents, late)
        assert documents.costs(late)
        gate.opened.set()
    gate.opened.clear()
    async with place.documents(gate, timeout_s=0.02) as documents:
        assert "in time" in await refused(documents, late)
        assert not documents.costs(late)


async def test_a_fetch_can_be_tried_again_after_failures_of_every_kind(place: Place) -> None:
    names = Names([["10.0.0.1"]] * (AT_ONCE + 1) + [[HERE]])
    async with place.documents(names) as documents:
        for _ in range(AT_ONCE + 1):  # no turn is lost
            await refused(documents, place.host.url())
            place.clock.now += FAILED_S
        assert await documents.get(place.host.url()) == BODY


async def test_the_systems_resolver_is_judged_like_any_other(place: Place) -> None:
    url = place.host.url(host="localhost")
    documents = Documents(context=place.trust, port=place.host.port, timeout_s=PLENTY_S)
    await refused(documents, url)
    assert place.host.connections == 0
    await documents.close()
    documents = Documents(allow=lambda _: True, context=place.trust, port=place.host.port, timeout_s=PLENTY_S)
    assert await documents.get(url) == BODY
    await documents.close()


async def test_name_servers_that_never_answer_take_no_thread_of_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passwords are checked in the loop's threads."""
    release = threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        release.wait(PLENTY_S)
        return []

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    monkeypatch.setattr(socket, "getaddrinfo", silent)
    documents = Documents(port=place.host.port, timeout_s=PLENTY_S)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(outcome(documents, place.host.url(f"/{n}"))) for n in range(AT_ONCE)]
            await settle()
            async with asyncio.timeout(5):
                assert await asyncio.to_thread(lambda: "served") == "served"
            release.set()
            assert {await task for task in tasks} == {"its host cannot be reached"}
    finally:
        release.set()
        await documents.close()


async def test_closing_is_possible_before_anything_was_fetched_and_twice(place: Place) -> None:
    documents = Documents()
    await documents.close()
    async with place.documents() as documents:
        await documents.get(place.host.url())
        await documents.close()
