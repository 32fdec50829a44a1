"""The pages that people see: rendered, and the headers that keep other sites' hands off them."""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from penstock_relay.oauth.web import HTML, Reply

if TYPE_CHECKING:
    from jinja2 import Environment

_ALWAYS: Final = (
    ("content-type", HTML),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # With no-referrer a browser sends "Origin: null" with a form, which could be anybody's.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # loaded when the first page is asked for

    return Environment(
        loader=PackageLoader("penstock_relay.oauth"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(template: str, status: int = 200, *, leads_to: str | None = None, **values: object) -> Reply:
    """The page `template`. `leads_to` is where its form redirects to: browsers hold form-action to it."""
    nonce = secrets.token_urlsafe(16)
    forms = "'self'" if leads_to is None else f"'self' {_origin(leads_to)}"
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {forms}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    text = _environment().get_template(f"{template}.html").render(nonce=nonce, **values)
    return Reply(status, text.encode(), (*_ALWAYS, ("content-security-policy", policy)))


def problem(status: int, title: str, text: str) -> Reply:
    """A page that says what is wrong, and what to do."""
    return page("problem", status, title=title, text=text)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def no_access(user: str, *, whole_site: bool) -> Reply:
    """The logged-in user may not use what was asked for: a server, or all servers of a site together.

    The same for a site that does not exist: who may not use it learns nothing of it.
    """
    if whole_site:
        text = (
            f"You are logged in as {user}, who may not use all servers of this site together. Servers that "
            "you may use one by one are each at a URL of its own, /{site}/{server}/mcp. Give the application "
            "that one, or ask the relay's operator for access to the whole site."
        )
    else:
        text = (
            f"You are logged in as {user}, who may not use this MCP server. Check the URL that you gave to "
            "the application, or ask the relay's operator for access."
        )
    return problem(403, "You have no access", text)
