import asyncio
import json
import logging
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from penstock import log
from penstock.envelope import request
from penstock.names import WHOLE_SITE

CANARY = "canary-\x1b[2J-\n-forged"


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_line_says_when_how_grave_what_and_who(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("penstock-relay")
    log.get("penstock_relay.door").info("link open", site="plant", agent="a1", frames=3)
    (line,) = lines(capsys)
    assert datetime.fromisoformat(str(line.pop("ts"))).utcoffset() == timedelta(0)
    assert line == {
        "level": "info",
        "event": "link open",
        "program": "penstock-relay",
        "logger": "penstock_relay.door",
        "site": "plant",
        "agent": "a1",
        "frames": 3,
    }


def test_all_servers_together_are_called_something(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("penstock-agent")
    log.get("penstock_agent.x").info("session over", server=WHOLE_SITE)
    log.get("penstock_agent.x").info("session over", server="files")
    assert [line["server"] for line in lines(capsys)] == ["(all)", "files"]


def test_bound_values_are_on_every_line_and_cannot_replace_the_fixed_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.setup("penstock-agent")
    logger = log.get("penstock_agent.x").bind(exchange="ab", program="forged", ts=0)
    logger.warning("one")
    logger.error("two")
    assert [(line["event"], line["exchange"], line["program"]) for line in lines(capsys)] == [
        ("one", "ab", "penstock-agent"),
        ("two", "ab", "penstock-agent"),
    ]


def test_the_level_counts_for_ours_and_libraries_are_heard_from_warning_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.setup("p", level="debug")
    log.get("penstock.x").debug("ours")
    logging.getLogger("websockets.client").debug("> TEXT '%s'", CANARY)
    logging.getLogger("websockets.client").info("connection open")
    logging.getLogger("websockets.client").warning("heard")
    assert [line["event"] for line in lines(capsys)] == ["ours", "heard"]
    log.setup("p", level="warning")
    log.get("penstock.x").info("too quiet")
    log.get("penstock.x").warning("ours")
    assert [line["event"] for line in lines(capsys)] == ["ours"]


def test_an_unknown_level_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="must be one of debug, info, warning, error"):
        log.setup("p", level="loud")


def test_setting_up_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("first")
    log.get("penstock.x").info("a")
    log.setup("second")
    log.get("penstock.x").info("b")
    assert [(line["program"], line["event"]) for line in lines(capsys)] == [("first", "a"), ("second", "b")]


def fail() -> None:
    raise ValueError(CANARY)


@pytest.mark.parametrize("name", ["aiohttp.server", "websockets.server", "asyncio", "somebody"])
def test_what_a_library_knows_of_a_peer_reaches_no_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log.setup("p")
    logger = logging.getLogger(name)
    try:
        fail()
    except ValueError:
        logger.exception("Error handling request from %s", CANARY)
        logger.error("opening handshake failed", exc_info=True, extra={"peer": CANARY})
        logger.error("Task exception was never retrieved\nfuture: <Task exception=%s>", CANARY, exc_info=True)
        logger.error(f"no template\n{CANARY}")
        logger.error(ValueError(CANARY))
    err = capsys.readouterr().err
    assert "forged" not in err
    assert "Traceback" not in err
    first, second, third, fourth, fifth = (json.loads(line) for line in err.splitlines())
    assert first["event"] == "Error handling request from %s"
    assert first["error"] == "ValueError"
    assert first["logger"] == name
    assert first["at"][-1].endswith(" fail")
    assert second["event"] == "opening handshake failed"
    assert third["event"] == "Task exception was never retrieved"
    assert fourth["event"] == "no template"
    assert fifth["event"] == "<ValueError>"


async def test_an_exception_that_nobody_caught_reaches_the_log_by_its_class(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.setup("p")
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def callback() -> None:
        loop.call_soon(done.set_result, None)
        fail()

    loop.call_soon(callback)
    await asyncio.wait_for(done, 5)
    (line,) = lines(capsys)
    assert line["error"] == "ValueError"
    assert "canary" not in json.dumps(line)


def test_our_own_exceptions_are_named_by_class_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("p")
    try:
        fail()
    except ValueError as error:
        log.get("penstock.x").exception("gave up", site="plant")
        log.get("penstock.x").error("gave up", exc_info=error)
    for line in lines(capsys):
        assert line["event"] == "gave up"
        assert line["error"] == "ValueError"
        assert "test_log.py" in str(line["at"])
        assert "canary" not in json.dumps(line)


def test_values_are_one_line_whatever_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("p")
    message = request(b"1", "m", b"canary")
    log.get("penstock.x").info("x", text=CANARY, data=b"canary", message=message, n={1: object()})
    (line,) = lines(capsys)
    assert line["text"] == CANARY
    assert line["data"] == "<bytes>"
    assert line["message"] == "<Message>"


def test_a_line_that_cannot_be_written_prints_nothing_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("p")
    log.get("penstock.x").info("x", value={("canary",): 1})
    err = capsys.readouterr().err
    assert "canary" not in err
    assert "Traceback" not in err
    assert json.loads(err)["event"] == "a log line could not be written"


def test_lines_for_people_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("penstock-agent", json=False)
    log.get("penstock_agent.x").info("link open", text=CANARY)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert 'event="link open" program="penstock-agent"' in err


def test_a_closed_stderr_does_not_stop_the_program() -> None:
    script = (
        "import os, sys; from penstock import log; log.setup('p'); os.close(2); "
        "log.get('penstock.x').error('x'); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "alive\n"


def test_logging_loads_nothing_that_only_paints_lines() -> None:
    program = "import sys; from penstock import log; sys.exit('rich' in sys.modules); "
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
