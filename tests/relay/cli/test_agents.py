"""`agent list`, `approve`, `revoke`, and what `invite` says of the last two."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable

import pytest
from typer.testing import Result

from penstock import fingerprint
from penstock.joinstring import JoinString
from penstock.names import AgentId
from penstock.tunnel.frames import Notice
from penstock_relay.enrolment import secret_hash
from penstock_relay.store import Agent, Invite, Lock, Store, Successor

Run = Callable[..., Result]
Stored = Callable[[Callable[[Store], Awaitable[object]]], object]

DIGEST = bytes(range(32))
SHOWN = fingerprint.dump(DIGEST)
ONE = AgentId("mill", "one")


def failed(result: Result, status: int) -> str:
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    return result.stderr


@pytest.fixture
def site(run: Run, stored: Stored) -> None:
    """A site that requires approval, with an agent that waits for it."""
    assert run("site", "add", "mill", "--require-approval").exit_code == 0

    async def work(store: Store) -> None:
        await store.agents.add(Agent(ONE, "1f", time.time() + 1000, 1000.0, None, DIGEST))

    stored(work)


def listed(run: Run) -> dict[str, object]:
    [agent] = json.loads(run("agent", "list", "--json").stdout)
    assert isinstance(agent, dict)
    return agent


def find(stored: Stored, result: Result) -> Invite:
    join = JoinString.parse(result.stdout.strip())

    async def work(store: Store) -> object:
        return await store.invites.find(secret_hash(join.secret), time.time())

    invite = stored(work)
    assert isinstance(invite, Invite)
    return invite


@pytest.mark.usefixtures("site")
def test_agents_are_listed_with_what_there_is_to_compare(run: Run) -> None:
    agent = listed(run)
    assert agent["fingerprint"] == SHOWN
    assert (agent["site"], agent["agent"], agent["state"], agent["generation"]) == (
        "mill",
        "one",
        "waiting",
        1,
    )
    assert agent["approved_at"] is agent["revoked_at"] is agent["locked_at"] is agent["lock"] is None
    shown = run("agent", "list", "--site", "mill").stdout
    assert SHOWN in shown
    assert "waiting" in shown
    assert run("agent", "list", "--site", "dam").stdout == ""


@pytest.mark.usefixtures("site")
def test_what_waits_on_the_site_is_listed_while_the_agent_says_so(run: Run, stored: Stored) -> None:
    def said(notice: Notice | None) -> tuple[object, str]:
        async def work(store: Store) -> None:
            await store.notices.keep([(ONE, notice)])

        stored(work)
        [_, line] = run("agent", "list").stdout.splitlines()
        return listed(run)["notice"], line

    found, line = said(None)
    assert found is None
    assert line.split()[:4] == ["mill", "one", "waiting", "-"]
    found, line = said(Notice(0, 0))
    assert isinstance(found, dict)
    del found["said_at"]
    assert found == {"withheld": 0, "waiting": 0, "ledger_failing": False, "paused": False}
    assert line.split()[:4] == ["mill", "one", "waiting", "none"]
    found, line = said(Notice(3, 1, ledger_failing=True))
    assert isinstance(found, dict)
    said_at = found.pop("said_at")
    assert found == {"withheld": 3, "waiting": 1, "ledger_failing": True, "paused": False}
    assert f"3 withheld, 1 waiting, ledger failing (said {said_at})" in line
    assert " paused (said 20" in said(Notice(0, 0, paused=True))[1]


def test_without_agents_the_next_step_is_named(run: Run) -> None:
    result = run("agent", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "penstock-relay agent invite SITE" in result.stderr
    assert "site" in failed(run("agent", "list", "--site", "Not A Name"), 2)


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("text", [SHOWN, SHOWN.upper(), DIGEST.hex()])
def test_an_agent_is_approved_by_its_fingerprint_and_twice_is_harmless(run: Run, text: str) -> None:
    result = run("agent", "approve", "mill", "one", "--fingerprint", text)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "is approved" in result.stderr
    assert listed(run)["state"] == "good"
    assert "was approved before" in run("agent", "approve", "mill", "one", "--fingerprint", text).stderr
    again = json.loads(run("agent", "approve", "mill", "one", "--fingerprint", text, "--json").stdout)
    assert again == {"site": "mill", "agent": "one", "approved": True, "was_approved": True}


@pytest.mark.usefixtures("site")
def test_another_fingerprint_approves_nothing(run: Run) -> None:
    other = fingerprint.dump(bytes(32))
    said = failed(run("agent", "approve", "mill", "one", "--fingerprint", other), 1)
    assert "another fingerprint, so nothing was approved" in said
    assert "whole fingerprint" in failed(
        run("agent", "approve", "mill", "one", "--fingerprint", SHOWN[:20]), 2
    )
    assert run("agent", "approve", "mill", "one").exit_code == 2
    assert "agent list --site mill" in failed(
        run("agent", "approve", "mill", "two", "--fingerprint", SHOWN), 1
    )
    assert listed(run)["state"] == "waiting"


@pytest.mark.usefixtures("site")
def test_an_agent_is_revoked_for_good_and_twice_is_harmless(run: Run) -> None:
    result = run("agent", "revoke", "mill", "one")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "penstock-relay agent invite mill --replace one" in result.stderr
    assert listed(run)["state"] == "revoked"
    assert "was revoked before" in run("agent", "revoke", "mill", "one").stderr
    again = json.loads(run("agent", "revoke", "mill", "one", "--json").stdout)
    assert again == {"site": "mill", "agent": "one", "revoked": True, "was_revoked": True}
    assert "agent list --site mill" in failed(run("agent", "revoke", "mill", "two"), 1)
    assert "agent" in failed(run("agent", "revoke", "mill", "Not A Name"), 2)


@pytest.mark.usefixtures("site")
def test_a_locked_agent_and_an_expired_one_are_shown_as_such(run: Run, stored: Stored) -> None:
    run("agent", "approve", "mill", "one", "--fingerprint", SHOWN)

    async def copied(store: Store) -> None:
        await store.certificates.renew("1f", Successor("2f", bytes(32), 2000.0), 1500.0, linked=False)
        assert (await store.agents.list())[0].not_after == 2000.0

    stored(copied)
    assert listed(run)["state"] == "expired"

    async def locked(store: Store) -> None:
        await store.certificates.confirm("2f", 1600.0)
        await store.certificates.renew("1f", Successor("3f", bytes(32), 2000.0), 1700.0, linked=True)

    stored(locked)
    agent = listed(run)
    assert (agent["state"], agent["lock"], agent["generation"]) == ("locked", Lock.CLONE.value, 2)
    assert "locked (clone)" in run("agent", "list").stdout


@pytest.mark.usefixtures("site")
def test_join_strings_of_a_site_with_approval_live_for_a_day(run: Run, stored: Stored) -> None:
    result = run("agent", "invite", "mill")
    assert find(stored, result).expires_at == pytest.approx(time.time() + 86_400, abs=60)
    assert "approve" in result.stderr
    assert find(stored, run("agent", "invite", "mill", "--ttl", "5m")).expires_at < time.time() + 400
    assert json.loads(run("agent", "invite", "mill", "--json").stdout)["require_approval"] is True
    [found] = json.loads(run("site", "list", "--json").stdout)
    assert found["require_approval"] is True
    # Elsewhere, an hour.
    assert find(stored, run("site", "add", "dam")).expires_at == pytest.approx(time.time() + 3600, abs=60)


@pytest.mark.usefixtures("site")
def test_a_join_string_may_take_an_agents_place(run: Run, stored: Stored) -> None:
    result = run("agent", "invite", "mill", "--replace", "one")
    assert find(stored, result).replaces == "one"
    assert "takes the place of agent one" in result.stderr
    assert "penstock-agent join --replace JOIN_STRING" in result.stderr
    assert (
        json.loads(run("agent", "invite", "mill", "--replace", "one", "--json").stdout)["replaces"] == "one"
    )
    assert "agent list --site mill" in failed(run("agent", "invite", "mill", "--replace", "two"), 1)
    assert "agent" in failed(run("agent", "invite", "mill", "--replace", "Not A Name"), 2)
