import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import refusal
from penstock.refusal import BadRefusal, Refusal, decode, encode
from tests.harness.jsontext import json_texts

LOCKED = Refusal("locked", "Two machines use this identity: ask the relay's operator.")
REVOKED = Refusal("revoked", "It was revoked.", "-----BEGIN X509 CRL-----")


def altered(message: Refusal, **members: object) -> str:
    return json.dumps(json.loads(encode(message)) | members)


def test_it_has_the_form_of_the_protocol() -> None:
    assert json.loads(encode(LOCKED)) == {"type": "refused", "reason": "locked", "text": LOCKED.text}
    assert json.loads(encode(REVOKED))["statement"] == REVOKED.statement


@pytest.mark.parametrize("reason", sorted(refusal.REASONS))
def test_every_reason_travels(reason: str) -> None:
    assert decode(encode(Refusal(reason, "No."))) == Refusal(reason, "No.")


def test_a_reason_and_members_of_a_later_version_are_read() -> None:
    assert decode(altered(LOCKED, reason="suspended", until=7)) == Refusal("suspended", LOCKED.text)


values = st.one_of(st.text(max_size=30), st.none(), st.sampled_from(["refused", "locked", 1]))
near = st.fixed_dictionaries(
    {"type": st.sampled_from(["refused", "x"])},
    optional=dict.fromkeys(("reason", "text", "statement"), values),
).map(json.dumps)


@given(st.one_of(st.text(st.characters()), st.binary(), json_texts, near))
def test_anything_is_a_refusal_or_a_bad_one(text: str | bytes) -> None:
    with contextlib.suppress(BadRefusal):
        assert decode(encode(decode(text))) == decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A link needs the certificate of an enrolled agent: join first.\n",
        "{}",
        altered(LOCKED, type="enrolled"),
        altered(LOCKED, text="\x1b[2Jcleared"),
        altered(LOCKED, text="two\nlines"),
        altered(LOCKED, text="x" * (refusal.MAX_TEXT + 1)),
        altered(LOCKED, reason="Locked!"),
        altered(LOCKED, reason=""),
        altered(REVOKED, statement="x" * (refusal.MAX_STATEMENT + 1)),
        encode(LOCKED).encode()[:-1] + b',"x":"\xff"}',
        "[" * 40_000,
        encode(LOCKED) + " " * refusal.MAX_BYTES,
    ],
)
def test_what_is_none_is_refused_in_words(text: str | bytes) -> None:
    with pytest.raises(BadRefusal, match=r": .*\.$"):
        decode(text)


def test_what_the_agent_would_refuse_is_not_sent() -> None:
    with pytest.raises(BadRefusal):
        encode(Refusal("locked", "two\nlines"))


def test_the_protocol_names_every_reason_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "PROTOCOL.md").read_text(encoding="utf-8")
    section = text.split("## 20 Refusal and revocation\n")[1]
    rows = re.findall(r"^\| ([a-z]+) \|", section, re.MULTILINE)
    assert rows[0] == "reason"
    assert sorted(rows[1:]) == sorted(refusal.REASONS)
