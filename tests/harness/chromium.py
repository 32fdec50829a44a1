"""A real browser: headless Chromium that finds the names of this run's internet, and nothing else.

Driven by Debian's chromium-driver over WebDriver; elements are found as a person does, by role and name.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.clients.drivers import FOLDER
from tests.harness.internet import Internet

WAIT_S: Final = 10
PHONE: Final = (360, 740)
DESKTOP: Final = (1000, 900)
MAX_TABS: Final = 200
"""Presses of Tab after which what is looked for cannot be reached by keyboard."""


def programs() -> tuple[str, str]:
    """Chromium and its driver. Skips the test where they are missing; where CI=true it fails."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if found[0] is None or found[1] is None:
        text = "needs Debian's packages chromium and chromium-driver: apt install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return found[0], found[1]


@cache
def axe() -> str:
    return (FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


@dataclass(frozen=True)
class Element:
    """Something on a page that a person can name. Role and name are as a screen reader would say them."""

    raw: WebElement

    @property
    def role(self) -> str:
        return str(self.raw.aria_role)

    @property
    def name(self) -> str:
        return str(self.raw.accessible_name)


class Chromium:
    """One browser window with cookies of its own."""

    def __init__(self, internet: Internet, profile: Path) -> None:
        binary, driver = programs()
        options = ChromeOptions()
        options.binary_location = binary
        for argument in (
            "--headless=new",
            f"--user-data-dir={profile}",
            f"--host-resolver-rules={internet.chromium_rules}",
            f"--ignore-certificate-errors-spki-list={internet.spki}",
            "--no-proxy-server",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-prefers-reduced-motion",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium refuses its sandbox to root
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = ChromeService(executable_path=driver)
        self.driver = Chrome(options=options, service=service)
        self.scripts = True
        self._width = DESKTOP[0]
        self.driver.set_page_load_timeout(WAIT_S)

    def close(self) -> None:
        self.driver.quit()

    def command(self, name: str, **parameters: object) -> Any:
        """One command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    # -- what a person has

    def forget(self) -> None:
        """Without cookies, at an empty page on a desktop, with scripts."""
        self.driver.get("about:blank")
        self.command("Network.clearBrowserCookies")
        self.screen(DESKTOP)
        self.colours("light")
        self.run_scripts(True)
        self.complaints()

    def screen(self, size: tuple[int, int]) -> None:
        # A window is never as narrow as a phone, so the screen is said to be.
        self._width = size[0]
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def colours(self, wanted: str) -> None:
        """What the person prefers: "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": wanted}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def run_scripts(self, wanted: bool) -> None:
        """Switches JavaScript on or off, for pages that are opened from now on."""
        self.scripts = wanted
        self.command("Emulation.setScriptExecutionDisabled", value=not wanted)

    # -- looking

    def open(self, url: str) -> None:
        self.driver.get(url)

    @property
    def url(self) -> str:
        return str(self.driver.current_url)

    @property
    def title(self) -> str:
        return str(self.driver.title)

    def all(self, selector: str) -> list[Element]:
        """What a selector finds and a person sees."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return [Element(each) for each in found if each.is_displayed()]

    def controls(self) -> list[Element]:
        """Everything that can be used."""
        return self.all("a[href], button, input:not([type=hidden]), select, textarea, summary")

    def control(self, role: str, name: str) -> Element:
        """The one control of this role whose name begins with `name`. Raises AssertionError."""
        there = self.controls()
        found = [each for each in there if each.name.startswith(name) and each.role == role]
        assert len(found) == 1, f"{role} {name!r} is not there once, but {[(e.role, e.name) for e in there]}"
        return found[0]

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def complaints(self) -> list[str]:
        """What the browser said on its console since the last question, violated policies among it."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # of selenium
        return [str(entry["message"]) for entry in entries]

    def violations(self) -> list[str]:
        """What axe-core finds wrong for people who see, hear or move differently. It needs scripts."""
        # It takes what nobody painted for white, and in the dark it is not: so it is painted as it is.
        self.driver.execute_script("document.documentElement.style.backgroundColor = 'Canvas'")
        found: dict[str, Any] = self.driver.execute_async_script(
            axe() + "; const done = arguments[arguments.length - 1]; axe.run().then(done);"
        )
        return [
            f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']]}"
            for each in found["violations"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        # A phone zooms out when a page is too wide, so what it shows at the moment is no measure.
        return int(self.command("Page.getLayoutMetrics")["cssContentSize"]["width"]) - self._width

    def picture(self, file: Path) -> None:
        """The whole page, as high as it is."""
        metrics = self.command("Page.getLayoutMetrics")
        size = metrics["cssContentSize"]
        width = metrics["cssLayoutViewport"]["clientWidth"]
        self.screen((width, int(size["height"])))
        self.driver.save_screenshot(str(file))

    # -- doing

    def leave_page(self, act: Any) -> None:
        """Does what leads to another page, and waits for that."""
        before = self.driver.find_element(By.TAG_NAME, "html")
        act()
        WebDriverWait(self.driver, WAIT_S).until(lambda _: _gone(before))

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()


class Hand:
    """How a person uses controls: with a mouse."""

    def __init__(self, browser: Chromium) -> None:
        self.browser = browser

    def fill(self, label: str, text: str, role: str = "textbox") -> None:
        """Types into the field with this label."""
        field = self.browser.control(role, label)
        field.raw.clear()
        field.raw.send_keys(text)

    def press(self, name: str, role: str = "button") -> None:
        """Presses what leads to another page."""
        self.browser.leave_page(self.browser.control(role, name).raw.click)


class Keyboard(Hand):
    """With the keyboard alone."""

    def fill(self, label: str, text: str, role: str = "textbox") -> None:
        self._reach(self.browser.control(role, label))
        chain = ActionChains(self.browser.driver)
        chain.key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys(text).perform()

    def press(self, name: str, role: str = "button") -> None:
        self._reach(self.browser.control(role, name))
        self.browser.leave_page(lambda: self.browser.keys(Keys.ENTER))

    def _reach(self, wanted: Element) -> None:
        """Goes there with Tab. Raises AssertionError when it cannot be reached."""
        for _ in range(MAX_TABS):
            if self.browser.driver.switch_to.active_element == wanted.raw:
                outline = wanted.raw.value_of_css_property("outline-style")
                assert outline != "none", f"nothing shows that {wanted.role} {wanted.name!r} is meant"
                return
            self.browser.keys(Keys.TAB)
        raise AssertionError(f"{wanted.role} {wanted.name!r} cannot be reached with Tab")


def _gone(element: WebElement) -> bool:
    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    except WebDriverException as error:
        # What the driver says of an element whose document is replaced while it looks.
        if "does not belong to the document" in str(error):
            return True
        raise
    return False
