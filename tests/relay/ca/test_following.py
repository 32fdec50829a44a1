"""A relay that runs, and its CA: real TLS, real links, and time as an argument."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from penstock import tls
from penstock.joinstring import JoinString
from penstock_agent import state
from penstock_agent.dialer.dialer import Dialer, Target
from penstock_agent.dialer.served import Served, Tunnel
from penstock_agent.enrolment.enrol import EnrolError, WrongRelay, enrol
from penstock_relay.ca import CertificateAuthority, following
from penstock_relay.ca.folder import Folder
from penstock_relay.ca.following import Following
from penstock_relay.ca.rotation import SETTLE, Fleet, Holder, Phase
from penstock_relay.door.door import Door
from penstock_relay.enrolment import new_secret, secret_hash
from penstock_relay.sealed import PLAIN, Keyring
from penstock_relay.store import Store
from penstock_relay.switchboard.switchboard import Switchboard
from tests.harness.link_pair import WAIT, until
from tests.relay.ca.making import AGENT, Company, p256

BOTH_LOOPS = True
DAY = 86_400.0
WEEK = 7 * DAY


class Place:
    """A tunnel listener whose CA is followed, as the daemon does it."""

    def __init__(self, folder: Path, ca: CertificateAuthority, store: Store) -> None:
        self.folder = folder
        self.ca = ca
        self.store = store
        self.switchboard = Switchboard("r1")
        self.switchboard.links.public_url = "https://relay.example"
        self.door = Door(self.switchboard, store, ca)
        self.following = Following(ca, store.fleet.read, "localhost", time.time(), self.door.shows)
        self.port = 0

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}"

    async def step(self) -> None:
        """The next phase, taken by a command in another process, and noticed here."""
        command = CertificateAuthority.open(self.folder, time.time())
        if command.record.phase is Phase.STEADY:
            command.announce(time.time())
        else:
            command.advance(command.record.phase, time.time())
        await self.following.look(time.time())
        assert self.ca.record == command.record

    async def invitation(self) -> JoinString:
        """As the command makes it: the pin is what another process reads."""
        if not await self.store.sites.exists("plant"):
            await self.store.sites.add("plant", time.time())
        secret = new_secret()
        await self.store.invites.create("plant", secret_hash(secret), time.time(), time.time() + DAY)
        pin = CertificateAuthority.open(self.folder, time.time()).pin
        return JoinString(self.url, pin, secret, "plant")

    async def join(self, invitation: JoinString | None = None) -> state.Joined:
        """A new agent, with a state folder of its own."""
        credentials = await enrol(invitation or await self.invitation(), None)
        folder = self.folder / credentials.id.agent
        folder.mkdir()
        return state.store(folder, credentials, None)


@asynccontextmanager
async def place_in(folder: Path) -> AsyncIterator[Place]:
    ca = CertificateAuthority.open(folder, time.time())
    async with (
        await Store.open(f"sqlite+aiosqlite:///{folder / 'relay.db'}") as store,
        asyncio.timeout(6 * WAIT),
        asyncio.TaskGroup() as tasks,
    ):
        place = Place(folder, ca, store)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            place.port = listener.getsockname()[1]
            task = tasks.create_task(place.door.serve(listener, place.following.context))
            try:
                yield place
            finally:
                task.cancel()
                await asyncio.wait((task,))


def context_of(joined: state.Joined) -> ssl.SSLContext:
    return tls.client_context(joined.ca_file, joined.certificate_file, joined.key_file)


@asynccontextmanager
async def linked(place: Place, joined: state.Joined) -> AsyncIterator[tuple[asyncio.Queue[Served], Dialer]]:
    """An agent's tunnel without an endpoint."""
    started: asyncio.Queue[Served] = asyncio.Queue()
    tunnel = Tunnel(started.put_nowait)
    tunnel.offer({"files"})
    up = asyncio.Event()
    target = Target(place.url, joined.id, b"i" * 16, context_of(joined), None)
    dialer = Dialer(target, tunnel, lambda: frozenset({"files"}), lambda status: up.set())
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(dialer.run())
        await up.wait()
        try:
            yield started, dialer
        finally:
            task.cancel()


