"""``penstock-relay serve`` in this process: what is open when, what a signal ends in which order."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from penstock import tls
from penstock_agent.dialer.dialer import Dialer, Target
from penstock_agent.dialer.served import Served, Tunnel
from penstock_relay import access, daemon, listening, sealed
from penstock_relay.ca import CaError, CertificateAuthority, following
from penstock_relay.ca.rotation import Phase
from penstock_relay.config import ConfigError, Settings
from penstock_relay.listening import Listening
from penstock_relay.sealed import SealError
from penstock_relay.store import Store
from tests.harness.certs import Authority
from tests.harness.link_pair import AGENT, WAIT, until
from tests.harness.tunnel_listener import record
from tests.relay.ca.making import agent_files

BOTH_LOOPS = True
LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'


def settings_of(folder: Path, **changes: object) -> Settings:
    addresses: dict[str, object] = {
        name: "127.0.0.1:0" for name in ("listen", "tunnel_listen", "ops_listen")
    } | changes
    return Settings(state_dir=folder, **addresses)  # type: ignore[arg-type]  # as TOML gives them


async def get(
    address: str, path: str, *head: str, method: str = "GET", body: bytes = b""
) -> tuple[int, bytes]:
    """Status and body of one HTTP request."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", "Connection: close", *head]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    try:
        answer, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        return int(answer.split()[1]), rest
    finally:
        writer.transport.abort()


class Relay:
    """A relay that runs. `at` says where."""

    def __init__(self, folder: Path, task: asyncio.Task[None]) -> None:
        self.folder = folder
        self.task = task
        self.at: Listening

    async def up(self) -> None:
        def written() -> bool:
            assert not self.task.done(), self.task.exception()
            return listening.read(self.folder) is not None

        await until(written, "listening.json")
        found = listening.read(self.folder)
        assert found is not None
        self.at = found

    async def token(self) -> str:
        async with await Store.open(f"sqlite+aiosqlite:///{self.folder / 'relay.db'}") as store:
            await store.sites.add("plant", time.time())
            text, record = access.issue("plant", None, None, time.time(), time.time() + 3600)
            await store.tokens.create(record)
        return text

    def context(self) -> ssl.SSLContext:
        """An agent's, for the certificate AGENT."""
        ca = CertificateAuthority.open(self.folder, time.time())
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        certificate = ca.sign_agent(csr, AGENT, time.time())
        record(self.folder, AGENT, certificate)
        pem = self.folder / "agent.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        anchor = self.folder / "anchor.pem"
        anchor.write_bytes(ca.pem)
        return tls.client_context(anchor, pem, pem)


@asynccontextmanager
async def relay_in(folder: Path, **changes: object) -> AsyncIterator[Relay]:
    folder.mkdir(exist_ok=True)
    async with asyncio.timeout(4 * WAIT), asyncio.TaskGroup() as tasks:
        relay = Relay(folder, tasks.create_task(daemon.serve(settings_of(folder, **changes))))
        try:
            await relay.up()
            yield relay
        finally:
            relay.task.cancel()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def test_what_it_says_is_open_is_open(tmp_path: Path) -> None:
    async with relay_in(tmp_path / "relay") as relay:
        at = relay.at
        assert at.pid == os.getpid()
        assert at.public_url == f"http://{at.listen}"
        assert await get(at.ops_listen, "/healthz") == (200, b"ok\n")
        assert await get(at.ops_listen, "/readyz") == (200, b"ready\n")
        assert (await get(at.listen, "/plant/files/mcp"))[0] == 401
        host, _, port = at.tunnel_listen.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=tls.probe_context())
        writer.write(b"GET /ca HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"BEGIN CERTIFICATE" in await reader.read()
        writer.transport.abort()


async def test_who_may_call_is_read_again_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon, "EGRESS_CHECK", 0.0)
    listed = tmp_path / "listed"
    listed.write_text("192.0.2.0/24\n")
    callers = {"egress": [f"file:{listed}"]}

    async def called(*head: str) -> int:
        return (await get(relay.at.listen, "/plant/files/mcp", *head))[0]

    async def calls_are_answered(expected: int) -> None:
        async with asyncio.timeout(WAIT):
            while await called() != expected:
                pass

    async with relay_in(tmp_path / "relay", trusted_proxies=["127.0.0.1"], callers=callers) as relay:
        assert await called() == 403
        assert await called("X-Forwarded-For: 192.0.2.1") == 401
        assert await called("X-Forwarded-For: 192.0.2.1, 198.51.100.1") == 403
        assert (await get(relay.at.listen, "/oauth/grants"))[0] == 200
        listed.write_text("127.0.0.0/8\n")
        await calls_are_answered(401)
        listed.write_text("nonsense\n")
        await until(lambda: "callers_egress_not_read" in caplog.text, "the log")
        assert await called() == 401
        listed.write_text("192.0.2.0/24\n")
        await calls_are_answered(403)


