"""What a form brings, and what is no form of ours."""

from __future__ import annotations

import pytest

from penstock_agent.console import forms
from penstock_agent.problem import Problem


def test_fields_are_what_was_typed() -> None:
    assert forms.fields(forms.KIND, b"a=1&name=J%C3%B6rg+%26+co&none=") == {
        "a": "1",
        "name": "Jörg & co",
        "none": "",
    }
    assert forms.fields(forms.KIND, b"") == {}


@pytest.mark.parametrize(
    "data", [b"a=\xff", b"a=%ff", "a=ü".encode(), b"&".join(b"a=1" for _ in range(forms.MAX_FIELDS + 1))]
)
def test_what_is_no_form_of_ours_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(Problem, match="not whole"):
        forms.fields(forms.KIND, data)


@pytest.mark.parametrize("kind", ["multipart/form-data", "text/plain", "application/json", ""])
def test_other_kinds_are_not_looked_into(kind: str) -> None:
    with pytest.raises(Problem, match="only what its own forms send"):
        forms.fields(kind, b"code=1")


ODD = "tool:a\nb\r\x00 %41+&\u202e\u00fc\U0001f600\"'<"


@pytest.mark.parametrize("name", [ODD, "", "tool:add", *map(chr, range(256))])
def test_names_come_back_as_they_were_whatever_browsers_do_to_line_ends(name: str) -> None:
    written = forms.kept(name)
    assert written.isascii()
    assert written.isprintable()
    assert forms.restored({"key": written}) == {"key": name}


def test_what_was_not_written_so_is_refused_in_words() -> None:
    with pytest.raises(Problem, match="not whole"):
        forms.restored({"key": "%ff"})
