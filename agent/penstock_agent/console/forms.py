"""What a form of the console brings: read by ourselves, because strangers can send to the port too. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from penstock_agent.problem import Problem

MAX_BYTES: Final = 64 * 1024
"""Of a form."""
MAX_FIELDS: Final = 20
KIND: Final = "application/x-www-form-urlencoded"


def fields(kind: str, data: bytes) -> dict[str, str]:
    """``kind``: its media type. Raises Problem."""
    if kind != KIND:  # files would be written to the disk
        raise Problem("The console takes only what its own forms send.")
    try:
        text = data.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError:
        raise Problem("This form is not whole. Open the page again.") from None


def kept(value: str) -> str:
    """A name of somebody else's, to be written into a form of ours so that it comes back as it was: browsers
    make a line end of any kind into CR and LF, and leave out what HTML does not know.
    """
    return quote(value, safe=":")


def restored(form: dict[str, str]) -> dict[str, str]:
    """What was written there with ``kept``. Raises Problem."""
    try:
        return {name: unquote(value, errors="strict") for name, value in form.items()}
    except ValueError:
        raise Problem("This form is not whole. Open the page again.") from None
