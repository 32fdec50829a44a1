"""An agent's certificate through the commands that people give, with the programs that they run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.caller import Caller
from tests.harness.stack import Server, Stack, until

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(
        {
            "tools": Server(
                [sys.executable, str(TOOL_SERVER), str(tmp_path / "ledger")], ["*"], write=[tmp_path]
            )
        }
    ) as stack:
        yield stack


def listed(stack: Stack) -> list[dict[str, object]]:
    found = json.loads(stack.relay_cli("agent", "list", "--json").stdout)
    assert isinstance(found, list)
    return found


async def test_renewed_revoked_and_replaced(stack: Stack) -> None:
    async with Caller(stack.url("tools"), stack.token) as caller:
        before = await caller.tool("sleep", tag="before", seconds=0)
        renewed = stack.agent.cli("renew").stdout
        assert "(number 2). The running agent uses it" in renewed
        after = await caller.tool("sleep", tag="after", seconds=0)
        assert before.status == after.status == 200
    await caller.hang_up()
    status = stack.agent.status()
    assert status["linked"] is True
    [agent] = listed(stack)
    assert (agent["state"], agent["generation"]) == ("good", 2)
    assert agent["fingerprint"] == status["fingerprint"]
    # Revoked: gone within 5 s, for good, and it says why.
    began = time.monotonic()
    stack.relay_cli("agent", "revoke", stack.site, str(agent["agent"]))
    until("the end of the agent", 10.0, lambda: not stack.agent.program.running)
    assert time.monotonic() - began < 5 + 2  # the command itself takes a moment
    assert stack.agent.program.process is not None
    assert stack.agent.program.process.returncode == 3
    assert "The relay's CA has signed that" in stack.agent.program.tail()
    assert stack.agent.cli("renew", check=False).returncode == 3
    # Another enrolment, in the same place and under the same name.
    join = stack.relay_cli("agent", "invite", stack.site, "--replace", str(agent["agent"])).stdout.strip()
    stack.agent.cli("join", "--replace", join)
    stack.agent.start()
    [again] = listed(stack)
    assert (again["agent"], again["state"], again["generation"]) == (agent["agent"], "good", 3)


def test_a_site_that_requires_approval(stack: Stack) -> None:
    join = stack.relay_cli("site", "add", "dam", "--require-approval").stdout.strip()
    agent = stack.agent
    agent.program.stop()
    text = agent.cli("join", "--replace", join).stdout
    agent.program.start()
    until("the text", 20.0, lambda: "waits for approval" in str(agent.status().get("problem")))
    [waiting] = [each for each in listed(stack) if each["site"] == "dam"]
    assert waiting["state"] == "waiting"
    assert (
        f"penstock-relay agent approve dam {waiting['agent']} --fingerprint {waiting['fingerprint']}" in text
    )
    stack.relay_cli(
        "agent", "approve", "dam", str(waiting["agent"]), "--fingerprint", str(waiting["fingerprint"])
    )
    # It asks again within a minute; started anew, at once.
    agent.program.stop()
    agent.start()
