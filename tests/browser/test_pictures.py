"""Takes the pictures of docs/images, of what is there now. Collected for `./dev pictures` only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from tests.browser.pages import Pages
from tests.harness.assistants import Claude
from tests.harness.chromium import Chromium, Hand
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
