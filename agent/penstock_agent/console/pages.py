"""The console's pages: rendered, and the headers that keep other pages' hands off them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from penstock.lookalike import visible
from penstock_agent import sizes
from penstock_agent.console import forms
from penstock_agent.ledger.moments import duration, local, utc

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_NAME: Final = 120
ALWAYS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer a browser sends "Origin: null" with a form, which could be anybody's.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Server": "penstock",
}
STATIC: Final = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "enter.js": "text/javascript",
}


def seen(text: str, limit: int = MAX_NAME) -> str:
    """What does not show, or turns the writing around, by its number; lines end where they ended."""
    cut = text if len(text) <= limit else text[:limit] + f"… ({len(text)} characters)"
    return visible(cut, but="\n")


def moment(seconds: float) -> str:
    """Since 1970, to the second, in the time of this machine."""
    return local(datetime.fromtimestamp(seconds, UTC).isoformat())


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("penstock_agent.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"seen": seen, "size": sizes.shown, "duration": duration, "kept": forms.kept}
    made.filters |= {"local": local, "utc": utc, "moment": moment}
    return made


def page(template: str, **values: object) -> str:
    return _environment().get_template(f"{template}.html").render(**values)


@cache
def static(name: str) -> str:
    """One of ``STATIC``."""
    return files("penstock_agent.console").joinpath("static", name).read_text("utf-8")
