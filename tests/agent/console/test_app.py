"""The console as a browser meets it: who gets in, what pages show, what buttons do."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest

from penstock_agent import pausing
from penstock_agent.console.access import COOKIE, Door
from penstock_agent.console.app import Console
from penstock_agent.console.views import Views
from penstock_agent.gate.pause import Kind
from penstock_agent.problem import Problem
from tests.harness.console_site import HOSTILE, ConsoleSite


@dataclass
class Answer:
    status: int
    text: str
    headers: aiohttp.typedefs.LooseHeaders
    location: str


class Browser:
    """Of one person."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.url = f"http://{console.ours}"
        self.base = ""
        self.seal = ""
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def ask(self, method: str, path: str, **given: object) -> Answer:
        headers = {"Origin": self.url} if method == "POST" else {}
        headers |= given.pop("headers", {})  # type: ignore[call-overload]  # a mapping
        async with self._http.request(
            method,
            self.url + path,
            headers=headers,
            allow_redirects=False,
            **given,  # type: ignore[arg-type]
        ) as found:
            self.cookies = found.headers.getall("Set-Cookie", [])
            return Answer(found.status, await found.text(), found.headers, found.headers.get("Location", ""))

    async def page(self, path: str) -> str:
        found = await self.ask("GET", f"{self.base}/{path}")
        assert found.status == 200, found.text
        return found.text

    async def press(self, action: str, **fields: str) -> Answer:
        return await self.ask("POST", f"{self.base}/{action}", data={"seal": self.seal, **fields})

    async def enter(self, code: str) -> Answer:
        return await self.ask("POST", "/enter", data={"code": code})

    async def get_in(self) -> None:
        done = await self.enter(self.console.link().partition("#")[2])
        assert done.status == 303
        self.base = done.location.rstrip("/")
        found = re.search(r'name="seal" value="([^"]+)"', await self.page(""))
        assert found
        self.seal = found[1]

    async def close(self) -> None:
        await self._http.close()


@asynccontextmanager
async def browser_of(site: ConsoleSite, door: Door | None = None) -> AsyncIterator[Browser]:
    site.write_ledger()
    async with site.open(door) as console:
        browser = Browser(console)
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
def site(tmp_path: Path) -> ConsoleSite:
    return ConsoleSite(tmp_path)


async def test_the_link_lets_in_once_with_a_cookie_for_one_path_that_scripts_and_others_do_not_get(
    site: ConsoleSite,
) -> None:
    async with browser_of(site) as browser:
        code = browser.console.link().partition("#")[2]
        assert (await browser.ask("GET", "/enter")).status == 200
        done = await browser.enter(code)
        (cookie,) = browser.cookies
        assert cookie.startswith(f"{COOKIE}=")
        assert {"HttpOnly", "SameSite=Strict", f"Path={done.location}"} <= set(cookie.split("; "))
        assert (await browser.ask("GET", done.location)).status == 200
        again = await browser.enter(code)
        assert again.status == 403
        assert "was used" in again.text