async def test_who_may_call_can_be_told_by_a_certificate_that_the_proxy_has_seen(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    callers = {"client_ca_file": str(authority.ca), "client_names": ["a.example"], "client_header": "X-Seen"}
    changes = {"trusted_proxies": ["127.0.0.0/8"], "callers": callers}
    leaf = authority.agent_named([x509.DNSName("a.example")]).certificate
    seen = base64.b64encode(leaf.public_bytes(serialization.Encoding.DER)).decode()
    async with relay_in(tmp_path / "relay", **changes) as relay:
        assert (await get(relay.at.listen, "/plant/files/mcp"))[0] == 403
        assert (await get(relay.at.listen, "/plant/files/mcp", f"X-Seen: :{seen}:"))[0] == 401
        assert (await get(relay.at.listen, "/plant/files/mcp", f"Client-Cert: :{seen}:"))[0] == 403


async def test_a_relay_that_cannot_tell_who_may_call_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"callers\.egress: cannot read /nowhere"):
        await daemon.serve(settings_of(tmp_path, trusted_proxies=[], callers={"egress": ["file:/nowhere"]}))
    with pytest.raises(ConfigError, match="needs trusted_proxies"):
        await daemon.serve(settings_of(tmp_path, callers={"egress": ["anthropic"]}))


async def test_strangers_are_told_apart_by_what_a_trusted_proxy_says(tmp_path: Path) -> None:
    body = b'{"redirect_uris": ["https://a.example/cb"]}'

    async def registered(address: str) -> int:
        head = (f"X-Forwarded-For: {address}", "Content-Type: application/json")
        return (await get(relay.at.listen, "/oauth/register", *head, method="POST", body=body))[0]

    async with relay_in(tmp_path / "relay", trusted_proxies=["127.0.0.0/8"]) as relay:
        while await registered("192.0.2.1") == 201:
            pass
        assert await registered("192.0.2.1") == 429
        assert await registered("192.0.2.2") == 201


