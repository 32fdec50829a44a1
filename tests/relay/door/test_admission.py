"""Which links the relay lets in and which it ends, over real TLS."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from penstock import refusal, revocation
from penstock.names import AgentId
from penstock.refusal import Refusal
from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import CloseCode
from penstock.tunnel.frames import GoAway, GoAwayReason
from penstock_relay.door import admission as admission_module
from penstock_relay.store import Lock, Standing, Store, Successor
from penstock_relay.store.sites import Sites
from penstock_relay.switchboard import NotExecuted
from penstock_relay.switchboard import links as links_module
from penstock_relay.switchboard.switchboard import Switchboard
from tests.harness.link_pair import AGENT, hello, until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener
from tests.relay.switchboard.board import call

OTHER = AgentId("plant", "a2")


async def link(place: TunnelListener, agent: AgentId = AGENT) -> ClientConnection:
    """A link that was greeted."""
    websocket = await place.connect(context=place.context(place.certificate(agent)))
    await websocket.send(hello(agent).encode())
    await websocket.recv()
    return websocket


async def refused(place: TunnelListener, agent: AgentId = AGENT) -> Refusal:
    with pytest.raises(InvalidStatus) as caught:
        await link(place, agent)
    response = caught.value.response
    assert response.status_code == 403
    return refusal.decode(bytes(response.body or b""))


def serial(place: TunnelListener, agent: AgentId = AGENT) -> str:
    return place.certificate(agent)[0].stem


async def successor(place: TunnelListener, name: str = "f00d") -> None:
    """The agent renews, and says that it has stored the new one."""
    made = Successor(name, name.encode().ljust(32), time.time() + 1000)
    await place.store.certificates.renew(serial(place), made, time.time(), linked=False)
    await place.store.certificates.confirm(name, time.time())


async def test_a_first_link_is_noted_once_and_further_ones_write_nothing(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        await link(place)
        known = await place.store.certificates.lineage(serial(place))
        assert known is not None
        assert known.newest.seen_at is not None
        # Else each reconnection would empty the caches of tokens.
        before = await place.store.change_sequence()
        await link(place)
        assert await place.store.change_sequence() == before
        assert place.switchboard.links.linked(AGENT)
        assert not place.switchboard.links.linked(OTHER)


async def test_a_certificate_that_the_store_does_not_know_opens_nothing_and_says_so(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        place.certificate()
        async with place.store._database.writing() as connection:
            await connection.execute(text("DELETE FROM agent_certificates"))
        said = await refused(place)
        assert (said.reason, said.statement) == (refusal.UNKNOWN, "")


async def test_a_serial_of_another_agent_is_unknown(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        place.certificate()
        place.certificate(OTHER)
        found = await place.door._admission.judge(OTHER, serial(place))
        assert found is not None
        assert found.reason == refusal.UNKNOWN
        assert await place.door._admission.judge(AGENT, serial(place)) is None


async def test_a_revoked_agent_loses_its_links_and_then_gets_the_cas_word(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        mine, more, other = await link(place), await link(place), await link(place, OTHER)
        began = time.monotonic()
        async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as command:
            await command.agents.revoke(AGENT, time.time())
        for websocket in (mine, more):
            await websocket.wait_closed()
            assert (websocket.close_code, websocket.close_reason) == (
                CloseCode.REVOKED,
                "the certificate was revoked",
            )
        assert time.monotonic() - began < 5
        said = await refused(place)
        assert said.reason == refusal.REVOKED
        assert not revocation.read(said.statement, int(serial(place), 16), [place.ca.certificate]).replaced
        assert not place.switchboard.links.linked(AGENT)
        assert place.switchboard.links.linked(OTHER)
        assert other.close_code is None


async def test_a_locked_agent_loses_its_links_too_and_is_told_why(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        websocket = await link(place)
        await successor(place)
        made = Successor("beef", bytes(32), time.time() + 1000)
        standing, _ = await place.store.certificates.renew(serial(place), made, time.time(), linked=True)
        assert standing is Standing.FORKED
        await websocket.wait_closed()
        assert websocket.close_code == CloseCode.DUPLICATE
        said = await refused(place)
        assert (said.reason, said.statement) == (refusal.LOCKED, "")
        assert f"agent invite plant --replace {AGENT.agent}" in said.text


async def test_an_agent_that_nobody_approved_is_told_its_fingerprint(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        place.certificate()
        async with place.store._database.writing() as connection:
            await connection.execute(text("UPDATE agents SET approved_at = NULL"))
        said = await refused(place)
        assert said.reason == refusal.WAITING
        [agent] = await place.store.agents.list()
        assert agent.fingerprint is not None
        assert f"--fingerprint sha256:{agent.fingerprint.hex()}" in said.text
        await place.store.agents.approve(AGENT, agent.fingerprint, time.time())
        await link(place)


async def test_a_link_with_a_superseded_certificate_is_refused_and_locks_nobody(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        stands = await link(place)
        await successor(place)
        assert (await refused(place)).reason == refusal.SUPERSEDED
        [agent] = await place.store.agents.list()
        assert agent.lock is None
        # The link that stands was opened before. It goes on until there is another.
        await place.door._admission.look()
        [(_, frame)] = Decoder().feed(bytes(await stands.recv(decode=False)))
        assert frame == GoAway(GoAwayReason.REBALANCE, links_module.RETIRE_SPREAD_MS)
        assert place.switchboard.links.linked(AGENT)
        assert stands.close_code is None


async def test_old_links_end_once_there_is_one_with_the_new_certificate_and_so_does_a_thiefs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "RETIRE", 0.02)
    async with tunnel_listener(tmp_path) as place:
        mine, thiefs, other = await link(place), await link(place), await link(place, OTHER)
        await successor(place)
        await place.door._admission.look()
        lines = list(place.switchboard.links._lines.values())
        await until(lambda: all(line.retiring for line in lines[:2]), "the retirement")
        first = lines[0].retiring
        await until(lambda: lines[0].retiring is not first, "a second look, which finds no other link")
        assert (mine.close_code, thiefs.close_code) == (None, None)
        # The agent's next link, with what it renewed.
        fresh = place.certificate(AgentId("plant", "fresh"))
        again = await place.connect(context=place.context(fresh))
        await again.send(hello(AgentId("plant", "fresh")).encode())
        await again.recv()
        [line] = [line for line in place.switchboard.links._lines.values() if line.agent.agent == "fresh"]
        line.agent = AGENT
        for websocket in (mine, thiefs):
            await websocket.wait_closed()
            assert websocket.close_code == CloseCode.GOING_AWAY
        assert (again.close_code, other.close_code) == (None, None)
        line.agent = AgentId("plant", "fresh")


async def test_a_link_with_an_abandoned_certificate_locks(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        place.certificate()
        async with place.store._database.writing() as connection:
            await connection.execute(text("UPDATE agent_certificates SET abandoned_at = 1"))
        assert (await refused(place)).reason == refusal.LOCKED
        [agent] = await place.store.agents.list()
        assert agent.lock is Lock.CLONE


async def test_a_link_that_comes_while_the_relay_looks_is_looked_at_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_module, "POLL_S", 3600.0)
    async with tunnel_listener(tmp_path) as place:
        admission = place.door._admission
        place.certificate()
        # Judged before the revocation, registered after the look that follows it.
        assert await admission.judge(AGENT, serial(place)) is None
        await place.store.agents.revoke(AGENT, time.time())
        await admission.look()
        monkeypatch.setattr(admission, "judge", lambda *_: asyncio.sleep(0))
        websocket = await link(place)
        await admission.look()
        await websocket.wait_closed()
        assert websocket.close_code == CloseCode.REVOKED


async def test_nothing_is_read_again_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_module, "POLL_S", 3600.0)
    async with tunnel_listener(tmp_path) as place:
        looks: list[list[str]] = []
        ended = place.store.certificates.ended

        async def counted(serials: list[str]) -> dict[str, Standing]:
            looks.append(serials)
            return await ended(serials)

        monkeypatch.setattr(place.store.certificates, "ended", counted)
        await link(place)
        await place.door._admission.look()
        looks.clear()
        for _ in range(3):
            await place.door._admission.look()
        assert looks == []
        await place.store.sites.add("dam", 1.0)
        await place.door._admission.look()
        assert looks == [[serial(place)]]


async def test_a_store_that_fails_lets_nobody_in_and_ends_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise SQLAlchemyError("s3cret")

    async with tunnel_listener(tmp_path) as place:
        stands = await link(place)
        monkeypatch.setattr(place.store.certificates, "lineage", fail)
        monkeypatch.setattr(place.store.certificates, "ended", fail)
        with pytest.raises(InvalidStatus) as caught:
            await link(place)
        assert caught.value.response.status_code == 503
        assert b"s3cret" not in bytes(caught.value.response.body or b"")
        await place.store.sites.add("dam", 1.0)
        await place.door._admission.look()
        assert stands.close_code is None
        monkeypatch.undo()
        await place.store.agents.revoke(AGENT, time.time())
        await until(lambda: stands.close_code is not None, "the end, once the store can be read again")


async def test_a_suspended_site_gets_no_call_on_any_replica_from_the_first_link_on(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        await link(place)
        async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as command:
            await command.sites.suspend("plant", time.time())
        began = time.monotonic()
        await until(lambda: place.switchboard._suspended == {"plant"}, "the next look")
        assert time.monotonic() - began < 5
        with pytest.raises(NotExecuted, match="'plant' is suspended"):
            await place.switchboard.exchange(call())
        assert place.switchboard.links.linked(AGENT)
        # Another replica, or this one started again: known before there is a link that a call could take.
        other = Switchboard("r2")
        judging = admission_module.Admission(place.store, place.ca, other)
        assert await judging.judge(AGENT, serial(place)) is None
        assert other._suspended == {"plant"}
        async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as command:
            await command.sites.resume("plant")
        await until(lambda: not place.switchboard._suspended, "the next look")
        await judging.look()
        assert not other._suspended


async def test_a_site_stays_suspended_while_the_store_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> int:
        raise SQLAlchemyError

    async with tunnel_listener(tmp_path) as place:
        await place.store.sites.add("dam", 1.0)
        await place.store.sites.suspend("dam", 1.0)
        await place.door._admission.look()
        monkeypatch.setattr(Store, "change_sequence", failing)
        await place.door._admission.look()
        assert place.switchboard._suspended == {"dam"}


async def test_nobody_is_let_in_while_it_cannot_be_read_which_sites_are_suspended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> int:
        raise SQLAlchemyError

    async with tunnel_listener(tmp_path) as place:
        place.certificate()
        judging = admission_module.Admission(place.store, place.ca, Switchboard("r2"))
        monkeypatch.setattr(Sites, "suspended", failing)
        with pytest.raises(SQLAlchemyError):
            await judging.judge(AGENT, serial(place))
