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