@pytest.mark.parametrize("setting", ["listen", "tunnel_listen", "ops_listen"])
async def test_an_address_that_is_taken_is_a_problem_of_configuration(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            await daemon.serve(settings_of(tmp_path, **{setting: taken}))
    assert str(caught.value).startswith(f"{setting}: cannot listen on {taken}: Address already in use.")
    assert listening.read(tmp_path) is None


async def test_a_name_that_is_nowhere_is_a_problem_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ops_listen: cannot listen on none\.invalid:0: .*known"):
        await daemon.serve(settings_of(tmp_path, ops_listen="none.invalid:0"))


async def test_a_second_relay_leaves_the_first_one_alone(tmp_path: Path) -> None:
    async with relay_in(tmp_path / "relay") as relay:
        with pytest.raises(ConfigError):
            await daemon.serve(settings_of(relay.folder, tunnel_listen=relay.at.tunnel_listen))
        assert await get(relay.at.ops_listen, "/readyz") == (200, b"ready\n")


async def test_a_signal_ends_it_and_removes_what_says_where_it_was(tmp_path: Path) -> None:
    async with relay_in(tmp_path / "relay") as relay:
        kill()
        await relay.task
        assert not (relay.folder / listening.NAME).exists()
        for address in (relay.at.listen, relay.at.tunnel_listen, relay.at.ops_listen):
            host, _, port = address.rpartition(":")
            with pytest.raises(OSError, match=r"refused|Connect call failed|111"):
                await asyncio.open_connection(host, int(port))


async def test_a_signal_during_the_start_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        kill()
        await asyncio.Event().wait()

    monkeypatch.setattr(daemon, "serve_edge", never)
    async with asyncio.timeout(WAIT):
        await daemon.serve(settings_of(tmp_path))


async def test_it_leaves_no_task(tmp_path: Path) -> None:
    before = len(asyncio.all_tasks())
    async with relay_in(tmp_path / "relay") as relay:
        kill()
        await relay.task
    await until(lambda: len(asyncio.all_tasks()) <= before, "the tasks")


async def test_a_certificate_that_cannot_be_renewed_does_not_end_a_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()
    good = CertificateAuthority.tunnel_files
    calls = 0

    def fail(self: CertificateAuthority, host: str, now: float) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            return good(self, host, now)
        if calls > 2:
            failed.set()
        raise CaError("s3cret")

    monkeypatch.setattr(CertificateAuthority, "tunnel_files", fail)
    monkeypatch.setattr(following, "LOOK_S", 0.02)
    monkeypatch.setattr(following, "TUNNEL_EVERY", 1)
    async with relay_in(tmp_path / "relay") as relay:
        await failed.wait()
        assert await get(relay.at.ops_listen, "/readyz") == (200, b"ready\n")


@asynccontextmanager
async def linked(relay: Relay) -> AsyncIterator[tuple[asyncio.Queue[Served], Dialer]]:
    """An agent's tunnel without an endpoint."""
    started: asyncio.Queue[Served] = asyncio.Queue()
    tunnel = Tunnel(started.put_nowait)
    tunnel.offer({"files"})
    up = asyncio.Event()
    url = relay.at.tunnel_url
    # In a thread: the relay may be in the middle of a write, which only this loop can end.
    context = await asyncio.to_thread(relay.context)
    target = Target(url, AGENT, b"i" * 16, context, None)
    dialer = Dialer(target, tunnel, lambda: frozenset({"files"}), lambda status: up.set())
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(dialer.run())
        await up.wait()
        try:
            yield started, dialer
        finally:
            task.cancel()


def ask(tasks: asyncio.TaskGroup, relay: Relay, token: str) -> asyncio.Task[tuple[int, bytes]]:
    return tasks.create_task(
        get(
            relay.at.listen,
            "/plant/files/mcp",
            f"Authorization: Bearer {token}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            method="POST",
            body=LIST,
        )
    )


async def test_calls_under_way_finish_before_a_stopping_relay_leaves(tmp_path: Path) -> None:
    async with relay_in(tmp_path / "relay") as relay:
        token = await relay.token()
        async with linked(relay) as (started, dialer), asyncio.TaskGroup() as tasks:
            asking = ask(tasks, relay, token)
            served = await started.get()
            kill()
            while (await get(relay.at.ops_listen, "/readyz"))[0] != 503:
                pass
            late = await ask(tasks, relay, token)
            assert late[0] == 503
            assert b"relay is stopping" in late[1]
            assert dialer._drivers, "its links stand"
            await served.head(200, (("content-type", "application/json"),))
            await served.write(b'{"x":1}')
            await served.end()
            assert await asking == (200, b'{"x":1}')
            await relay.task
            await until(lambda: not dialer.status.linked, "the end of the link")


async def test_callers_of_what_does_not_finish_have_their_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "DRAIN", 0.05)
    async with relay_in(tmp_path / "relay") as relay:
        token = await relay.token()
        async with linked(relay) as (started, _), asyncio.TaskGroup() as tasks:
            asking = ask(tasks, relay, token)
            served = await started.get()
            kill()
            status, body = await asking
            assert status == 504
            assert b"relay stopped" in body
            await relay.task
            # The agent hears that nobody waits any more before its link ends.
            assert (await served.gone()).name == "CLIENT_GONE"


