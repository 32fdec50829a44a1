"""Silent hour: servers talk, files change, the configuration is read again, nobody calls: nothing leaves."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from penstock.tunnel.agent import digest_of
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Credit,
    Data,
    Frame,
    GoAway,
    GoAwayReason,
    Head,
    Hello,
    Lane,
    Ledger,
    Notice,
    Offer,
    Ping,
    Role,
)
from tests.e2e.test_canary import Secrets, hits
from tests.harness.caller import Caller
from tests.harness.stack import Server, Stack
from tests.proofs import books
from tests.proofs.account import ANSWERS, Account, Site, Unexplained, account, frames
from tests.proofs.reporting import report
from tests.proofs.tap import Capture, Tap

pytestmark = pytest.mark.e2e

SILENCE_S = float(os.environ.get("PENSTOCK_PROOF_SILENCE_S", "12"))
HEARTBEAT_S = 1.0
"""The shortest there is. With the usual ten seconds an hour has 360 of them."""
CHATTERBOX = Path(__file__).with_name("chatterbox.py")
SECRET = "chatter-5e1b0c6d"
EXPOSED = ("first", "second")

PUBLISHED_SILENT = frozenset(
    {
        "HELLO",
        "LEDGER",
        "NOTICE",
        "OFFER",
        "PING",
        "PING, ACK",
        "GOAWAY",
        "GET /link, with the headers of a websocket",
        "GET /renew, with the headers of a websocket",
        "headers and masks of websocket messages",
        "closing words of a websocket",
        "conversation: renew",
        "conversation: stored",
    }
)
"""Rows that a silent hour may have. A new kind of frame is not among them until somebody writes it here."""


RECORDS_SILENT = frozenset(
    {
        "event configuration_read_again",
        "event exposed",
        "event certificate_renewed",
        "event stopped",
        "head",
    }
)
"""Records that a ledger may get while its site's people do these things, and nobody calls."""


def server(*expose: str) -> Server:
    return Server([sys.executable, str(CHATTERBOX)], expose, {"CHATTER": SECRET})


def known(stack: Stack) -> Site:
    joined = json.loads((stack.agent.folder / "state" / "agent.json").read_text())
    found = books.records(stack.agent.folder)
    key = base64.urlsafe_b64decode(found[0].text("key") + "==")
    names = (*EXPOSED, "later")
    return Site(joined["agent"], joined["instance"], names, key, books.heads(found), books.notices(found))


def said(stack: Stack) -> int:
    """Lines that the chatterboxes have said so far, and that the agent has read, nearly."""
    files = (stack.agent.folder / "state" / "servers").rglob("said")
    return sum(int(file.read_text() or 0) for file in files)


async def calls(stack: Stack) -> None:
    """Sessions that were opened, used, and left: one ended, the others not, after a stream that had news."""
    for name in EXPOSED:
        async with Caller(stack.url(name), stack.token) as caller:
            assert SECRET not in (await caller.tool("echo", word="hello")).text
        left = Caller(stack.url(name), stack.token)
        await left.initialize()
        await left.tool("echo", word="hello")
        async for news in left.listen():
            assert b"method" in news
            break
        await left.hang_up()


def quiet(tap: Tap, stack: Stack) -> Account:
    """The account so far, at a moment when nothing is on its way."""
    for _ in range(200):
        try:
            first = account(tap.captures, known(stack))
            time.sleep(0.1)
            second = account(tap.captures, known(stack))
        except Unexplained:
            time.sleep(0.05)
            continue
        if first.sizes[ANSWERS] == second.sizes[ANSWERS]:
            return second
    return account(tap.captures, known(stack))


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Capture], Site]:
    """All that an agent said in its life, the last part of which was silent; and what is known of it."""
    servers = {name: server("tool:echo", "resource:*", "prompt:*") for name in EXPOSED}
    with Tap(heartbeat_ms=int(HEARTBEAT_S * 1000)) as tap, tap.stack(servers) as stack:
        agent = stack.agent
        asyncio.run(calls(stack))
        before = quiet(tap, stack)
        written = len(books.records(agent.folder))
        begun, lines = time.monotonic(), said(stack)
        for part, changed in (
            (0.2, servers),  # the same again
            (0.4, {**servers, "later": server("tool:echo")}),
            (0.6, None),
            (0.8, {**servers, "later": server("tool:echo"), "hidden": server()}),
        ):
            time.sleep(max(0.0, begun + part * SILENCE_S - time.monotonic()))
            if changed is None:
                agent.cli("renew")
                continue
            agent.configure(changed)
            os.kill(agent.program.pid, signal.SIGHUP)
        time.sleep(max(0.0, begun + SILENCE_S - time.monotonic()))
        lines = said(stack) - lines
        lasted = time.monotonic() - begun
        agent.program.stop()
        site, captures = known(stack), tap.captures[:]
        grown = books.kinds(books.records(agent.folder)[written:])
    silence = account(captures, site).since(before)
    figures = {
        "seconds": round(lasted, 1),
        "lines that servers said": lines,
        "connections in the agent's life": len(captures),
        "bytes that left in the silence, decrypted": silence.total,
        "bytes that left in the silence, as TLS records": silence.wire,
        "of them unexplained": silence.total - silence.sizes.total(),
        "of them of answers": silence.sizes[ANSWERS],
        "records that the ledger got": dict(grown),
    }
    report(tmp_path_factory.mktemp("proof"), "silent-hour", figures, silence.table())
    assert lines > 100 * lasted
    assert set(+silence.counts) <= PUBLISHED_SILENT, silence.table()
    # It is the heartbeat that was seen, and it was seen all the time.
    assert silence.counts["PING"] + silence.counts["PING, ACK"] >= 0.6 * lasted / HEARTBEAT_S
    assert silence.counts["OFFER"] == 1
    # The ledger grew by what was done on site. Its head is said when a link begins, each minute, at the end.
    assert set(grown) <= RECORDS_SILENT, grown
    assert grown["event configuration_read_again"] == 3
    assert 1 <= silence.counts["LEDGER"] <= 3 + lasted / 60
    # A link says once how much is withheld. Nothing more is in the silence, but the calls' may be said late.
    assert silence.counts["HELLO"] <= silence.counts["NOTICE"] <= silence.counts["HELLO"] + 1
    assert silence.counts["conversation: renew"] == 1
    return captures, site


