"""A user's phone with an authenticator app, and the pages on which a second factor is set up."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from penstock_relay.oauth.factor import totp
from tests.relay.oauth.visiting import PASSWORD, Browser, Place


@dataclass
class Phone:
    """The app of a user who reads the relay's pages."""

    key: bytes = b""
    recovery: list[str] = field(default_factory=list)

    def read(self, browser: Browser) -> None:
        """Takes the key over, or the recovery codes, that the page shows."""
        text = browser.page.body.decode()
        if found := re.search(r"<dd><code>([A-Z2-7 ]+)</code></dd>", text):
            key = totp.read(found[1])
            assert key is not None
            self.key = key
        if codes := re.findall(r"<li><code>([0-9 ]+)</code></li>", text):
            self.recovery = codes

    def code(self, now: float) -> str:
        return totp.code(self.key, totp.step_at(now))

    def wrong(self, now: float) -> str:
        """A code of six digits that is not good around `now`."""
        good = {totp.code(self.key, totp.step_at(now) + drift) for drift in (-1, 0, 1)}
        return next(each for each in ("000000", "111111", "222222", "333333") if each not in good)


async def set_up(here: Place, browser: Browser) -> Phone:
    """alice turns her second factor on, on the page for that; the time of its first code passes."""
    phone = Phone()
    await browser.open("/oauth/factor")
    if b'name="name" value=""' in browser.page.body:
        await browser.log_in()
    phone.read(browser)
    await browser.submit(password=PASSWORD, code=phone.code(here.now))
    phone.read(browser)
    assert len(phone.recovery) == 8, browser.page.body
    here.now += 2 * totp.STEP_S
    return phone


async def inside(browser: Browser) -> bool:
    """Whether somebody is logged in there."""
    return b"You are alice" in (await browser.open("/oauth/grants")).body