async def authorities(relay: Relay) -> int:
    """How many certificates anybody is shown at /ca."""
    host, _, port = relay.at.tunnel_listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls.probe_context())
    writer.write(b"GET /ca HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        return (await reader.read()).count(b"BEGIN CERTIFICATE")
    finally:
        writer.transport.abort()


async def test_no_call_notices_that_the_ca_is_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call is under way through all phases, others come and go, and agents link anew in each."""
    monkeypatch.setattr(following, "LOOK_S", 0.01)
    async with relay_in(tmp_path / "relay") as relay:
        token = await relay.token()
        command = CertificateAuthority.open(relay.folder, time.time())
        async with linked(relay) as (started, dialer), asyncio.TaskGroup() as tasks:
            (driver,) = dialer._drivers.values()
            long = ask(tasks, relay, token)
            held = await started.get()
            answered = 0

            async def call() -> None:
                nonlocal answered
                asking = ask(tasks, relay, token)
                served = await started.get()
                await served.head(200, (("content-type", "application/json"),))
                await served.write(b'{"short":1}')
                await served.end()
                assert await asking == (200, b'{"short":1}')
                answered += 1

            steps: list[tuple[Callable[[], None], int]] = [
                (lambda: command.announce(time.time()), 3),
                (lambda: command.advance(Phase.ANNOUNCED, time.time()), 3),
                (lambda: command.advance(Phase.SIGNING, time.time()), 1),
            ]
            for step, shown in steps:
                await call()
                before = (relay.folder / "tunnel.pem").read_bytes()
                step()
                while await authorities(relay) != shown:
                    await call()
                if command.record.phase is Phase.SIGNING:
                    while (relay.folder / "tunnel.pem").read_bytes() == before:
                        await call()
                await call()
                # With what an agent is given now, a new connection comes up beside the old one.
                ca = CertificateAuthority.open(relay.folder, time.time())
                anchor = tmp_path / "anchor.pem"
                anchor.write_bytes(ca.pem)
                context = tls.client_context(anchor, *agent_files(ca, tmp_path, time.time()))
                port = int(relay.at.tunnel_listen.rpartition(":")[2])
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"404" in await reader.readline()
                writer.transport.abort()
            assert command.record.phase is Phase.STEADY
            assert list(dialer._drivers.values()) == [driver], "the link is the same"
            await held.head(200, (("content-type", "application/json"),))
            await held.write(b'{"long":1}')
            await held.end()
            assert await long == (200, b'{"long":1}')
            assert answered >= 6


async def test_a_master_key_seals_what_the_relay_keeps(tmp_path: Path) -> None:
    master = tmp_path / "master.key"
    master.write_bytes(bytes(range(32)))
    master.chmod(0o600)
    folder = tmp_path / "relay"
    async with relay_in(folder):
        pass
    plain = (folder / "seal.key").read_bytes()
    pin = CertificateAuthority.open(folder, time.time()).pin
    async with relay_in(folder, master_key_file=str(master)) as relay:
        host, _, port = relay.at.tunnel_listen.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=tls.probe_context())
        writer.transport.abort()
    for name in ("seal.key", "ca.json", "tunnel.pem"):
        kept = (folder / name).read_bytes()
        assert plain not in kept
        assert b"BEGIN PRIVATE KEY" not in kept
    keyring = sealed.read(master, folder)
    assert CertificateAuthority.open(folder, time.time(), keyring).pin == pin
    with pytest.raises(SealError, match="master_key_file is not set"):
        await daemon.serve(settings_of(folder))
