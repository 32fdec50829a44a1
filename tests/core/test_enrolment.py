import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import enrolment
from penstock.enrolment import (
    BadEnrolment,
    Enrol,
    Enrolled,
    Refused,
    decode_enrol,
    decode_reply,
    encode,
    secret_text,
)
from tests.harness.jsontext import json_texts

CSR = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n"
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
SECRET = bytes(range(240, 256))
ENROL = Enrol(secret_text(SECRET), CSR)
ENROLLED = Enrolled("plant", "a1", PEM + PEM, PEM)
REFUSED = Refused("used", "This join string was used already: make another with 'penstock-relay site add'.")


def altered(message: Enrol | Enrolled | Refused, **members: object) -> str:
    return json.dumps(json.loads(encode(message)) | members)


def test_messages_have_the_form_of_the_conversation() -> None:
    assert json.loads(encode(ENROL)) == {"type": "enrol", "secret": "8PHy8_T19vf4-fr7_P3-_w", "csr": CSR}
    assert json.loads(encode(ENROLLED)) == {
        "type": "enrolled",
        "site": "plant",
        "agent": "a1",
        "certificate": PEM + PEM,
        "ca": PEM,
    }
    assert json.loads(encode(REFUSED)) == {"type": "refused", "reason": "used", "text": REFUSED.text}


def test_messages_are_read_back() -> None:
    assert decode_enrol(encode(ENROL)) == ENROL
    assert decode_enrol(encode(ENROL).encode()).secret_bytes == SECRET
    assert decode_reply(encode(ENROLLED)) == ENROLLED
    assert decode_reply(encode(REFUSED)) == REFUSED


@pytest.mark.parametrize("reason", sorted(enrolment.REASONS))
def test_every_reason_travels(reason: str) -> None:
    assert decode_reply(encode(Refused(reason, "No: ask again."))) == Refused(reason, "No: ask again.")


def test_a_reason_and_members_of_a_later_version_are_read() -> None:
    later = altered(REFUSED, reason="suspended", until="tomorrow")
    assert decode_reply(later) == Refused("suspended", REFUSED.text)


values = st.one_of(
    st.text(max_size=30), st.sampled_from([CSR, PEM, "used", "plant", ENROL.secret]), st.none()
)
near = st.fixed_dictionaries(
    {"type": st.sampled_from(["enrol", "enrolled", "refused", "x", 1])},
    optional=dict.fromkeys(("secret", "csr", "site", "agent", "certificate", "ca", "reason", "text"), values),
).map(json.dumps)


@given(st.one_of(st.text(st.characters()), st.binary(), json_texts, near))
def test_anything_is_a_message_or_a_bad_enrolment(text: str | bytes) -> None:
    with contextlib.suppress(BadEnrolment):
        assert decode_enrol(encode(decode_enrol(text))) == decode_enrol(text)
    with contextlib.suppress(BadEnrolment):
        assert decode_reply(encode(decode_reply(text))) == decode_reply(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        encode(ENROLLED),
        encode(REFUSED),
        altered(ENROL, type="Enrol"),
        altered(ENROL, secret=None),
        altered(ENROL, secret=""),
        altered(ENROL, secret=secret_text(bytes(15))),
        altered(ENROL, secret=secret_text(bytes(17))),
        altered(ENROL, secret="8PHy8/T19vf4+fr7/P3+/w"),
        altered(ENROL, secret="é" * 22),
        altered(ENROL, csr="hello"),
        altered(ENROL, csr=CSR + "A" * enrolment.MAX_CSR),
        encode(ENROL).encode()[:-1] + b',"x":"\xff"}',
        "[" * 60_000,
    ],
)
def test_what_is_no_request_is_refused_in_words(text: str | bytes) -> None:
    with pytest.raises(BadEnrolment, match=r": .*\.$"):
        decode_enrol(text)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        encode(ENROL),
        altered(ENROLLED, site="../etc"),
        altered(ENROLLED, agent="A1"),
        altered(ENROLLED, ca="hello"),
        altered(ENROLLED, certificate=""),
        altered(ENROLLED, certificate=PEM + "A" * enrolment.MAX_PEM),
        altered(REFUSED, text="\x1b[2Jcleared"),
        altered(REFUSED, text="two\nlines"),
        altered(REFUSED, text="x" * 501),
        altered(REFUSED, reason="Used!"),
        altered(REFUSED, reason=""),
    ],
)
def test_what_is_no_reply_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadEnrolment, match=r": .*\.$"):
        decode_reply(text)


def test_a_message_is_bounded_before_it_is_parsed() -> None:
    text = encode(REFUSED)
    padded = text + " " * (enrolment.MAX_MESSAGE_BYTES - len(text))
    assert decode_reply(padded) == REFUSED
    with pytest.raises(BadEnrolment):
        decode_reply(padded + " ")


def test_the_largest_answer_fits_into_a_message() -> None:
    large = Enrolled("s" * 40, "a" * 40, PEM.ljust(enrolment.MAX_PEM, "\n"), PEM.ljust(enrolment.MAX_PEM))
    with pytest.raises(BadEnrolment):
        encode(large)  # line ends become two bytes each
    large = Enrolled("s" * 40, "a" * 40, PEM.ljust(enrolment.MAX_PEM, "A"), PEM.ljust(enrolment.MAX_PEM, "A"))
    assert decode_reply(encode(large)) == large


def test_what_the_other_side_would_refuse_is_not_sent() -> None:
    for message in (Enrol("", CSR), Refused("used", "two\nlines"), Enrolled("plant", "", PEM, PEM)):
        with pytest.raises(BadEnrolment):
            encode(message)


def test_the_secret_is_neither_in_the_repr_nor_in_an_error() -> None:
    secret = secret_text(b"canary-canary-16")
    assert secret not in repr(Enrol(secret, CSR))
    with pytest.raises(BadEnrolment) as caught:
        decode_enrol(altered(ENROL, secret=secret + "canary"))
    assert "canary" not in str(caught.value)
    assert secret not in str(caught.value)