async def test_an_agent_of_any_phase_links_in_the_phases_after_it(tmp_path: Path) -> None:
    async with place_in(tmp_path) as place:
        early = await place.join()
        await place.step()
        async with linked(place, early) as (_, dialer):
            assert dialer.status.linked
        heard = await place.join()
        await place.step()
        signed = await place.join()
        for joined in (heard, signed):
            async with linked(place, joined) as (_, dialer):
                assert dialer.status.linked, dialer.status.problem
        # This one has not heard of the new CA: what --force leaves behind.
        async with linked(place, early) as (_, dialer):
            assert not dialer.status.linked
        await place.step()
        async with linked(place, signed) as (_, dialer):
            assert dialer.status.linked, dialer.status.problem
        # Trust is taken away too, which no TLS context can do by itself.
        async with linked(place, heard) as (_, dialer):
            assert not dialer.status.linked


async def test_what_an_agent_is_given_is_the_bundle(tmp_path: Path) -> None:
    async with place_in(tmp_path) as place:
        assert len((await place.join()).anchors) == 1
        await place.step()
        announced = await place.join()
        assert announced.anchors == tuple(x509.load_pem_x509_certificates(place.ca.pem))
        assert len(announced.anchors) == 2
        await place.step()
        assert len((await place.join()).anchors) == 2
        await place.step()
        assert len((await place.join()).anchors) == 1


async def test_a_link_stands_through_a_whole_rotation(tmp_path: Path) -> None:
    async with place_in(tmp_path) as place:
        joined = await place.join()
        async with linked(place, joined) as (_, dialer):
            (driver,) = dialer._drivers.values()
            since = dialer.status.since
            for _ in range(3):
                await place.step()
                await asyncio.sleep(0)
                assert dialer.status.linked
            assert list(dialer._drivers.values()) == [driver]
            assert dialer.status.since == since


async def test_a_join_string_outlives_the_phase_in_which_it_was_made(tmp_path: Path) -> None:
    async with place_in(tmp_path) as place:
        steady = [await place.invitation() for _ in range(3)]
        await place.join(steady[0])
        await place.step()
        await place.join(steady[1])
        announced = [await place.invitation() for _ in range(2)]
        await place.join(announced[0])
        await place.step()
        # The listener shows a certificate of the new CA, and the pin is the old one's.
        for invitation in (steady[2], announced[1]):
            joined = await place.join(invitation)
            async with linked(place, joined) as (_, dialer):
                assert dialer.status.linked, dialer.status.problem
        await place.join()


async def test_a_join_string_of_a_retired_ca_sends_no_secret(tmp_path: Path) -> None:
    async with place_in(tmp_path) as place:
        invitation = await place.invitation()
        for _ in range(3):
            await place.step()
        with pytest.raises(WrongRelay, match=r"shows a CA with the pin .*The secret was not sent"):
            await place.join(invitation)


