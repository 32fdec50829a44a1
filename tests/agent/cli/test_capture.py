"""`capture keygen` and `open`, as an administrator and the holder of the key give them."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from typer.testing import CliRunner

from penstock import canonical
from penstock_agent.capture.capture import Capture, files
from penstock_agent.capture.opened import Found, Opened
from penstock_agent.cli import app
from tests.agent.ledger.book import decision, ledger, sent
from tests.harness.agent_site import Result, Site

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"r","arguments":{"path":"/a"}}}'


def keygen(path: Path, *more: str) -> Result:
    """On a machine that has no agent."""
    done = CliRunner().invoke(app, ["capture", "keygen", str(path), *more])
    return Result(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def key(site: Site, tmp_path: Path) -> Path:
    """Of a site that has captured a call."""
    path = tmp_path / "private"
    recipient = str(keygen(path, "--json").json["recipient"])
    site.join()
    capture = Capture(site.state / "capture", recipient, 1, 1 << 30)

    async def write() -> None:
        with ledger(site.state) as writer:
            writer.record(msgspec.structs.replace(decision(1), arguments=canonical.digest(b'{"path":"/a"}')))
            writer.record(sent(1, b"the answer"))

    asyncio.run(write())
    capture.keep("k-1", "in", 0, REQUEST)
    capture.keep("k-1", "out", 0, b"the answer")
    capture.close()
    return path


def test_a_key_is_made_once_and_the_line_for_the_settings_is_printed(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "key"
    done = keygen(path)
    assert (done.status, path.stat().st_mode & 0o777) == (0, 0o600)
    lines = done.stdout.splitlines()
    site.configure("\n".join(lines[-2:]) + "\n")
    checked = site.run("config", "check")
    assert "capture: for penstock-capture:" in checked.stdout
    assert path.read_text().strip() not in done.stdout
    again = keygen(path)
    assert (again.status, "exists" in again.stderr) == (2, True)


def test_who_has_the_key_reads_it_and_sees_that_the_ledger_says_the_same(site: Site, key: Path) -> None:
    done = site.run("capture", "open", "--key", str(key))
    assert done.status == 0, done.stdout + done.stderr
    assert [line.split(" ", 1)[1] for line in done.stdout.splitlines()] == [
        f"k-1 request, {len(REQUEST)} bytes, as in the ledger",
        "k-1 answer from 0, 10 bytes, as in the ledger",
    ]
    shown = site.run("capture", "open", "--key", str(key), "--exchange", "k-1")
    assert "the answer" in shown.stdout
    folders = ("--dir", str(site.state / "capture"), "--ledger", str(site.state / "ledger"))
    machine = site.run("capture", "open", "--key", str(key), *folders, "--exchange", "k-1", "--json").json
    assert machine["good"] is True
    assert isinstance(machine["pieces"], list)
    assert base64.b64decode(machine["pieces"][1]["data"]) == b"the answer"
    none = site.run("capture", "open", "--key", str(key), "--exchange", "k-9")
    assert (none.status, none.stdout) == (0, "Nothing is there.\n")


def test_what_the_ledger_does_not_know_and_what_was_changed_is_status_1(site: Site, key: Path) -> None:
    recipient = keygen(key.with_name("other"), "--json").json["recipient"]
    capture = Capture(site.state / "capture", str(recipient), 1, 1 << 30)
    capture.keep("k-2", "out", 0, b"x")
    capture.close()
    foreign = site.run("capture", "open", "--key", str(key))
    assert (foreign.status, "CANNOT BE READ: it is sealed to another key" in foreign.stdout) == (1, True)
    unknown = site.run("capture", "open", "--key", str(key.with_name("other")), "--exchange", "k-2")
    assert (unknown.status, "NOT AS IN THE LEDGER" in unknown.stdout) == (1, True)
    for path in files(site.state / "capture"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    changed = site.run("capture", "open", "--key", str(key))
    assert (changed.status, "was changed" in changed.stdout) == (1, True)


def test_it_is_read_piece_by_piece(site: Site, key: Path) -> None:
    recipient = keygen(key.with_name("large"), "--json").json["recipient"]
    capture = Capture(site.state / "large", str(recipient), 1, 1 << 30)
    for number in range(24):
        capture.keep("k-1", "out", number << 20, bytes(1 << 20))
    capture.close()
    tracemalloc.start()
    try:
        done = site.run(
            "capture", "open", "--key", str(key.with_name("large")), "--dir", str(site.state / "large")
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(done.stdout.splitlines()) == 24
    assert peak < 12 << 20, "a third of all of it"


def test_what_fails_midway_is_an_error_and_looks_like_no_whole_answer(
    site: Site, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Found.read

    def breaks(found: Found, key: X25519PrivateKey) -> Iterator[Opened]:
        yield from list(whole(found, key))[:1]
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Found, "read", breaks)
    # Before the first line nothing is lost: the exchanges are looked for first.
    early = site.run("capture", "open", "--key", str(key), "--json")
    assert (early.status, "Input/output error" in early.stdout) == (1, True)
    assert "error" in early.json
    done = site.run("capture", "open", "--key", str(key), "--exchange", "k-1")
    assert (done.status, "cannot be read: Input/output error" in done.stderr) == (1, True)
    machine = site.run("capture", "open", "--key", str(key), "--exchange", "k-1", "--json")
    assert machine.status == 1
    assert '"k-1"' in machine.stdout
    with pytest.raises(json.JSONDecodeError):
        json.loads(machine.stdout)


def test_as_json_it_is_one_object_also_of_nothing(site: Site, key: Path) -> None:
    for exchange, pieces in (("k-1", 2), ("k-9", 0)):
        found = site.run("capture", "open", "--key", str(key), "--exchange", exchange, "--json")
        assert found.stdout == json.dumps(found.json, indent=2) + "\n"
        assert isinstance(found.json["pieces"], list)
        assert (len(found.json["pieces"]), found.json["good"]) == (pieces, True)


def test_what_is_no_key_is_said(site: Site, key: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("x")
    for path, words in ((tmp_path / "wrong", "is no private key"), (tmp_path / "none", "cannot be read")):
        done = site.run("capture", "open", "--key", str(path))
        assert (done.status, words in done.stderr) == (2, True)
