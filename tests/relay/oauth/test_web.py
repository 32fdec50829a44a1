from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.oauth.web import MAX_FIELDS, Asked, BadForm, fields, redirect

FORM = (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)


def test_the_fields_of_a_form() -> None:
    assert Asked("POST", "/x", "", FORM, b"a=1&b=%C3%A5+b&c=").form() == {"a": "1", "b": "å b", "c": ""}
    assert Asked("POST", "/x", "", FORM).form() == {}


@pytest.mark.parametrize(
    "body", [b"a=1&a=2", b"a", b"a=%FF", b"a=\xff", b"&".join(b"x%d=1" % n for n in range(MAX_FIELDS + 1))]
)
def test_a_form_that_reads_in_two_ways_or_not_at_all_is_refused(body: bytes) -> None:
    with pytest.raises(BadForm):
        Asked("POST", "/x", "", FORM, body).form()


def test_a_form_says_that_it_is_one() -> None:
    with pytest.raises(BadForm):
        Asked("POST", "/x", "", (("content-type", "application/json"),), b"a=1").form()


@given(st.text(max_size=80))
def test_a_query_gives_fields_or_a_bad_form(text: str) -> None:
    try:
        found = fields(text)
    except BadForm:
        return
    assert all(isinstance(value, str) for value in found.values())


@given(st.text(max_size=80))
def test_a_cookie_header_gives_cookies_or_none(text: str) -> None:
    assert isinstance(dict(Asked("GET", "/", "", (("cookie", text),)).cookies), dict)


def test_a_redirect_is_followed_with_get_and_kept_by_nobody() -> None:
    reply = redirect("https://a.example/")
    assert reply.status == 303
    assert ("cache-control", "no-store") in reply.headers
