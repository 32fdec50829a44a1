"""One renewal, agent and relay, over real TLS; and what happens when either does not do its part."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from penstock import refusal, renewal, tls
from penstock.names import AgentId
from penstock.refusal import Refusal
from penstock.renewal import Renew, Renewed
from penstock_agent import files, state
from penstock_agent.enrolment.enrol import enrol
from penstock_agent.problem import Exit, Problem
from penstock_agent.renewal.renew import RenewalFailed, renew
from penstock_agent.renewal.verdict import Revoked, TurnedAway
from penstock_agent.state import Credentials, Joined, StateError
from penstock_relay import renewal as relay_renewal
from penstock_relay.store import Lock
from tests.harness.certs import RELAY_NAMES, Authority
from tests.harness.fake_relay import EnrollingAuthority
from tests.harness.link_pair import hello, until
from tests.harness.tunnel_listener import DAY, TunnelListener, tunnel_listener


async def joined(place: TunnelListener, folder: Path) -> Joined:
    return state.store(folder, await enrol(await place.invitation(), None), state.prepare(folder))


async def link(place: TunnelListener, folder: Path) -> None:
    """A link with what the folder holds."""
    found = state.load(folder)
    context = tls.client_context(found.ca_file, found.certificate_file, found.key_file)
    websocket = await place.connect(context=context)
    await websocket.send(hello(found.id).encode())
    await websocket.recv()
    websocket.transport.abort()


async def test_a_new_key_and_certificate_are_stored_and_open_links(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder = tmp_path / "state"
        before = await joined(place, folder)
        old_key = before.key()
        done = await renew(folder, None)
        assert done.joined == state.load(folder)
        assert (done.joined.id, done.joined.instance, done.generation) == (before.id, before.instance, 2)
        assert done.joined.certificate != before.certificate
        assert done.joined.key().public_key() != old_key.public_key()
        assert abs(done.skew) < 5
        await link(place, folder)
        assert (await renew(folder, None)).generation == 3


async def test_keys_never_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    decode = renewal.decode_renew

    def record(text: str | bytes) -> Renew:
        sent.append(str(text))
        return decode(text)

    async with tunnel_listener(tmp_path) as place:
        await joined(place, tmp_path / "state")
        monkeypatch.setattr(renewal, "decode_renew", record)
        await renew(tmp_path / "state", None)
    assert len(set(sent)) == 1, "checked by the one that sends it, and by the relay"
    assert "PRIVATE" not in sent[0]


async def test_one_that_has_expired_is_renewed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder = tmp_path / "state"
        sign = place.ca.sign_agent
        await joined(place, folder)
        with monkeypatch.context() as past:
            past.setattr(place.ca, "sign_agent", lambda csr, agent, now: sign(csr, agent, now - 60 * DAY))
            expired = (await renew(folder, None)).joined
        assert expired.expires.timestamp() < time.time() - 50 * DAY
        with pytest.raises(Exception, match="did not receive a valid HTTP response"):
            await link(place, folder)  # TLS refuses it
        done = await renew(folder, None)
        assert done.joined.expires.timestamp() > time.time() + 6 * DAY
        await link(place, folder)


async def test_after_90_days_it_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder = tmp_path / "state"
        await joined(place, folder)
        sign = place.ca.sign_agent
        with monkeypatch.context() as past:
            past.setattr(place.ca, "sign_agent", lambda csr, agent, now: sign(csr, agent, now - 98 * DAY))
            await renew(folder, None)
        with pytest.raises(TurnedAway, match=r"more than 90 days ago.*--replace") as caught:
            await renew(folder, None)
        assert caught.value.reason == refusal.EXPIRED


# -- what goes wrong on the way -------------------------------------------------------------------


async def test_a_lost_answer_is_asked_for_again_and_locks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder = tmp_path / "state"
        before = await joined(place, folder)
        await link(place, folder)

        async def lose(self: ServerConnection, message: object) -> None:
            if "renewed" in str(message):
                self.transport.abort()
            else:
                await send(self, message)  # type: ignore[arg-type]  # as it came

        send = ServerConnection.send
        for _ in range(2):
            with monkeypatch.context() as broken:
                broken.setattr(ServerConnection, "send", lose)
                with pytest.raises(RenewalFailed, match="before it answered"):
                    await renew(folder, None)
            assert state.load(folder) == before
            await link(place, folder)  # the old one is good as before
        assert (await renew(folder, None)).generation == 4
        await link(place, folder)
        [agent] = await place.store.agents.list()
        assert agent.lock is None


async def test_a_confirmation_that_is_lost_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder = tmp_path / "state"
        await joined(place, folder)
        store = state.renew

        def stored_and_gone(*arguments: object) -> Joined:
            store(*arguments)  # type: ignore[arg-type]  # as they came
            raise ConnectionResetError("pulled the plug")

        with monkeypatch.context() as broken:
            broken.setattr(state, "renew", stored_and_gone)
            with pytest.raises(RenewalFailed):
                await renew(folder, None)
        await link(place, folder)
        assert (await renew(folder, None)).generation == 3
        [agent] = await place.store.agents.list()
        assert agent.lock is None


async def test_a_full_disk_keeps_the_old_pair_and_the_next_attempt_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder = tmp_path / "state"
        before = await joined(place, folder)
        write = files.write_atomic

        def full(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
            if path.name == "identity.pem":
                raise OSError(28, "No space left on device")
            write(path, data, mode, owner)

        with monkeypatch.context() as broken:
            broken.setattr(state, "write_atomic", full)
            with pytest.raises(StateError, match="No space left"):
                await renew(folder, None)
        assert state.load(folder) == before
        await renew(folder, None)
        await link(place, folder)


async def test_two_at_once_do_not_become_two_holders(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder = tmp_path / "state"
        await joined(place, folder)
        with state.exclusive(folder), pytest.raises(StateError, match="is at work"):
            await renew(folder, None)
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(attempt(folder)) for _ in range(2)]
        assert sorted(type(task.result()).__name__ for task in both) == ["NoneType", "StateError"]
        await link(place, folder)
        await renew(folder, None)


async def attempt(folder: Path) -> Problem | None:
    try:
        await renew(folder, None)
    except Problem as problem:
        return problem
    return None


async def test_a_relay_that_is_not_there_or_says_nothing_is_explained(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        await joined(place, tmp_path / "state")
        with pytest.raises(RenewalFailed, match="did not answer in time"):
            await renew(tmp_path / "state", None, timeout=0.001)
    with pytest.raises(RenewalFailed, match="No connection to"):
        await renew(tmp_path / "state", None)


# -- copies and revocation ------------------------------------------------------------------------


async def test_a_clone_is_locked_at_its_first_renewal_and_so_is_the_original(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        original, clone = tmp_path / "state", tmp_path / "clone"
        await joined(place, original)
        await asyncio.to_thread(copy, original, clone)
        await renew(original, None)
        with pytest.raises(TurnedAway, match=r"penstock-relay agent invite plant --replace") as caught:
            await renew(clone, None)
        assert caught.value.reason == refusal.LOCKED
        assert caught.value.status == Exit.FAILED
        with pytest.raises(TurnedAway, match="locked"):
            await renew(original, None)


async def test_a_snapshot_is_told_from_a_clone_that_is_linked(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        for linked, lock, words in (
            (True, Lock.CLONE, "Another machine uses a copy"),
            (False, Lock.SNAPSHOT, "restored from a snapshot"),
        ):
            folder, copied = tmp_path / f"state-{linked}", tmp_path / f"copy-{linked}"
            mine = await joined(place, folder)
            await asyncio.to_thread(copy, folder, copied)
            await renew(folder, None)
            if linked:
                found = state.load(folder)
                context = tls.client_context(found.ca_file, found.certificate_file, found.key_file)
                websocket = await place.connect(context=context)
                await websocket.send(hello(mine.id).encode())
                await websocket.recv()
            with pytest.raises(TurnedAway, match=words):
                await renew(copied, None)
            locked = await place.store.agents.find(mine.id)
            assert locked is not None
            assert locked.lock is lock


def copy(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700)
    for path in source.iterdir():
        made = target / path.name
        made.touch(mode=0o600)
        made.write_bytes(path.read_bytes())


async def test_another_machine_takes_the_place_and_the_locked_ones_end(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder, clone = tmp_path / "state", tmp_path / "clone"
        mine = await joined(place, folder)
        await asyncio.to_thread(copy, folder, clone)
        await renew(folder, None)
        assert isinstance(await attempt(clone), TurnedAway)
        credentials = await enrol(await place.invitation(replaces=mine.id.agent), None)
        assert credentials.id == mine.id
        state.store(folder, credentials, None)
        await link(place, folder)
        await renew(folder, None)
        found = await attempt(clone)
        assert isinstance(found, Revoked)
        assert "another machine has joined in its place" in str(found)


async def test_a_revoked_agent_hears_the_cas_word_also_when_its_certificate_has_expired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tunnel_listener(tmp_path) as place:
        folder = tmp_path / "state"
        mine = await joined(place, folder)
        sign = place.ca.sign_agent
        with monkeypatch.context() as past:
            past.setattr(place.ca, "sign_agent", lambda csr, agent, now: sign(csr, agent, now - 60 * DAY))
            await renew(folder, None)
        await place.store.agents.revoke(mine.id, time.time())
        found = await attempt(folder)
        assert isinstance(found, Revoked)
        assert found.status == Exit.REFUSED


# -- a relay that does not do its part ------------------------------------------------------------


Answer = Callable[[Renew], Renewed | Refusal]


@dataclass
class Hostile:
    """A listener with the right certificate, and answers of the test's choice."""

    ca: EnrollingAuthority
    folder: Path
    answer: Answer
    stored: asyncio.Event

    async def converse(self, ws: ServerConnection) -> None:
        await ws.send(renewal.encode(renewal.Challenge(renewal.text_of(relay_renewal.new_nonce()))))
        request = renewal.decode_renew(await ws.recv())
        await ws.send(renewal.encode(self.answer(request)))
        renewal.decode_stored(await ws.recv())
        self.stored.set()
        await ws.close()

    def good(self, request: Renew) -> Renewed:
        certificate = self.ca.sign(request.csr, AgentId("plant", "a1").uri)
        return Renewed("plant", "a1", certificate, self.ca.pem, 2, int(time.time()))

    async def renew(self) -> Exception | None:
        try:
            await renew(self.folder, None)
        except Problem as problem:
            return problem
        return None


