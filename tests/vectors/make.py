"""Makes the files of vectors anew: `python tests/vectors/make.py`, from the repository.

The committed files are the authority. A change of them is a change of the protocol: look at the diff.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parents[1] / "core")]

from penstock.ledgerhead import to_frame  # noqa: E402 - found through the path above
from penstock.tunnel.fields import Key  # noqa: E402 - found through the path above
from penstock.tunnel.frames import (  # noqa: E402
    HEADER, Attach, Credit, Data, Done, DoneReason, End, EndReason, Frame, FrameType, GoAway, GoAwayReason, Head,
    Hello, Lane, Ledger, Lost, Method, Notice, Offer, Open, Ping, Principal, Purpose, Role, Welcome,
)
from tests.vectors.certificates import certificates  # noqa: E402
from tests.vectors.conversations import conversations  # noqa: E402
from tests.vectors.heads import a_head, heads  # noqa: E402
from tests.vectors.values import Json, described, packed  # noqa: E402

BOOT = bytes(range(16))
KEY = Key(BOOT, 1)
LAST = Key(b"\xff" * 16, 2**64 - 1)
D32 = bytes(range(32))
LEDGER = to_frame(a_head())


# -- frames -------------------------------------------------------------------------------------------


def raw(kind: int, body: bytes, flags: int = 0, link: int = 0, length: int | None = None) -> bytes:
    return HEADER.pack(len(body) if length is None else length, kind, flags, link) + body


def an_open(**change: object) -> Open:
    values: dict[str, object] = {
        "key": KEY, "epoch": 7, "site": "plant", "server": "files", "method": Method.POST,
        "purpose": Purpose.MCP, "principal": D32, "deadline_ms": 120_000, "length": 4, "limit": 65_536,
        "headers": (("accept", "*/*"), ("accept", "text/event-stream")), "data": b"{ }\n", "end": True,
    } | change
    return Open(**values)  # type: ignore[arg-type]  # the fields are named above


def a_hello(**change: object) -> Hello:
    values: dict[str, object] = {
        "role": Role.AGENT, "name": "pump-house", "instance": BOOT, "epoch": 2**63 + 1, "lane": Lane.MAIN,
        "versions": (1,), "digest": D32, "servers": ("files", "git"),
    } | change
    return Hello(**values)  # type: ignore[arg-type]  # the fields are named above


def a_welcome(**change: object) -> Welcome:
    values: dict[str, object] = {
        "version": 1, "replica": "r1", "boot": BOOT, "replicas": 2, "public_url": "https://relay.example",
        "heartbeat_ms": 10_000, "max_exchanges": 1024, "answer_budget": 2**26, "max_request": 2**22,
        "urls": ("wss://r1.example:8443", "wss://r2.example:8443"),
    } | change
    return Welcome(**values)  # type: ignore[arg-type]  # the fields are named above


def good() -> list[tuple[str, Frame, str]]:
    enums: list[tuple[str, Frame, str]] = []
    enums += [(f"END, {r.name.lower()}", End(KEY, 0, r), "") for r in EndReason]
    enums += [(f"DONE, {r.name.lower()}", Done(KEY, r), "") for r in DoneReason]
    enums += [(f"GOAWAY, {r.name.lower()}", GoAway(r, 30_000), "") for r in GoAwayReason]
    enums += [(f"OPEN, {m.name.lower()}", an_open(method=m), "") for m in Method]
    enums += [(f"OPEN, {p.name.lower()}", an_open(purpose=p), "") for p in Purpose]
    return [
        ("HELLO of an agent", a_hello(), "the first frame of a link"),
        ("HELLO, bulk lane", a_hello(lane=Lane.BULK), ""),
        ("HELLO of a replica", a_hello(role=Role.REPLICA, epoch=0, servers=()), "between replicas"),
        ("HELLO, nothing in it", a_hello(name="", versions=(), servers=()), "well-formed; refused for version"),
        ("HELLO, versions 2 and 1", a_hello(versions=(2, 1)), ""),
        ("HELLO, 255 versions", a_hello(versions=tuple(range(255))), "a count of 8 bits"),
        ("HELLO, longest name", a_hello(name="n" * 255), "255 bytes of UTF-8"),
        ("HELLO, name beyond ASCII", a_hello(name="Pumpenhäuschen ⛲"), "lengths count bytes"),
        ("WELCOME", a_welcome(), ""),
        ("WELCOME, version 2", a_welcome(version=2), ""),
        ("WELCOME, no urls", a_welcome(urls=(), public_url=""), ""),
        ("WELCOME, largest numbers", a_welcome(
            version=2**16 - 1, replicas=2**16 - 1, heartbeat_ms=2**32 - 1, max_exchanges=2**32 - 1,
            answer_budget=2**64 - 1, max_request=2**32 - 1), ""),
        ("OFFER", Offer(D32, ("files",)), "replaces the names of HELLO"),
        ("OFFER, none", Offer(D32, ()), "the agent serves nothing now"),
        ("PING", Ping(2**64 - 1), ""),
        ("PING, ACK", Ping(1, ack=True), "flag 0x01"),
        ("LOST of a link", Lost(), "towards an origin; `link` names the agent's link"),
        ("LOST of a boot", Lost(BOOT), "towards an agent"),
        ("LEDGER", LEDGER, "signed as heads.json says; the codec does not look"),
        ("LEDGER, largest numbers", Ledger(D32, 2**64 - 1, D32, 2**64 - 1, bytes(64)), "well-formed; refused for its numbers"),
        ("NOTICE", Notice(3, 1, ledger_failing=True), "state 0x01"),
        ("NOTICE, nothing to say", Notice(0, 0), "how an agent begins that has nothing to say"),
        ("NOTICE, paused", Notice(0, 2, paused=True), "state 0x02"),
        ("NOTICE, largest numbers", Notice(2**32 - 1, 2**32 - 1, True, True), "state 0x03"),
        ("PRINCIPAL", Principal(D32, Principal.pack(b'{"sub":"a"}', b'{"servers":[]}', b"token")), "the codec does not check the digest; the agent does"),
        ("PRINCIPAL, empty parts", Principal(D32, Principal.pack(b"")), ""),
        ("PRINCIPAL, 48 KiB", Principal(D32, Principal.pack(b"x" * (48 * 1024 - 6))), "the largest"),
        ("OPEN with END", an_open(), "a small call: one frame; a header twice, in order"),
        ("OPEN without END", an_open(length=100_000, end=False), "more follows in DATA"),
        ("OPEN, nothing in it", an_open(site="", server="", headers=(), data=b"", length=0), "no server: the endpoint of the site"),
        ("OPEN, 16 KiB of payload", an_open(data=b"d" * 16_384, length=16_384), "the most that a frame carries"),
        ("OPEN, largest numbers", an_open(key=LAST, epoch=2**64 - 1, deadline_ms=2**32 - 1, length=2**32 - 1, limit=2**64 - 1, end=False), ""),
        ("OPEN, a message of HTTP+SSE", an_open(purpose=Purpose.MESSAGES, headers=(
            ("content-type", "application/json"), ("mcp-session-id", "lwngmrmv.c2Vzc2lvbg"))), "the header is what the query of the public URL said"),
        ("OPEN, longest header", an_open(headers=(("n" * 255, "v" * 65_000),)), ""),
        ("HEAD with END", Head(KEY, 200, (("content-type", "application/json"),), b"{}", True), "a small answer: one frame"),
        ("HEAD without END", Head(KEY, 200, (("content-type", "text/event-stream"),)), ""),
        ("HEAD, nothing in it", Head(KEY, 0, (), b"", True), ""),
        ("HEAD, 16 KiB of payload", Head(KEY, 65_535, (), b"d" * 16_384), ""),
        ("DATA", Data(KEY, 16_384, b"more"), ""),
        ("DATA with END", Data(KEY, 2**64 - 1, b"last", True), ""),
        ("DATA, empty, with END", Data(KEY, 0, b"", True), "how an origin ends a request whose bytes are all sent"),
        ("DATA, 16 KiB", Data(LAST, 0, b"d" * 16_384), ""),
        ("CREDIT", Credit(KEY, 65_536, 131_072), ""),
        ("CREDIT, largest numbers", Credit(LAST, 2**64 - 1, 2**64 - 1), ""),
        ("ATTACH", Attach(KEY, 1, 7, 16_384, 81_920), ""),
        ("ATTACH, largest numbers", Attach(LAST, 2**32 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1), ""),
        *enums,
    ]  # fmt: skip


def bad() -> list[tuple[str, bytes, str]]:
    hello, opened, head = a_hello().encode(), an_open().encode(), Head(KEY, 200, ()).encode()
    end = End(KEY, 0).encode()
    body = {"HELLO": hello[10:], "OPEN": opened[10:], "HEAD": head[10:], "END": end[10:]}
    at = body["OPEN"].index(b"plant")
    nameless = a_hello(name="").encode()[10:]
    bare = an_open(headers=(), data=b"", length=0).encode()[10:-2]

    def header(size: int) -> bytes:
        return b"\x01n" + size.to_bytes(2, "big") + b"v" * size

    # Where a body is cut short, its length says so: the frame itself is whole.
    short = [
        (f"{frame.type.name}, one byte short", raw(frame.type, frame.encode()[10:-1]), "its last field is not whole")
        for frame in (
            a_hello(), a_welcome(), Offer(D32, ("files",)), Ping(1), GoAway(GoAwayReason.DRAIN, 1),
            Principal(D32, Principal.pack(b"x")), Credit(KEY, 0, 1), Attach(KEY, 1, 1, 0, 1),
            Done(KEY, DoneReason.OK), End(KEY, 0), LEDGER, Notice(3, 1),
        )
    ]  # fmt: skip
    long = [
        (f"{frame.type.name}, one byte long", raw(frame.type, frame.encode()[10:] + b"\0"), "bytes behind its fields")
        for frame in (
            Offer(D32, ("files",)), Ping(1), GoAway(GoAwayReason.DRAIN, 1), Principal(D32, Principal.pack(b"x")),
            Credit(KEY, 0, 1), Attach(KEY, 1, 1, 0, 1), Done(KEY, DoneReason.OK), End(KEY, 0), Lost(BOOT),
            LEDGER, Notice(3, 1),
        )
    ]  # fmt: skip
    flags = [
        (f"{frame.type.name}, flag 0x01", raw(frame.type, frame.encode()[10:], 1), "no flag is known here")
        for frame in (
            a_hello(), a_welcome(), Offer(D32, ()), GoAway(GoAwayReason.DRAIN, 1), Lost(),
            Principal(D32, Principal.pack(b"x")), End(KEY, 0), Credit(KEY, 0, 1), Attach(KEY, 1, 1, 0, 1),
            Done(KEY, DoneReason.OK), LEDGER, Notice(3, 1),
        )
    ] + [
        (f"{frame.type.name}, flag 0x02", raw(frame.type, frame.encode()[10:], 2), "only 0x01 is known here")
        for frame in (Ping(1), an_open(), Head(KEY, 200, ()), Data(KEY, 0, b"x"))
    ]  # fmt: skip
    return [
        ("type 0x00", raw(0, b""), "unknown"),
        ("type 0x09", raw(9, b""), "unknown: between NOTICE and PRINCIPAL"),
        ("type 0x18", raw(0x18, b""), "unknown: behind DONE"),
        ("type 0xff", raw(0xFF, b""), "unknown"),
        ("too long to wait for", HEADER.pack(2**32 - 1, FrameType.DATA, 0, 0), "refused at the header"),
        ("65,537 bytes of CREDIT", HEADER.pack(65_537, FrameType.CREDIT, 0, 0), "no payload here: 64 KiB at most; refused at the header"),
        ("81,921 bytes of OPEN", HEADER.pack(81_921, FrameType.OPEN, 0, 0), "64 KiB and 16 KiB of payload at most; refused at the header"),
        *short, *long, *flags,
        ("HELLO, role 0", raw(FrameType.HELLO, b"\0" + body["HELLO"][1:]), "1 or 2"),
        ("HELLO, lane 2", raw(FrameType.HELLO, nameless[:26] + b"\x02" + nameless[27:]), "0 or 1"),
        ("HELLO, name not UTF-8", raw(FrameType.HELLO, body["HELLO"].replace(b"pump", b"p\xffmp")), ""),
        ("HELLO, a name cut in a character", raw(FrameType.HELLO, a_hello(name="aé").encode()[10:].replace(b"\x03a\xc3\xa9", b"\x02a\xc3")), "its length counts bytes"),
        ("GOAWAY, reason 3", raw(FrameType.GOAWAY, bytes((3, 0, 0, 0, 0))), ""),
        ("LOST, 15 bytes", raw(FrameType.LOST, BOOT[:15]), "a boot, or nothing"),
        ("NOTICE, state 0x04", raw(FrameType.NOTICE, bytes(8) + b"\x04"), "two bits are known"),
        ("NOTICE, state 0xff", raw(FrameType.NOTICE, bytes(8) + b"\xff"), ""),
        ("PRINCIPAL, 48 KiB and 1", raw(FrameType.PRINCIPAL, D32 + Principal.pack(b"x" * (48 * 1024 - 5))), ""),
        ("PRINCIPAL, its parts do not fill it", raw(FrameType.PRINCIPAL, D32 + bytes(7)), "claims, grant, token, and a byte"),
        ("OPEN, method 0", raw(FrameType.OPEN, body["OPEN"].replace(b"files\x02\x01", b"files\x00\x01"), 1), "1 to 3"),
        ("OPEN, purpose 5", raw(FrameType.OPEN, body["OPEN"].replace(b"files\x02\x01", b"files\x02\x05"), 1), "1 to 4"),
        ("OPEN, site not UTF-8", raw(FrameType.OPEN, body["OPEN"][:at] + b"\xff" + body["OPEN"][at + 1 :], 1), ""),
        ("OPEN, fewer headers than it says", raw(FrameType.OPEN, an_open(headers=(), data=b"", length=0).encode()[10:-2] + b"\0\x01", 1), ""),
        ("OPEN, 16 KiB and 1 of payload", raw(FrameType.OPEN, an_open(data=b"").encode()[10:] + b"d" * 16_385, 1), ""),
        ("OPEN, 64 KiB and 1 of metadata", raw(FrameType.OPEN, bare + b"\0\x02" + header(40_000) + header(65_537 - len(bare) - 10 - 40_000), 1), "the headers are too many, though the frame is not too long"),
        ("HEAD, cut in its headers", raw(FrameType.HEAD, body["HEAD"][:-1] + b"\x01"), ""),
        ("HEAD, 16 KiB and 1 of payload", raw(FrameType.HEAD, body["HEAD"] + b"d" * 16_385), ""),
        ("DATA, cut in its offset", raw(FrameType.DATA, bytes(31)), ""),
        ("DATA, 16 KiB and 1 of payload", raw(FrameType.DATA, bytes(32) + b"d" * 16_385), ""),
        ("END, reason 10", raw(FrameType.END, body["END"][:-1] + b"\x0a"), "between forgotten and failed"),
        ("END, reason 19", raw(FrameType.END, body["END"][:-1] + b"\x13"), "behind revoked"),
        ("DONE, reason 5", raw(FrameType.DONE, bytes(24) + b"\x05"), ""),
    ]  # fmt: skip


def frames() -> Json:
    vectors: list[Json] = []
    for name, frame, comment in good():
        data = frame.encode()
        vectors.append({
            "name": name, "hex": packed(data),
            "expect": {"frame": frame.type.name, "link": 0, "fields": described(frame)}, "comment": comment,
        })  # fmt: skip
    for name, grown, comment in (
        ("HELLO with appended bytes", a_hello(), "ignored: a later version may append"),
        ("WELCOME with appended bytes", a_welcome(), "ignored: a later version may append"),
    ):
        vectors.append({
            "name": name, "hex": packed(raw(grown.type, grown.encode()[10:] + b"later")), "one_way": True,
            "expect": {"frame": grown.type.name, "link": 0, "fields": described(grown)}, "comment": comment,
        })  # fmt: skip
    vectors.append({
        "name": "CREDIT between replicas", "hex": packed(Credit(KEY, 0, 1).encode(2**32 - 1)),
        "expect": {"frame": "CREDIT", "link": 2**32 - 1, "fields": described(Credit(KEY, 0, 1))},
        "comment": "the link field is not 0: legal only between replicas",
    })  # fmt: skip
    for name, data, comment in bad():
        vectors.append({"name": name, "hex": packed(data), "expect": {"close": 4001}, "comment": comment})
    return vectors


def dumped(vectors: Json) -> str:
    """One line for each frame or step, so that a diff says what changed."""
    assert isinstance(vectors, list)
    lines: list[str] = []
    for vector in vectors:
        assert isinstance(vector, dict)
        steps = vector.get("steps")
        if isinstance(steps, list):
            inner = ",\n   ".join(json.dumps(step, ensure_ascii=False) for step in steps)
            rest = {k: v for k, v in vector.items() if k != "steps"}
            lines.append(json.dumps(rest, ensure_ascii=False)[:-1] + f', "steps": [\n   {inner}]}}')
        else:
            lines.append(json.dumps(vector, ensure_ascii=False))
    return "[\n " + ",\n ".join(lines) + "\n]\n"


def made() -> dict[str, str]:
    """The files and what belongs into them."""
    return {
        "frames.json": dumped(frames()),
        "conversations.json": dumped(conversations()),
        "certificates.json": dumped(certificates()),
        "heads.json": dumped(heads()),
    }


if __name__ == "__main__":
    for file, content in made().items():
        (FOLDER / file).write_text(content, encoding="utf-8")
