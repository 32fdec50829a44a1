"""Base64: whether it is any, and what text it holds."""

from __future__ import annotations

import base64

import pytest

from penstock_agent.gate.redaction import packed
from penstock_agent.gate.redaction.packed import BINARY, unpacked
from penstock_agent.gate.redaction.steps import TooMuch, finish

PICTURE = b"\x89PNG\r\n\x1a\n\0\0" * 9


def found(data: bytes | str, mime: str = "", most: int = 1000) -> tuple[str, str] | None:
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
    return finish(unpacked(text, mime, most))


def test_text_comes_out_with_its_coding() -> None:
    assert found("grüße".encode()) == ("grüße", "utf-8")
    assert found("grüße".encode("utf-16")) == ("\ufeffgrüße", "utf-16-le")
    assert found("grüße".encode("latin-1"), "text/plain") == ("grüße", "latin-1")
    assert found(b"") == ("", "utf-8")


def test_what_is_no_text_is_marked_and_what_is_no_base64_is_not_touched() -> None:
    assert found(PICTURE) == ("", BINARY)
    assert found("not base64!") is None
    assert found("QUI=QUI=") is None
    assert found("QUI") is None


@pytest.mark.parametrize("bad", ["QUI=", "QU*I", "Q=I="])
def test_a_long_one_is_looked_at_in_steps_with_the_same_result(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_PART", 8)
    text = base64.b64encode(b"abcdefghijklmnopqrst").decode()
    assert found(text) == ("abcdefghijklmnopqrst", "utf-8")
    for at in range(0, len(text) - 4, 4):
        assert found(text[:at] + bad + text[at + 4 :]) is None


def test_more_text_than_is_looked_through_is_not_even_decoded() -> None:
    with pytest.raises(TooMuch):
        found(b"a" * 5000)
    assert found(PICTURE * 100) == ("", BINARY)
