import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from penstock import enrolment
from penstock_agent import state
from penstock_agent.cli import join as command
from penstock_agent.config import DEFAULT_CONFIG, DEFAULT_STATE_DIR, Options, Settings, parse
from penstock_agent.control import Args, Peer
from penstock_agent.problem import Problem
from tests.harness.agent_site import Result, Site
from tests.harness.fake_relay import FakeRelay, fake_relay


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[FakeRelay]:
    async with fake_relay(tmp_path) as running:
        yield running


async def join(site: Site, text: str, *more: str, input: str | None = None) -> Result:
    return await asyncio.to_thread(site.run, "join", text, *more, input=input)


async def test_join_says_who_it_is_and_what_comes_next(site: Site, relay: FakeRelay) -> None:
    site.add_server()
    done = await join(site, relay.join_string().dump())
    assert done.status == 0
    assert "Joined the site plant as a1." in done.stdout
    where = f"--config {site.config} --state-dir {site.state}"
    assert f"Next: penstock-agent run {where}" in done.stdout
    assert f"Next: penstock-agent expose files {where}" in done.stdout


async def test_twice_is_harmless(site: Site, relay: FakeRelay) -> None:
    text = relay.join_string().dump()
    await join(site, text)
    done = await join(site, text)
    assert done.status == 0
    assert "Already joined the site plant as a1; the join string was not used." in done.stdout


async def test_the_join_string_can_come_on_stdin(site: Site, relay: FakeRelay) -> None:
    done = await join(site, "-", input=relay.join_string().dump() + "\n")
    assert done.status == 0


async def test_json(site: Site, relay: FakeRelay) -> None:
    found = (await join(site, relay.join_string().dump(), "--json")).json
    assert (found["site"], found["agent"], found["new"]) == ("plant", "a1", True)
    assert found["service_started"] is False


async def test_the_fingerprint_is_printed_and_who_must_compare_it(site: Site, relay: FakeRelay) -> None:
    usual = relay.answer

    def answer(request: enrolment.Enrol) -> enrolment.Reply:
        reply = usual(request)
        assert isinstance(reply, enrolment.Enrolled)
        return msgspec.structs.replace(reply, approval=True)

    plain = await join(site, relay.join_string().dump())
    shown = state.load(site.state).fingerprint
    assert f"Fingerprint: {shown}" in plain.stdout
    assert "requires approval" not in plain.stdout
    relay.answer = answer
    waiting = await join(site, relay.join_string().dump(), "--replace")
    again = state.load(site.state).fingerprint
    assert again != shown
    assert f"penstock-relay agent approve plant a1 --fingerprint {again}" in waiting.stdout
    assert "once it is started again" in waiting.stdout
    found = (await join(site, relay.join_string().dump(), "--replace", "--json")).json
    assert (found["approval_required"], found["new"]) == (True, True)
    assert found["fingerprint"] == state.load(site.state).fingerprint


async def test_a_wrong_pin_is_status_3_and_the_secret_stays_here(site: Site, relay: FakeRelay) -> None:
    done = await join(site, relay.join_string(pin=bytes(32)).dump())
    assert done.status == 3
    assert "The secret was not sent" in done.stderr
    assert relay.messages == []


async def test_a_refused_join_string_is_status_3_in_the_relays_words(site: Site, relay: FakeRelay) -> None:
    relay.answer = lambda _: enrolment.Refused("expired", "The join string has expired.")
    done = await join(site, relay.join_string().dump())
    assert done.status == 3
    assert done.stderr == "penstock-agent: The join string has expired.\n"


async def test_something_that_is_no_join_string_is_status_2(site: Site) -> None:
    done = await join(site, "hello")
    assert done.status == 2
    assert "This is not a join string" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_while_the_relay_thinks_nothing_is_left_and_nothing_is_said(
    site: Site, relay: FakeRelay, number: signal.Signals
) -> None:
    relay.silent = True
    process = site.start("join", relay.join_string().dump())
    try:
        async with asyncio.timeout(20):
            await relay.asked.wait()
        process.send_signal(number)
        out, err = await asyncio.to_thread(process.communicate, timeout=20)
    finally:
        process.kill()
    assert process.returncode == (130 if number is signal.SIGINT else -signal.SIGTERM)
    assert (out, err) == ("", "")
    assert list(site.state.iterdir()) == []


# -- the service


def settings() -> Settings:
    return parse("", DEFAULT_CONFIG, Options(), {})


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Root on a machine where systemd runs and the unit is installed. Returns what systemctl is asked."""
    asked: list[tuple[str, ...]] = []

    def systemctl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        asked.append(arguments)
        return subprocess.CompletedProcess(arguments, 0, b"", b"")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(command, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(command, "_systemctl", systemctl)
    return asked


def test_root_enables_and_starts_the_unit(machine: list[tuple[str, ...]]) -> None:
    assert command.start_service(settings())
    assert machine == [("cat", "penstock-agent.service"), ("enable", "--now", "penstock-agent.service")]


@pytest.mark.parametrize("why", ["user", "no systemd", "no unit", "no systemctl", "own state", "own config"])
def test_the_unit_is_left_alone_where_it_is_not_meant(
    machine: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    given = settings()

    def missing(*_: str) -> subprocess.CompletedProcess[bytes]:
        raise FileNotFoundError

    match why:
        case "user":
            monkeypatch.setattr(os, "geteuid", lambda: 1000)
        case "no systemd":
            monkeypatch.setattr(command, "SYSTEMD_RUNS", tmp_path / "none")
        case "no unit":
            refused = subprocess.CompletedProcess((), 1, b"", b"")
            monkeypatch.setattr(command, "_systemctl", lambda *_: refused)
        case "no systemctl":
            monkeypatch.setattr(command, "_systemctl", missing)
        case "own state":
            given = parse("", DEFAULT_CONFIG, Options(state_dir=tmp_path), {})
        case _:
            given = parse("", tmp_path / "agent.toml", Options(), {})
    assert not command.start_service(given)
    assert ("enable", "--now", "penstock-agent.service") not in machine


def test_a_unit_that_does_not_start_is_said_in_words(
    machine: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def systemctl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(arguments, 0 if arguments[0] == "cat" else 1, b"", b"")

    monkeypatch.setattr(command, "_systemctl", systemctl)
    with pytest.raises(
        Problem, match=r"has joined, but penstock-agent.service did not start.*systemctl status"
    ):
        command.start_service(settings())


async def test_a_started_service_is_asked_for_its_link(
    site: Site, relay: FakeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "start_service", lambda _settings: True)
    site.state.mkdir(mode=0o700)

    async def link(_peer: Peer, args: Args) -> Args:
        return {"linked": args["wait_s"] == command.LINK_WAIT_S}

    with site.running(site.status(), link=link) as asked:
        done = await join(site, relay.join_string().dump())
    assert asked == ["link"]
    assert "The service runs and has a link to the relay." in done.stdout
    assert "Next: penstock-agent run" not in done.stdout


def test_the_defaults_are_those_of_the_unit() -> None:
    assert (settings().state_dir, settings().config_file) == (DEFAULT_STATE_DIR, DEFAULT_CONFIG)
