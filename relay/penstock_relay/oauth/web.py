"""Requests and replies of the relay's own pages, without the HTTP library that carries them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from penstock.http import JSON, Headers, every, first

HTML: Final = "text/html; charset=utf-8"
FORM: Final = "application/x-www-form-urlencoded"
MAX_BODY: Final = 128 * 1024
"""Bytes of a form or a registration."""
MAX_FIELDS: Final = 640
"""A page of tools has up to 500 check boxes."""

_COOKIE: Final = re.compile(r"[A-Za-z0-9._@+/-]{1,4096}")
_NOT_STORED: Final = (("cache-control", "no-store"),)
_ANY_ORIGIN: Final = (("access-control-allow-origin", "*"),)


class BadForm(Exception):
    """A form, or a query, that is read in more than one way; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a request came from."""

    address: str = ""
    """An IP address as it is usually written; empty where it is not known."""
    shared: bool = True
    """Whether it stands for callers that cannot be told apart: it may not be blamed for any one of them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a page of the relay's own. Header names are lower case."""

    method: str
    path: str
    query: str
    headers: Headers = ()
    body: bytes = b""
    peer: Peer = Peer()

    @property
    def cookies(self) -> Mapping[str, str]:
        """Those in the form that ours have, split as browsers join them and in no other way.

        A host beside ours may set cookies that our browser sends along, but none with our prefix: so nothing
        within another cookie may be read as one of ours, and a name that stands twice counts as absent.
        """
        found: dict[str, str] = {}
        twice = set()
        for part in ";".join(every(self.headers, "cookie")).split(";"):
            name, _, value = part.strip(" \t").partition("=")
            if name in found:
                twice.add(name)
            found[name] = value
        return {
            name: value for name, value in found.items() if name not in twice and _COOKIE.fullmatch(value)
        }

    def form(self) -> dict[str, str]:
        """The fields of the body. Raises BadForm."""
        if (first(self.headers, "content-type") or "").partition(";")[0].strip().lower() != FORM:
            raise BadForm(f"Send the fields as {FORM}.")
        try:
            return fields(self.body.decode("ascii"))
        except UnicodeDecodeError:
            raise BadForm("The form is not percent-encoded.") from None


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Headers = ()


def fields(text: str) -> dict[str, str]:
    """The fields of a query or form. Raises BadForm, also for a field that stands twice (RFC 6749, 3.1)."""
    try:
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError:  # of which a wrong encoding is one
        raise BadForm("The parameters cannot be read.") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadForm("A parameter stands more than once.")
    return found


def json(status: int, value: Mapping[str, object], headers: Headers = (), *, stored: bool = False) -> Reply:
    """For programs, on a page of any origin; `stored` says whether caches may keep it."""
    kept = () if stored else _NOT_STORED
    return Reply(status, msgspec.json.encode(value), (("content-type", JSON), *_ANY_ORIGIN, *kept, *headers))


def redirect(location: str, headers: Headers = ()) -> Reply:
    """303: what follows is a GET, whatever this was."""
    return Reply(
        303, b"", (("location", location), ("referrer-policy", "no-referrer"), *_NOT_STORED, *headers)
    )