@asynccontextmanager
async def hostile(folder: Path) -> AsyncIterator[Hostile]:
    ca = EnrollingAuthority(folder)
    shown = ca.issue("relay", RELAY_NAMES, ExtendedKeyUsageOID.SERVER_AUTH)
    mine = ca.agent("plant", "a1")
    relay = Hostile(ca, folder / "state", lambda r: relay.good(r), asyncio.Event())
    async with serve(
        relay.converse,
        "127.0.0.1",
        0,
        ssl=tls.server_context(shown.chain, shown.key, ca.ca),
        subprotocols=[Subprotocol(renewal.SUBPROTOCOL)],
        compression=None,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        made = Credentials(
            f"wss://127.0.0.1:{port}",
            AgentId("plant", "a1"),
            mine.key.read_bytes(),
            mine.chain.read_bytes(),
            ca.ca.read_bytes(),
        )
        state.store(relay.folder, made, state.prepare(relay.folder))
        yield relay


async def test_a_good_answer_is_confirmed(tmp_path: Path) -> None:
    async with hostile(tmp_path) as relay:
        assert await relay.renew() is None
        await until(relay.stored.is_set, "the confirmation")


async def test_every_ca_of_the_bundle_is_trusted_from_then_on(tmp_path: Path) -> None:
    after = EnrollingAuthority(tmp_path, "after")

    async with hostile(tmp_path) as relay:
        both = after.pem + relay.ca.pem

        def answer(request: Renew) -> Renewed:
            # The new CA has signed already; the relay itself still shows what the old one signed.
            fresh = after.sign(request.csr, AgentId("plant", "a1").uri)
            return msgspec.structs.replace(relay.good(request), certificate=fresh, ca=both)

        relay.answer = answer
        assert await relay.renew() is None
        assert state.load(relay.folder).anchors == (after.certificate, relay.ca.certificate)
        assert (relay.folder / "ca.pem").read_text() == both
        # The old one may go once the agent trusts the new one.
        relay.answer = lambda r: msgspec.structs.replace(answer(r), ca=after.pem)
        assert await relay.renew() is None
        assert state.load(relay.folder).anchors == (after.certificate,)


async def test_a_bundle_that_would_lock_the_agent_out_is_refused(tmp_path: Path) -> None:
    stranger = EnrollingAuthority(tmp_path, "stranger")

    async with hostile(tmp_path) as relay:
        before = state.load(relay.folder)

        def answer(request: Renew) -> Renewed:
            fresh = stranger.sign(request.csr, AgentId("plant", "a1").uri)
            return msgspec.structs.replace(relay.good(request), certificate=fresh, ca=stranger.pem)

        relay.answer = answer
        assert "do not vouch for the relay itself" in str(await relay.renew())
        assert state.load(relay.folder) == before


Alter = Callable[[Hostile, Renew], dict[str, object]]
CHANGES: dict[str, tuple[Alter, str]] = {
    "another agent's": (
        lambda relay, r: {"certificate": relay.ca.sign(r.csr, AgentId("plant", "a2").uri)},
        "another site or agent",
    ),
    "said to be another's": (lambda _, __: {"agent": "a2"}, "another site or agent"),
    "for another key": (
        lambda relay, r: {
            "certificate": relay.ca.sign(
                r.csr,
                AgentId("plant", "a1").uri,
                key=relay.ca.agent().certificate.public_key(),  # type: ignore[arg-type]  # P-256
            )
        },
        "another key",
    ),
    "of another CA": (
        lambda relay, r: {
            "certificate": EnrollingAuthority(relay.folder.parent, "other").sign(
                r.csr, AgentId("plant", "a1").uri
            )
        },
        "cannot be verified",
    ),
    "garbage": (
        lambda _, __: {"certificate": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"},
        "cannot be verified",
    ),
    "garbage as a bundle": (
        lambda _, __: {"ca": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"},
        "cannot be verified",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_certificate_that_is_not_exactly_ours_changes_nothing(tmp_path: Path, change: str) -> None:
    alter, words = CHANGES[change]
    async with hostile(tmp_path) as relay:
        before = {path.name: path.read_bytes() for path in relay.folder.iterdir()}
        relay.answer = lambda r: msgspec.structs.replace(relay.good(r), **alter(relay, r))
        found = await relay.renew()
        assert isinstance(found, RenewalFailed)
        assert words in str(found)
        assert {path.name: path.read_bytes() for path in relay.folder.iterdir()} == before
        assert not relay.stored.is_set()


async def test_dates_that_this_clock_does_not_like_are_taken_and_the_clock_is_named(tmp_path: Path) -> None:
    async with hostile(tmp_path) as relay:
        relay.answer = lambda r: msgspec.structs.replace(relay.good(r), time=int(time.time() + 10 * DAY))
        done = await renew(relay.folder, None)
        assert done.skew == pytest.approx(10 * DAY, abs=5)


async def test_a_stranger_at_the_relays_address_gets_no_proof(tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    async with hostile(tmp_path) as relay:
        (relay.folder / "ca.pem").write_bytes(stranger.ca.read_bytes())
        seen: list[Renew] = []

        def answer(request: Renew) -> Renewed:
            seen.append(request)
            return relay.good(request)

        relay.answer = answer
        assert "does not hold a certificate of the relay's own CA" in str(await relay.renew())
        assert seen == []


async def test_a_relay_of_an_older_version_is_named(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        found = await joined(place, tmp_path / "state")
        with pytest.MonkeyPatch.context() as older:
            older.setattr(renewal, "PATH", "/nothing-here")
            with pytest.raises(RenewalFailed, match=r"404|Update|not the relay's"):
                await renew(found.folder, None)
