"""`renew`: through the running agent, or without one against a real tunnel listener."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path

from penstock_agent import state
from penstock_agent.control import Args, Peer
from penstock_agent.enrolment.enrol import enrol
from penstock_agent.problem import Exit, Problem
from penstock_agent.renewal.verdict import Revoked
from tests.harness.agent_site import Result, Site
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener


async def renew(site: Site, *more: str) -> Result:
    return await asyncio.to_thread(site.run, "renew", *more)


async def join(site: Site, place: TunnelListener) -> state.Joined:
    return state.store(site.state, await enrol(await place.invitation(), None), state.prepare(site.state))


def test_before_join_it_says_what_to_do(site: Site) -> None:
    done = site.run("renew")
    assert done.status == Exit.USAGE
    assert "penstock-agent join JOIN_STRING" in done.stderr


def test_a_running_agent_does_it(site: Site) -> None:
    site.join()

    async def answer(_peer: Peer, _args: Args) -> Args:
        return {"certificate_expires": 1_800_000_000.0, "generation": 7}

    with site.running(site.status(), renew=answer) as asked:
        done = site.run("renew")
        as_json = site.run("renew", "--json").json
    assert asked == ["renew", "renew"]
    assert done.status == 0
    assert "renewed, good until 2027-01-15 08:00 UTC (number 7). The running agent uses it" in done.stdout
    assert as_json == {
        "certificate_expires": "2027-01-15T08:00:00+00:00",
        "generation": 7,
        "running": True,
    }


def test_what_a_running_agent_cannot_do_is_said_in_its_words_with_its_status(site: Site) -> None:
    site.join()
    for problem in (Problem("No connection to relay."), Revoked("It was revoked.")):

        async def answer(_peer: Peer, _args: Args, problem: Problem = problem) -> Args:
            raise problem

        with site.running(site.status(), renew=answer):
            done = site.run("renew")
        assert (done.status, done.stdout) == (problem.status, "")
        assert str(problem) in done.stderr


async def test_without_a_running_agent_it_is_done_directly(site: Site, tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        before = await join(site, place)
        done = await renew(site)
        assert done.status == 0
        assert "No agent runs here." in done.stdout
        assert state.load(site.state).certificate != before.certificate
        found = (await renew(site, "--json")).json
        assert (found["generation"], found["running"]) == (3, False)
        assert (
            datetime.fromisoformat(str(found["certificate_expires"])).timestamp() > time.time() + 6 * 86_400
        )


async def test_a_revoked_agent_is_status_3(site: Site, tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        mine = await join(site, place)
        await place.store.agents.revoke(mine.id, time.time())
        done = await renew(site)
        assert (done.status, done.stdout) == (Exit.REFUSED, "")
        assert "The relay's CA has signed that" in done.stderr
        found = (await renew(site, "--json")).json
        assert isinstance(found["error"], dict)
        assert found["error"]["status"] == 3


def test_a_relay_that_cannot_be_reached_is_status_1(site: Site) -> None:
    site.join()
    done = site.run("renew")
    assert done.status == Exit.FAILED
    assert "relay.example" in done.stderr