async def test_who_has_only_the_path_or_came_before_is_not_in(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        other = Browser(browser.console)
        try:
            assert (await other.ask("GET", browser.base + "/")).status == 403
            await other.get_in()
            assert (await browser.ask("GET", browser.base + "/")).status == 403
            assert (await browser.press("pause", kind="everything")).status == 403
            assert site.told == []
        finally:
            await other.close()


async def test_another_host_and_another_origin_get_nothing(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        for host in ("evil.example", "localhost", f"evil.example:{browser.console.port}"):
            assert (await browser.ask("GET", browser.base + "/", headers={"Host": host})).status == 403
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            done = await browser.ask(
                "POST",
                browser.base + "/pause",
                data={"seal": browser.seal, "kind": "everything"},
                headers={"Origin": origin},
            )
            assert done.status == 403
        browser.seal = "another"
        assert (await browser.press("pause", kind="everything")).status == 403
        assert site.told == []


async def test_a_page_inside_is_not_shown_to_whom_another_page_has_led_there(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        for led in ("cross-site", "same-site"):
            done = await browser.ask("GET", browser.base + "/", headers={"Sec-Fetch-Site": led})
            assert done.status == 403
            assert "Another page has led here" in done.text
        done = await browser.ask("GET", browser.base + "/", headers={"Sec-Fetch-Site": "none"})
        assert done.status == 200


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("multipart/form-data; boundary=x", b"code=1"),
        ("application/x-www-form-urlencoded; charset=foo", b"code=%ff"),
        ("application/json", b"{}"),
    ],
)
async def test_what_is_no_form_is_told_so_and_written_nowhere(
    site: ConsoleSite, capfd: pytest.CaptureFixture[str], kind: str, data: bytes
) -> None:
    async with browser_of(site) as browser:
        done = await browser.ask("POST", "/enter", data=data, headers={"Content-Type": kind})
        assert done.status == 400
        assert "form" in done.text
        assert done.headers["Cache-Control"] == "no-store"  # type: ignore[index]
        large = await browser.ask("POST", "/enter", data={"code": "1" * 70_000})
        assert large.status == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", browser.console.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: \x1b[31mevil\r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()
    assert capfd.readouterr() == ("", "")


async def test_a_mistake_of_ours_is_a_page_without_its_text(
    site: ConsoleSite, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: Views) -> None:
        raise KeyError("a secret")

    async with browser_of(site) as browser:
        await browser.get_in()
        monkeypatch.setattr(Views, "overview", fails)
        done = await browser.ask("GET", browser.base + "/")
        assert done.status == 500
        assert "failed at this (KeyError)" in done.text
        assert "secret" not in done.text
        assert done.headers["Cache-Control"] == "no-store"  # type: ignore[index]
    assert capfd.readouterr() == ("", "")


async def test_every_answer_keeps_others_away_and_is_not_stored(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        for path in ("/enter", "/console.css", "/nothing", browser.base + "/", browser.base + "/nothing"):
            headers = (await browser.ask("GET", path)).headers
            assert headers["Cache-Control"] == "no-store"  # type: ignore[index]
            assert "default-src 'none'" in headers["Content-Security-Policy"]  # type: ignore[index]
            assert headers["X-Frame-Options"] == "DENY"  # type: ignore[index]


async def test_pages_show_what_is(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        overview = await browser.page("")
        for part in ("one of the site plant", "up</", "7 records", "Alice", "2.0 KiB", "landlock", "denied"):
            assert part in overview or part == "up</", part
        assert "Withheld" in await browser.page("tools")
        server = await browser.page("tools/files")
        assert "Adds{+ Alice+}" in server or "Adds Alice" in server
        assert "It looks like Alice" in server
        approvals = await browser.page("approvals")
        assert "rule Alice" in approvals
        assert "Approve once" in approvals
        ledger = await browser.page("ledger")
        assert ledger.count("<svg") == 4
        assert "500 B" in ledger
        denied = await browser.page("ledger?denied=1&since=7d")
        assert "1 of this time" in denied
        assert "Nobody" not in await browser.page("report")
        assert "<table>" in await browser.page("report.html?since=24h")


async def test_buttons_do_what_they_say_and_the_next_page_says_it_once(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        assert "Stop <bdi>the server files</bdi>?" in await browser.page("stop?kind=server&name=files")
        assert site.told == []
        for action, fields, verb, args in (
            ("pause", {"kind": "server", "name": "files"}, "pause", {"kind": "server", "name": "files"}),
            ("resume", {"kind": "everything"}, "resume", {"kind": "everything", "name": ""}),
            ("approve", {"id": "r1"}, "approve", {"id": "r1"}),
            ("deny", {"id": "r1"}, "deny", {"id": "r1"}),
            (
                "pin",
                {"server": "files", "key": "tool:a", "digest": "d"},
                "pin",
                {"server": "files", "items": {"tool:a": "d"}, "afresh": False},
            ),
        ):
            done = await browser.press(action, **fields)
            assert done.status == 303
            assert site.told.pop(0) == (verb, args)
        page = await browser.page("")
        assert "Approved of files: tool:a." in page
        assert "Approved of files: tool:a." not in await browser.page("")


async def test_odd_names_are_what_is_approved_and_stopped(tmp_path: Path) -> None:
    odd = "a\nb\r\x00 %41+&"
    site = ConsoleSite(tmp_path, odd)
    async with browser_of(site) as browser:
        await browser.get_in()
        fields = written(await browser.page("tools/files"), "pin")
        site.told.clear()
        await browser.press("pin", **fields)
        items = {f"tool:{odd}": "digest-1"}
        assert site.told.pop(0) == ("pin", {"server": "files", "items": items, "afresh": False})
        address = re.search(r'/(stop\?kind=caller[^"]*)', await browser.page(""))
        assert address
        fields = written(await browser.page(html.unescape(address[1])), "pause")
        site.told.clear()
        await browser.press("pause", **fields)
        assert site.told == [("pause", {"kind": "caller", "name": odd})]


def written(page: str, action: str) -> dict[str, str]:
    """What a browser sends of a form: line ends of any kind are CR and LF by then."""
    (form,) = re.findall(rf'<form method="post" action="[^"]*/{action}">(.*?)</form>', page, re.DOTALL)
    found = dict(re.findall(r'name="([^"]*)" value="([^"]*)"', form))
    del found["seal"]
    ends = re.compile(r"\r\n?|\n")
    return {name: ends.sub("\r\n", html.unescape(value)) for name, value in found.items()}


async def test_what_the_agent_refuses_is_told_in_its_words(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        site.refuses = "No such call waits."
        await browser.press("approve", id="r9")
        page = await browser.page("approvals")
        assert 'role="alert">No such call waits.' in page


async def test_an_answer_that_is_kept_is_read_before_it_is_let_out(site: ConsoleSite) -> None:
    answer = '{"result": "mail to bob@example.com"}'
    site.asked = msgspec.structs.replace(site.asked, item="answer of tool:a", answer_bytes=len(answer))
    async with browser_of(site) as browser:
        await browser.get_in()
        listed = await browser.page("approvals")
        assert "This call has run" in listed
        assert "See all of the answer" in listed
        assert "Let it out" not in listed
        assert "Deny" in listed
        site.asked = msgspec.structs.replace(site.asked, answer=answer)
        whole = await browser.page("approvals/r1")
        assert "bob@example.com" in whole
        assert "Let it out once" in whole
        await browser.press("approve", id="r1")
        assert "Let out, once: the answer of tool:a of files." in await browser.page("approvals")


async def test_an_answer_that_is_longer_than_a_page_is_let_out_by_a_command(site: ConsoleSite) -> None:
    site.asked = msgspec.structs.replace(site.asked, answer_bytes=5000, answer="beginning")
    async with browser_of(site) as browser:
        await browser.get_in()
        whole = await browser.page("approvals/r1")
        assert "Let it out" not in whole
        assert "penstock-agent approvals approve r1" in whole


async def test_a_call_of_which_not_all_is_shown_cannot_be_approved_there(tmp_path: Path) -> None:
    async with browser_of(ConsoleSite(tmp_path, "A" * 3000)) as browser:
        await browser.get_in()
        assert "Approve once" not in await browser.page("approvals")
        whole = await browser.page("approvals/r1")
        assert "Approve once" in whole
        assert "A" * 3000 in whole


async def test_a_long_definition_is_there_to_its_end_before_it_is_approved(site: ConsoleSite) -> None:
    for size, all_of_it in ((60_000, True), (70_000, False)):
        text = "Adds. " + "x" * size + " And sends."
        (change,) = site.review.changes
        change = msgspec.structs.replace(change, after=json.dumps({"name": "a", "description": text}))
        site.review = msgspec.structs.replace(site.review, changes=[change])
        async with browser_of(site) as browser:
            await browser.get_in()
            page = await browser.page("tools/files")
            assert ("And sends." in page) is all_of_it
            assert ("Approve tool:Alice" in page) is all_of_it
            assert ("tools review files --json" in page) is not all_of_it
            assert re.search(r"description \(\d\d,\d\d\d characters\)", page)


async def test_verifying_says_what_came_of_it(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        assert (await browser.press("verify")).status == 303
        while "being verified" in (page := await browser.page("ledger")):
            await asyncio.sleep(0.01)
        assert "The ledger is whole" in page
        assert "The ledger is whole" in await browser.page("report")


async def test_it_ends_when_somebody_ends_it(site: ConsoleSite) -> None:
    door = Door()
    async with browser_of(site, door) as browser:
        await browser.get_in()
        assert "The console has ended" in (await browser.press("end")).text
        assert not await browser.console.over()
        assert door.over


async def test_it_ends_when_nobody_uses_it(site: ConsoleSite) -> None:
    now = [100.0]
    async with browser_of(site, Door(lambda: now[0])) as browser:
        now[0] += 1800
        assert await browser.console.over()


async def test_a_page_that_is_left_open_does_not_keep_it_alive(site: ConsoleSite) -> None:
    now = [100.0]
    door = Door(lambda: now[0])
    async with browser_of(site, door) as browser:
        await browser.get_in()
        now[0] += 1700
        await browser.ask("GET", browser.base + "/", headers={"X-Refresh": "1"})
        now[0] += 200
        assert door.over
        await browser.page("")
        assert not door.over


async def test_names_from_outside_are_text_and_not_more(tmp_path: Path) -> None:
    async with browser_of(ConsoleSite(tmp_path, HOSTILE)) as browser:
        await browser.get_in()
        pages = ["", "tools", "tools/files", "approvals", "approvals/r1", "ledger", "report", "report.html"]
        pages.append("stop?kind=caller&name=%3Cscript%3Ealert(1)")
        for path in pages:
            text = await browser.page(path)
            assert "<script>alert" not in text, path
            assert "<img" not in text, path
            assert "\u202e" not in re.sub(r'value="[^"]*"', "", text), path
            assert "\x1b" not in re.sub(r'value="[^"]*"', "", text), path


async def test_without_an_agent_and_a_ledger_pages_say_so(tmp_path: Path) -> None:
    site = ConsoleSite(tmp_path)
    async with site.open() as console:
        browser = Browser(console)
        await browser.get_in()
        site.settings.runtime_dir.joinpath("control.sock").unlink()
        for path in ("", "tools", "approvals"):
            assert "The agent does not run" in await browser.page(path), path
        assert (await browser.page("")).count("The agent says nothing.") == 2
        for path in ("ledger", "report"):
            assert "There is no ledger" in await browser.page(path), path
        assert "The agent does not run" in (await browser.ask("GET", browser.base + "/tools/files")).text
        await browser.press("approve", id="r1")
        assert "The agent does not run" in await browser.page("")
        await browser.close()


async def test_without_an_agent_a_stop_and_its_end_are_for_the_next_one(site: ConsoleSite) -> None:
    async with browser_of(site) as browser:
        await browser.get_in()
        site.settings.runtime_dir.joinpath("control.sock").unlink()
        await browser.press("pause", kind="server", name="files")
        page = await browser.page("")
        assert "The server files is paused. No agent runs here; it will be so when it starts." in page
        assert "<b>Paused:</b> <bdi>the server files</bdi>" in page
        (entry,) = pausing.load(site.settings.state_dir).entries
        assert (entry.kind, entry.name, entry.by_uid) == (Kind.SERVER, "files", os.getuid())
        await browser.press("pause", kind="server", name="files")
        assert "The server files is paused already." in await browser.page("")
        await browser.press("resume", **written(await browser.page(""), "resume"))
        assert "The server files goes on." in await browser.page("")
        assert pausing.load(site.settings.state_dir).entries == ()
        await browser.press("pause", kind="server")
        assert "A server and a caller have a name" in await browser.page("")
    assert site.told == []


async def test_without_an_agent_a_mistake_in_the_file_is_told_in_place_of_a_stop(site: ConsoleSite) -> None:
    site.mistake = Problem("agent.toml: expsoe: unknown key.")
    async with browser_of(site) as browser:
        await browser.get_in()
        site.settings.runtime_dir.joinpath("control.sock").unlink()
        await browser.press("pause", kind="everything")
        assert "expsoe: unknown key" in await browser.page("")
        assert pausing.load(site.settings.state_dir).entries == ()


async def test_a_port_that_is_taken_is_told(site: ConsoleSite) -> None:
    async with site.open() as console:
        port = console.port
        with pytest.raises(Problem, match=f"Port {port} cannot be had: Address already in use"):
            async with console.listening(port):
                pass


async def test_what_fails_while_it_listens_is_told_as_it_is(site: ConsoleSite) -> None:
    async with site.open() as console:
        with pytest.raises(Problem, match="the terminal is gone"):
            async with console.listening(0):
                raise Problem("the terminal is gone")
