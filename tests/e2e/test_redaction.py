"""What the site takes out, seen by a caller at the other end of the tunnel: real processes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.caller import Caller
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n-----END RSA PRIVATE KEY-----\n"
RECORD = {
    "card": "4111 1111 1111 1111",
    "mail": "bob@example.com",
    "key": KEY,
    "staff": "EMP-4711",
    "n": 271828.5,
}
RULES = """
[[servers.tools.redact]]
find = ["private_key", "token", "card", "iban", "email"]
patterns = { employee = 'EMP-\\d+' }

[[servers.tools.redact]]
tools = ["progress"]
find = ["email"]
action = "block"
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack({"tools": Server([sys.executable, str(TOOL_SERVER)], ("*",))}) as running:
        yield running


async def test_a_caller_never_sees_what_the_site_takes_out(stack: Stack) -> None:
    async with asyncio.timeout(60):
        async with Caller(stack.url("tools"), stack.token) as caller:
            assert json.loads((await caller.tool("echo", **RECORD)).text) == RECORD
        config = stack.agent.config
        config.write_text(config.read_text() + RULES)
        shown = stack.agent.cli("config", "check").stdout
        assert r"redact mask: private_key, token, card, iban, email, employee /EMP-\d+/" in shown
        stack.agent.program.stop()
        stack.agent.start()
        async with Caller(stack.url("tools"), stack.token) as caller:
            assert json.loads((await caller.tool("echo", **RECORD)).text) == {
                "card": "[card number removed on site]",
                "mail": "[e-mail address removed on site]",
                "key": "[private key removed on site]\n",
                "staff": "[employee removed on site]",
                "n": 271828.5,
            }
            blocked = await caller.tool("progress", steps=2, label="bob@example.com")
            assert blocked.is_error
            assert "what its rules do not let out (e-mail address)" in blocked.text
            assert b"bob@example.com" not in blocked.body
        log = stack.agent.program.log.read_text()
        assert '"event":"masked"' in log.replace(" ", "")
        assert all(str(value).splitlines()[0] not in log for value in RECORD.values())