async def test_nobody_leads_an_agent_from_the_pinned_ca_to_a_stranger_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sits in between can show the pinned CA beside one of its own; but nothing vouches for that."""
    (tmp_path / "real").mkdir()
    (tmp_path / "evil").mkdir()
    async with place_in(tmp_path / "real") as real, place_in(tmp_path / "evil") as evil:
        invitation = await real.invitation()
        shown = real.ca.pem + evil.ca.pem
        monkeypatch.setattr(CertificateAuthority, "introduction", shown)
        aimed = JoinString(evil.url, invitation.pin, invitation.secret, invitation.site)
        with pytest.raises(EnrolError, match="secret was not sent"):
            await enrol(aimed, None)


# -- by itself ----------------------------------------------------------------------------------------------


class Watched:
    """A CA that is followed without a listener; who depends on it is a list."""

    def __init__(self, folder: Path, keyring: Keyring = PLAIN, company: Company | None = None) -> None:
        self.folder = folder
        self.now = time.time()
        self.holders: list[Holder] = []
        self.asked = 0
        self.shown: list[Path] = []
        source = None if company is None else company.source
        self.ca = CertificateAuthority.open(folder, self.now, keyring, source)
        self.following = Following(self.ca, self.fleet, "localhost", self.now, self.shown.append)

    async def fleet(self, now: float) -> Fleet:
        self.asked += 1
        return Fleet(tuple(self.holders))

    async def after(self, seconds: float) -> Phase:
        """The phase once this time has passed, and everything that is looked at was looked at."""
        self.now += seconds
        for _ in range(following.PROGRESS_EVERY):
            await self.following.look(self.now)
        return self.ca.record.phase


async def test_it_goes_on_by_itself_once_every_agent_has_come(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.holders = [Holder(AGENT, watched.now, watched.now + WEEK)]
    assert await watched.after(DAY) is Phase.STEADY
    assert watched.asked == 0
    CertificateAuthority.open(tmp_path, watched.now).announce(watched.now)
    assert await watched.after(1) is Phase.ANNOUNCED
    assert await watched.after(DAY) is Phase.ANNOUNCED
    watched.holders = [Holder(AGENT, watched.now, watched.now + WEEK)]
    assert await watched.after(1) is Phase.SIGNING
    assert await watched.after(DAY) is Phase.SIGNING
    watched.holders = [Holder(AGENT, watched.now, watched.now + WEEK)]
    assert await watched.after(1) is Phase.STEADY
    assert len(watched.ca.record.anchors) == 1


async def test_a_relay_without_agents_goes_on_after_a_moment(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.ca.announce(watched.now)
    assert await watched.after(SETTLE - 1) is Phase.ANNOUNCED
    assert await watched.after(1) is Phase.SIGNING
    assert await watched.after(SETTLE) is Phase.STEADY


async def test_two_replicas_that_go_on_at_once_take_one_step(tmp_path: Path) -> None:
    one, two = Watched(tmp_path), Watched(tmp_path)
    one.ca.announce(one.now)
    await two.after(0)
    assert await one.after(SETTLE) is Phase.SIGNING
    # The other one has not noticed yet, and takes the step that it believes to be next.
    two.ca.advance(Phase.ANNOUNCED, two.now + SETTLE)
    assert two.ca.record == one.ca.record


async def test_the_door_hears_which_certificate_is_shown(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.shown == [tmp_path / "tunnel.pem"]
    watched.ca.announce(watched.now)
    before = len(watched.shown)
    assert await watched.after(SETTLE) is Phase.SIGNING
    assert len(watched.shown) > before


async def test_files_that_change_are_followed_through_the_phases(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    watched = Watched(tmp_path / "state", company=company)
    company.give(p256())
    assert await watched.after(1) is Phase.ANNOUNCED
    assert await watched.after(SETTLE) is Phase.SIGNING
    assert await watched.after(SETTLE) is Phase.STEADY
    assert watched.ca.certificate == company.certificate


async def test_the_tunnel_certificate_is_renewed_while_the_relay_runs(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    first = (tmp_path / "tunnel.pem").read_bytes()
    watched.now += 300 * DAY
    for _ in range(following.TUNNEL_EVERY):
        await watched.following.look(watched.now)
    assert (tmp_path / "tunnel.pem").read_bytes() != first


async def test_what_cannot_be_followed_is_logged_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(tmp_path)
    monkeypatch.setattr(following, "LOOK_S", 0.0)
    good = (tmp_path / "ca.json").read_bytes()
    looks = 0
    whole = watched.following.look

    async def look(now: float) -> None:
        nonlocal looks
        looks += 1
        await whole(now)

    monkeypatch.setattr(watched.following, "look", look)
    with caplog.at_level(logging.INFO):
        (tmp_path / "ca.json").write_bytes(b"{}")
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(watched.following.run())
            await until(lambda: looks > 10, "the looks")
            assert not task.done()
            (tmp_path / "ca.json").write_bytes(good)
            CertificateAuthority.open(tmp_path, time.time()).announce(time.time())
            await until(lambda: watched.ca.record.phase is Phase.ANNOUNCED, "the next phase")
            task.cancel()
    assert sum("ca_not_followed" in str(record.msg) for record in caplog.records) == 1


async def test_a_command_that_hangs_holds_up_no_relay(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.ca.announce(watched.now)
    with Folder(tmp_path).locked(0):
        (tmp_path / "ca.json").touch()
        assert await watched.after(SETTLE) is Phase.ANNOUNCED
    assert await watched.after(1) is Phase.SIGNING


async def test_the_end_of_the_ca_is_spoken_of_before_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(tmp_path)
    with caplog.at_level(logging.WARNING):
        watched.now += 3200 * DAY
        await watched.following.look(watched.now)
        assert "ca_ends" not in caplog.text
        late = Watched(tmp_path)
        late.now += 3300 * DAY
        await late.following.look(late.now)
        assert "ca_ends" in caplog.text


async def test_a_record_from_before_a_rotation_is_spoken_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(tmp_path)
    backup = (tmp_path / "ca.json").read_bytes()
    watched.ca.announce(watched.now)
    assert await watched.after(SETTLE) is Phase.SIGNING
    (tmp_path / "ca.json").write_bytes(backup)
    with caplog.at_level(logging.WARNING):
        Watched(tmp_path)
    assert "tunnel_certificate_is_of_another_ca" in caplog.text
