"""Takes the pictures of docs/images, of what is there now. Collected for `./dev pictures` only."""

from __future__ import annotations

import asyncio
import os
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pytest

from penstock.names import AgentId
from penstock.principal import Principal
from penstock_agent.control import Approval, Call, Calls, ServerStatus
from penstock_agent.ledger.entries import Decision, LedgerStatus, Sent, Verdict
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.settings import LedgerSettings
from tests.browser.pages import Pages
from tests.browser.test_console import enter
from tests.harness.assistants import Claude
from tests.harness.chromium import Chromium, Hand
from tests.harness.console_site import NOW, ConsoleSite
from tests.harness.internet import ORIGIN
from tests.harness.town import PASSWORD, Town

pytestmark = pytest.mark.e2e

SCREEN: Final = (640, 400)
"""Width, and the least height, of each picture."""


async def test_pictures_of_every_page_of_a_connection(town: Town, browser: Chromium) -> None:
    folder = Path(os.environ["PICTURES"])
    pages = Pages(browser, Hand(browser))

    def picture(name: str) -> None:
        browser.screen(SCREEN)
        browser.picture(folder / f"{name}.png")

    browser.open(town.invite("lisa"))
    picture("invitation")
    pages.choose_password(PASSWORD)
    async with Claude(town.url("files"), town.internet.transport()) as claude:
        browser.open(await claude.connect())
        picture("login")
        pages.log_in("lisa", PASSWORD)
        picture("consent")
        pages.allow()
        await claude.come_back(browser.url)
    browser.open(f"{ORIGIN}/oauth/grants")
    picture("connected-applications")


WIDE: Final = (1000, 900)
PEOPLE: Final = (
    Principal("https://idp", "mary", "Mary Miller", "mary@example.com", client="ChatGPT"),
    Principal("https://idp", "kurt", "Kurt Klein", "kurt@example.com", client="Claude"),
)
TOOLS: Final = ("files: read_file", "files: list_directory", "tickets: search")


async def test_pictures_of_the_console_on_site(tmp_path: Path, browser: Chromium) -> None:
    site = ConsoleSite(tmp_path)
    site.status = msgspec.structs.replace(
        site.status,
        agent="site-gateway",
        paused=[],
        withheld={"tickets": ["tool:close_ticket"]},
        servers=[
            ServerStatus("files", 1, 1, ["tool:read_*", "tool:list_*"], "landlock", "none"),
            ServerStatus("tickets", 0, 0, ["*"]),
        ],
        ledger=LedgerStatus(1290, 2, 412_000, 1290, head=1280),
    )
    one, other = PEOPLE
    site.calls = Calls(
        [
            Call("1", NOW - 3, "running", one.name, one.email, one.subject, one.client, "files",
                 "tool:read_file", 0),
            Call("2", NOW - 1, "waiting", other.name, other.email, other.subject, other.client, "files",
                 "tool:write_file", 0),
        ]
    )  # fmt: skip
    site.asked = Approval(
        "3f1c09aa", "waiting", other.name, other.email, other.subject, other.client, "files",
        "tool:write_file", '{"path": "/srv/share/notes.txt", "content": "Inspection on Friday."}', "d",
        'rule "writes"', NOW - 1, NOW + 599,
    )  # fmt: skip
    clock = [NOW - 86_000]
    writer = open_ledger(tmp_path, AgentId("plant", "one"), LedgerSettings(), clock=lambda: clock[0])
    for number in range(160):
        who, (server, _, tool) = PEOPLE[number % 7 % 2], TOOLS[number % 5 % 3].partition(": ")
        verdict = Verdict.DENIED if number % 41 == 40 else Verdict.ALLOWED
        key, rule = f"k-{number}", "expose" if verdict is Verdict.ALLOWED else 'rule "office hours"'
        writer.record(Decision(key, server, who, "tools/call", verdict, rule, "1", f"tool:{tool}"))
        writer.record(Sent(key, server, who, 0, 900 + number * 97 % 4000, sha256(b"").hexdigest()))
        clock[0] += 300 + number * 131 % 480
    writer.close()
    async with site.open() as console:
        link = console.link()

        def take() -> None:
            browser.screen(WIDE)
            enter(browser, link)
            base = browser.url
            for path, name in (("", "console"), ("ledger", "console-ledger")):
                browser.open(base + path)
                browser.driver.save_screenshot(str(Path(os.environ["PICTURES"]) / f"{name}.png"))

        await asyncio.to_thread(take)
