"""PROTOCOL.md says what the code does: every table in it, compared."""

from __future__ import annotations

import re
from enum import Enum, IntEnum
from pathlib import Path
from typing import get_args

import pytest

from penstock import http, ledgerhead
from penstock.tunnel import frames, limits, states
from penstock.tunnel.errors import CloseCode
from penstock.tunnel.frames import ExchangeFrame, FrameType, LinkFrame, Notice
from penstock.tunnel.states import End, LinkState, OriginState, Verdict

TEXT = (Path(__file__).parents[3] / "PROTOCOL.md").read_text(encoding="utf-8")
CLASSES = {cls.type: cls for cls in (*get_args(LinkFrame), *get_args(ExchangeFrame))}


def section(number: int) -> str:
    found = re.search(rf"^## {number} .*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def tables(text: str) -> list[list[list[str]]]:
    """Rows of cells of each table, without its heading."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not inside:
            found.append([])
        inside = True
        found[-1].append(cells)
    return [[table[0], *table[2:]] for table in found]


def test_contents_name_every_section() -> None:
    listed = re.findall(r"^\d+\. \[(.+)\]\(#(\S+)\)", TEXT, re.MULTILINE)
    sections = re.findall(r"^## (\d+) (.+)$", TEXT, re.MULTILINE)
    assert [f"{n} {name}" for n, name in sections] == [
        "".join((f"{i} ", name)) for i, (name, _) in enumerate(listed, 1)
    ]
    for (number, name), (_, anchor) in zip(sections, listed, strict=True):
        assert anchor == f"{number}-{name}".lower().replace(" ", "-")


def test_frames_and_their_fields() -> None:
    table = tables(section(4))[0][1:]
    assert {int(row[0], 16): row[1] for row in table} == {t.value: t.name for t in FrameType}
    for row in table:
        doc = CLASSES[FrameType[row[1]]].__doc__
        assert doc is not None
        if row[3] == "boot 16, or nothing":
            assert "boot 0 or 16" in doc
        elif row[1] == "PRINCIPAL":
            assert row[3] == "digest 32 · claims bytes16 · grant bytes16 · token bytes16"
            assert "digest 32 · content" in doc
            assert "claims bytes16 · grant bytes16 · token bytes16" in doc
        else:
            written = " ".join(doc.split())
            written = written.replace("key 24", "key").replace(" × (name text8 · value text16)", "")
            written = written.replace(" × (text8 · text16)", "").replace("headers u16", "headers")
            assert row[3] in written, f"{row[1]}: the docstring says otherwise"


def test_who_may_send_a_frame_follows_from_who_may_receive_it() -> None:
    to_relay, to_agent = states.LEGAL[End.RELAY, LinkState.OPEN], states.LEGAL[End.AGENT, LinkState.OPEN]
    for row in tables(section(4))[0][1:]:
        kind, sender = FrameType[row[1]], row[2]
        expected = {
            "dialler": (False, False), "acceptor": (False, False), "agent": (True, False),
            "replica": (False, True), "origin": (False, True), "both": (True, True),
        }[sender]  # fmt: skip
        assert (kind in to_relay, kind in to_agent) == expected, kind


def test_flags() -> None:
    assert "Flag 0x01 is END on OPEN, HEAD and DATA" in section(4)
    assert "On PING it is ACK" in section(4)
    assert {name: flag.value for name, flag in frames.Flag.__members__.items()} == {"END": 1, "ACK": 1}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("role", frames.Role),
        ("lane", frames.Lane),
        ("method", frames.Method),
        ("purpose", frames.Purpose),
        ("end reason", frames.EndReason),
        ("done reason", frames.DoneReason),
        ("goaway reason", frames.GoAwayReason),
    ],
)
def test_enums(name: str, kind: type[IntEnum]) -> None:
    rows = dict(tables(section(4))[1][1:])
    values = {int(n): word for n, word in re.findall(r"(\d+) (\w+)", rows[name])}
    assert values == {m.value: m.name.lower() for m in kind}


def test_headers_and_statuses_that_travel() -> None:
    text = " ".join(section(4).split())
    request = text[text.index("Request headers that travel:") : text.index("Response headers that travel:")]
    response = text[
        text.index("Response headers that travel:") : text.index("The relay must refuse any other")
    ]
    named = set(re.findall(r"`([a-z-]+)`", request))
    assert named == http.REQUEST_HEADERS | set(http.REQUEST_PREFIXES)
    assert set(re.findall(r"`([a-z-]+)`", response)) == http.RESPONSE_HEADERS
    statuses = text[text.index("any status outside") : text.index("So an agent cannot set cookies")]
    assert {int(s) for s in re.findall(r"\d{3}", statuses)} == http.RESPONSE_STATUSES


def test_what_each_end_reason_proves() -> None:
    words = {Verdict.ANSWERED: "answered", Verdict.NOT_STARTED: "not started", Verdict.UNKNOWN: "unknown"}
    expected = {r.name.lower(): words[v] for r, v in states.VERDICTS.items()}
    expected["wrong_epoch"] += "; unknown once an ATTACH was sent"
    assert dict(tables(section(9))[0][1:]) == expected


def test_done_reasons_all_have_a_meaning() -> None:
    rows = [row[0] for row in tables(section(10))[0][1:]]
    assert rows == [r.name.lower() for r in frames.DoneReason] + ["*(origin lost)*"]


def test_link_states() -> None:
    assert re.findall(r"`(\w+)`", section(14).split("|")[0]) == [s.value for s in LinkState]


def test_legal_frames() -> None:
    ends = {"at the relay": End.RELAY, "at the agent": End.AGENT, "between replicas": End.PAIR}
    seen = set()
    for while_, legal in tables(section(14))[0][1:]:
        when, where = while_.rsplit(", ", 1)
        for state in when.split(" or "):
            key = ends[where], LinkState(state)
            seen.add(key)
            assert {FrameType[name] for name in legal.split(", ")} == states.LEGAL[key], while_
    assert seen == {key for key, allowed in states.LEGAL.items() if allowed}
    assert {key[1] for key in set(states.LEGAL) - seen} == {LinkState.CLOSED}


@pytest.mark.parametrize(
    ("name", "state", "given", "table"),
    [
        ("origin", OriginState, states.OriginInput, states.ORIGIN),
        ("agent", states.AgentState, states.AgentInput, states.AGENT),
    ],
)
def test_state_tables(
    name: str, state: type[Enum], given: type[Enum], table: dict[tuple[Enum, Enum], Enum | None]
) -> None:
    marked = TEXT[TEXT.index(f"<!-- table: {name} -->") :]
    head, *rows = tables(marked[: marked.index("<!-- end -->")])[0]
    assert head[1:] == [s.value for s in state]
    assert [row[0] for row in rows] == [g.value for g in given]
    for row in rows:
        for column, cell in zip(head[1:], row[1:], strict=True):
            key = state(column), given(row[0])
            if cell == "–":
                assert key not in table, key
            else:
                assert table[key] is (None if cell == "✕" else state(cell)), key


def test_limits() -> None:
    rows = {row[0]: row[1] for row in tables(section(15))[0][1:]}

    def size(n: int) -> str:
        return f"{n // 1024 // 1024} MiB" if n >= 1024 * 1024 else f"{n // 1024} KiB"

    assert rows == {
        "payload of one frame": size(limits.MAX_DATA),
        "body of a frame without payload": size(limits.MAX_METADATA),
        "a message": size(limits.MAX_MESSAGE),
        "a principal": size(limits.MAX_PRINCIPAL),
        "a request body": size(limits.MAX_REQUEST),
        "free window": size(limits.FREE_WINDOW),
        "window": size(limits.MAX_WINDOW),
        "principals per link": f"{limits.PRINCIPALS}, {size(limits.PRINCIPAL_BYTES)}",
        "exchanges of an agent": str(limits.MAX_EXCHANGES),
        "boots with a floor, per life of an agent": str(limits.BOOTS),
        "heartbeat": f"{limits.HEARTBEAT:g} s",
        "handshake": f"{limits.HANDSHAKE:g} s",
        "frames that wait for a peer that does not read": str(limits.MAX_CONTROL),
        "ledger heads of an agent on a link": (
            f"{limits.LEDGER_BURST}, and 1 more each {limits.LEDGER_AGAIN:g} s"
        ),
        "notices of an agent on a link": f"{limits.NOTICE_BURST}, and 1 more each {limits.NOTICE_AGAIN:g} s",
    }


def test_clocks() -> None:
    rows = {row[0]: row for row in tables(section(13))[0][1:]}
    assert f"the same and {limits.DEADLINE_SLACK:g} s" in rows
    assert f"grace, {limits.GRACE:g} s" in rows
    assert f"origin lost, {limits.ORPHANED:g} s" in rows
    assert f"or {limits.REVOKE_GRACE:g} s have passed" in " ".join(section(10).split())
    assert states.AgentInput.ORPHANED.value == f"link gone for {limits.ORPHANED:g} s"
    assert limits.MISSES == 2
    assert "two and a half heartbeats" in " ".join(section(5).split())


def test_close_codes() -> None:
    rows = [(int(row[0]), row[1]) for row in tables(section(16))[0][1:]]
    assert rows == [(code.value, code.name.lower()) for code in CloseCode]


def test_versions() -> None:
    assert f"This is version {limits.VERSIONS[0]}." in section(17)
    assert f"# The Penstock tunnel, version {limits.VERSIONS[0]}" in TEXT
    brought = {int(row[0]): row[1] for row in tables(section(17))[0][1:]}
    assert set(brought) == set(limits.VERSIONS)
    assert set(states.SINCE.values()) <= set(brought)
    for kind, since in states.SINCE.items():
        assert kind.name in brought[since]
        assert f"{kind.name} is legal on a link of version {since}" in section(14)


def test_what_a_ledger_head_is() -> None:
    text = " ".join(section(21).split())
    assert f'"{ledgerhead._CONTEXT[:-1].decode()}" 0x00 · ledger 32 · n u64 · hash 32 · at_ms u64' in text
    assert ledgerhead._CONTEXT.endswith(b"\0")
    assert ledgerhead.MAX_N == 2**53 - 1
    assert "at most 2^53 - 1" in text
    assert f"at most every {limits.LEDGER_EVERY:g} s on a link" in text


def test_what_a_notice_is() -> None:
    text = " ".join(section(22).split())
    assert f"at most every {limits.NOTICE_EVERY:g} s on a link" in text
    assert limits.NOTICE_AGAIN < limits.NOTICE_EVERY
    assert Notice(0, 0, ledger_failing=True).encode()[-1] == 1
    assert "bit 0 says that the ledger cannot be written" in text
    assert Notice(0, 0, paused=True).encode()[-1] == 2
    assert "bit 1 that something is paused" in text
    assert f"`{limits.SUBPROTOCOL}`" in section(2)
