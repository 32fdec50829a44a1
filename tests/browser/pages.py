"""The relay's pages as a person knows them: by headings, labels and buttons. Every name is here, once."""

from __future__ import annotations

from typing import Final

from tests.harness.chromium import Chromium, Hand

NAME: Final = "User name"
PASSWORD: Final = "Password"
AGAIN: Final = "The same again"
LOG_IN: Final = "Log in"
CODE: Final = "Code"
TURN_ON: Final = "Turn it on"
TURN_OFF: Final = "Turn it off"
SET: Final = "Set the password"
ALLOW: Final = "Allow"
TICK_ALL: Final = "Tick all"
DENY: Final = "Do not allow"
DISCONNECT: Final = "Disconnect"
LOG_OUT: Final = "Log out of this browser"


class Pages:
    """What a person does on them. A password field has no role of its own, so it is found by its label."""

    def __init__(self, browser: Chromium, hand: Hand) -> None:
        self.browser = browser
        self.hand = hand

    @property
    def heading(self) -> str:
        (found,) = [each.name for each in self.browser.all("h1")]
        return found

    @property
    def alerts(self) -> list[str]:
        """What is said at once to who cannot see the page."""
        return [each.raw.text for each in self.browser.all("[role=alert]")]

    def choose_password(self, password: str, again: str | None = None) -> None:
        self.hand.fill(PASSWORD, password)
        self.hand.fill(AGAIN, password if again is None else again)
        self.hand.press(SET)

    def log_in(self, name: str, password: str) -> None:
        self.hand.fill(NAME, name)
        self.hand.fill(PASSWORD, password)
        self.hand.press(LOG_IN)

    def enter_code(self, code: str) -> None:
        self.hand.fill(CODE, code)
        self.hand.press(LOG_IN)

    def turn_factor(self, button: str, password: str, code: str) -> None:
        """`button` is `TURN_ON` or `TURN_OFF`."""
        self.hand.fill(PASSWORD, password)
        self.hand.fill(CODE, code)
        self.hand.press(button)

    def allow(self) -> None:
        """Consents to all that the site exposes."""
        self.hand.press(TICK_ALL)
        self.hand.press(ALLOW)

    def deny(self) -> None:
        self.hand.press(DENY)

    def connected(self) -> list[str]:
        """What each connected application's button says."""
        return [each.name for each in self.browser.controls() if each.name.startswith(DISCONNECT)]

    def disconnect(self, application: str) -> None:
        self.hand.press(f"{DISCONNECT} {application}")

    def log_out(self) -> None:
        self.hand.press(LOG_OUT)