def test_nothing_but_published_shapes_leaves_while_nobody_calls(silent: tuple[list[Capture], Site]) -> None:
    captures, site = silent
    everything = b"".join(bytes(capture.up) for capture in captures)
    assert hits(Secrets({"secret": SECRET.encode()}), {"what is not of an answer": without(captures)}) == []
    assert len(everything) == account(captures, site).total


def without(captures: list[Capture]) -> bytes:
    """All frames that are no answer's."""
    links = [capture for capture in captures if capture.up.startswith(b"GET /link ")]
    found = [frame for link in links for frame in frames(link) if not isinstance(frame, Head | Data)]
    return b"".join(frame.encode() for frame in found)


def test_one_byte_more_anywhere_is_noticed(silent: tuple[list[Capture], Site]) -> None:
    captures, site = silent
    shortest = min((c for c in captures if c.up.startswith(b"GET /link ")), key=lambda c: len(c.up))
    up, noticed, missed = bytes(shortest.up), 0, []
    for at in range(len(up) + 1):
        more = bytes([random.Random(at).randrange(256)])
        forged = Capture(0, up=bytearray(up[:at] + more + up[at:]), down=shortest.down)
        try:
            account([forged], site)
        except Unexplained:
            noticed += 1
        else:
            missed.append(at)
    # Nor in the records of TLS: as padding, say, which is no byte of what is inside.
    padded = bytearray(shortest.cipher)
    last = shortest.handshake
    padded[last + 3 : last + 5] = (int.from_bytes(padded[last + 3 : last + 5]) + 1).to_bytes(2)
    padded.insert(last + 5, 0)
    with pytest.raises(Unexplained):
        account([dataclasses.replace(shortest, cipher=padded)], site)
    print(f"\n{noticed} of {len(up) + 1} places where a byte was put in were noticed")
    assert missed == []


FORGED: dict[str, Frame | bytes] = {
    "a PING whose token is no count": Ping(int.from_bytes(b"password")),
    "an answer to no PING": Ping(77, ack=True),
    "a name that is not offered": Offer(*digest_of(["hostname"])),
    "a digest that is not of its names": Offer(b"16 bytes of data" * 2, ("first",)),
    "an answer that nobody asked for": Head(
        Key(bytes(16), 1), 200, (("content-type", "text/plain"),), b"data"
    ),
    "data that nobody asked for": Data(Key(bytes(16), 1), 0, b"data"),
    "credit of no exchange": Credit(Key(b"16 bytes of data", 1), 0, 0),
    "a GOAWAY with something in it": GoAway(GoAwayReason.DRAIN, 4321),
    "a second HELLO": Hello(Role.AGENT, "a", bytes(16), 1, Lane.MAIN, (1,), bytes(32), ()),
    "a frame of a type that is not published": b"\0\0\0\0\x7f\0\0\0\0\0",
    "a ledger head that its ledger does not have": Ledger(
        bytes(32), 7, b"32 bytes of data, or a password!", 1, bytes(64)
    ),
    "a notice of what is not so": Notice(int.from_bytes(b"pass"), 0),
    "a notice that was said before": Notice(0, 0),
    "half a frame": Ping(1).encode()[:-1],
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_frame_is_noticed(silent: tuple[list[Capture], Site], what: str) -> None:
    captures, site = silent
    real = next(c for c in captures if c.up.startswith(b"GET /link "))
    up = bytes(real.up)
    # Right behind HELLO, which is the first message.
    at = up.index(b"\r\n\r\n") + 4
    at += (6 if up[at + 1] & 0x7F < 126 else 8) + (
        up[at + 1] & 0x7F if up[at + 1] & 0x7F < 126 else int.from_bytes(up[at + 2 : at + 4])
    )
    frame = FORGED[what]
    data = frame if isinstance(frame, bytes) else frame.encode()
    message = (
        bytes([0x82, 0x80 | len(data)]) + b"mask" + bytes(b ^ b"mask"[i % 4] for i, b in enumerate(data))
    )
    forged = dataclasses.replace(real, cipher=bytearray(), up=bytearray(up[:at] + message + up[at:]))
    with pytest.raises(Unexplained):
        account([forged], site)
