"""Records as lines of CEF, read by a parser of its own."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.ledger.cef import LENGTHS, header, line, value
from penstock_agent.ledger.reading import NOBODY, Record, Who

AT = "2026-11-28T12:00:00.123456Z"
ALICE = Who(
    "https://idp.example", "alice", "Alice", "alice@example.com", "https://claude.ai/x", ["finance", "staff"]
)


def record(kind: str, who: Who = NOBODY, n: int = 7, **said: object) -> Record:
    return Record(n, AT, kind, {"n": n, "at": AT, "kind": kind, **said}, who)


def parsed(text: str) -> tuple[list[str], dict[str, str]]:
    """The seven fields of the head, and the extension."""
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", text)
    fields, rest = [], text
    for _ in range(7):
        found = re.match(r"((?:[^\\|]|\\[\\|])*)\|(.*)\Z", rest, re.DOTALL)
        assert found is not None, rest
        fields.append(re.sub(r"\\([\\|])", r"\1", found[1]))
        rest = found[2]
    found_pairs = re.findall(r"(?:\A| )([A-Za-z0-9]+)=((?:[^\\=]|\\[\\=nr])*?)(?= [A-Za-z0-9]+=|\Z)", rest)
    again = " ".join(f"{key}={text}" for key, text in found_pairs)
    assert again == rest, "nothing is left over"
    plain = {"\\n": "\n", "\\r": "\r", "\\\\": "\\", "\\=": "="}
    return fields, {key: re.sub(r"\\[nr\\=]", lambda one: plain[one[0]], text) for key, text in found_pairs}


def test_a_decision() -> None:
    fields, said = parsed(
        line(
            record(
                "decision", ALICE, exchange="k-1", server="", of="files", method="tools/call",
                verdict="denied", rule='rule "a=b|c"', id="7", item="tool:read", arguments="ab" * 32,
                h="cd" * 32,
            ),
            "1.2.3",
        )
    )  # fmt: skip
    assert fields == ["CEF:0", "Penstock", "agent", "1.2.3", "decision/denied", "Request denied", "6"]
    assert said == {
        "rt": "1795867200123", "externalId": "7", "suid": "alice", "suser": "alice@example.com",
        "requestClientApplication": "https://claude.ai/x", "cs2": "https://idp.example", "cs2Label": "issuer",
        "cs5": "finance,staff", "cs5Label": "groups", "destinationServiceName": "files", "act": "denied",
        "outcome": "failure", "cs1": "k-1", "cs1Label": "exchange", "requestMethod": "tools/call",
        "cs4": 'rule "a=b|c"', "cs4Label": "rule", "cs3": "tool:read", "cs3Label": "item",
        "flexString1": "ab" * 32, "flexString1Label": "argumentsHash", "cs6": "cd" * 32,
        "cs6Label": "recordHash", "msg": '{"id":"7"}',
    }  # fmt: skip


def test_a_piece_of_an_answer_and_what_was_taken_out() -> None:
    sent = record(
        "sent", ALICE, exchange="k", server="files", offset=5, bytes=1000, hash="ab" * 32, answers="j"
    )
    fields, said = parsed(line(sent, "1"))
    assert (fields[4], fields[6]) == ("sent", "1")
    assert (said["out"], said["cn1"], said["cn1Label"]) == ("1000", "5", "offset")
    assert (said["fileHash"], said["flexString2"], said["flexString2Label"]) == ("ab" * 32, "j", "answers")
    blocked = record(
        "masked", ALICE, exchange="k", server="files", item="tool:x", action="block", found={"card": 2}
    )
    fields, said = parsed(line(blocked, "1"))
    assert (fields[4], fields[6], said["act"]) == ("masked", "6", "block")
    assert said["msg"] == '{"found":{"card":2}}'


@pytest.mark.parametrize(
    ("said", "what", "severity"),
    [
        (record("decision", verdict="allowed"), "decision/allowed", 2),
        (record("decision", verdict="waiting"), "decision/waiting", 3),
        (record("decision", verdict="over_budget"), "decision/over_budget", 5),
        (record("decision", verdict="failed"), "decision/failed", 5),
        (record("decision", verdict="withheld"), "decision/withheld", 7),
        (record("decision", verdict="another"), "decision/another", 5),
        (record("event", what="started"), "event/started", 3),
        (record("event", what="paused"), "event/paused", 6),
        (record("event", what="ledger_differs"), "event/ledger_differs", 9),
        (record("masked", action="mask"), "masked", 5),
        (record("cut", signed=0), "cut", 4),
        (record("cut", signed=9), "cut", 9),
        (record("head"), "head", 1),
        (record("of a later version"), "of a later version", 1),
    ],
)
def test_how_severe_it_is(said: Record, what: str, severity: int) -> None:
    fields, _ = parsed(line(said, "1"))
    assert (fields[4], fields[6]) == (what, str(severity))


def test_an_event_names_the_user_of_the_machine() -> None:
    fields, said = parsed(line(record("event", what="paused", by_uid=1000, about={"server": "files"}), "1"))
    assert (fields[5], said["suid"]) == ("On site: paused", "1000")
    assert said["msg"] == '{"about":{"server":"files"}}'
    assert "suid" not in parsed(line(record("event", what="started"), "1"))[1]


def test_a_moment_that_is_none_and_a_member_of_another_type_do_not_stop_an_export() -> None:
    odd = Record(1, "never", "sent", {"offset": "x", "hash": 7, "bytes": True}, NOBODY)
    _, said = parsed(line(odd, "1"))
    assert said == {"externalId": "1", "msg": '{"offset":"x","hash":7,"bytes":true}'}


def test_what_is_longer_than_cef_allows_is_cut_where_it_shows() -> None:
    assert value("act", "x" * 64) == "x" * 62 + "…"
    assert value("act", "x" * 63) == "x" * 63
    assert len(header("y" * 1000)) == 512


Any = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["a=b", "\\", "|", "\\|", "x y=z", "\r\n", "\\n", " k=v"]
)


@given(any_text=Any, rule=Any, name=Any, groups=st.lists(Any, max_size=3))
def test_whatever_stands_in_a_record_is_one_line_and_is_read_back(
    any_text: str, rule: str, name: str, groups: list[str]
) -> None:
    who = Who("i" + any_text, "s" + any_text, name, "", any_text, groups)
    said = line(
        record("decision", who, verdict="denied", item="tool:" + any_text, rule=rule, more=any_text), name
    )
    fields, found = parsed(said)
    assert len(said.splitlines()) == 1
    assert said.encode()
    assert fields[:3] == ["CEF:0", "Penstock", "agent"]
    assert fields[3] == seen(name.replace("\r", " ").replace("\n", " "))
    for key, expected in (
        ("cs3", "tool:" + any_text),
        ("cs4", rule),
        ("suid", "s" + any_text),
        ("requestClientApplication", any_text),
        ("cs5", ",".join(groups)),
    ):
        assert found.get(key, "") == seen(expected, breaks=True).rstrip(" "), key
    assert set(found) <= {*LENGTHS, *(f"{key}Label" for key in LENGTHS), "rt"}


def seen(text: str, breaks: bool = False) -> str:
    """As a reader has it: without what would end a line."""
    kept = "\r\n" if breaks else ""
    return "".join(
        each
        if each in kept or not re.match("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", each)
        else "\ufffd"
        for each in text
    )


@given(st.dictionaries(Any, st.integers() | Any | st.lists(Any, max_size=2), max_size=4))
def test_what_has_no_key_is_json_in_the_message(about: dict[str, object]) -> None:
    try:
        expected = msgspec.json.encode({"about": about}).decode()
    except UnicodeEncodeError:
        return  # half a character stands in no ledger
    _, said = parsed(line(record("event", what="x", about=about), "1"))
    assert seen(expected).startswith(said["msg"].removesuffix("…"))


def test_the_number_that_a_head_is_of_is_no_server() -> None:
    _, said = parsed(line(record("head", of=6, hash="ab" * 32), "1"))
    assert "destinationServiceName" not in said
    assert '"of":6' in said["msg"]
