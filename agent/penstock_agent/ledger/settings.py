"""The ``[ledger]`` table of ``agent.toml``: the record of what was decided and of what left."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

_UNITS: Final = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE: Final = re.compile(r"(\d{1,6}) ?(MiB|GiB|TiB)")
SMALLEST: Final = 256 << 20
"""Bytes: with less, what is being written would be most of what is kept."""


def _size(text: str) -> str:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError('should be a number with a unit, such as "4 GiB" or "500 MiB"')
    if bytes_of(text) < SMALLEST:
        raise ValueError('should be at least "256 MiB"')
    return text


def bytes_of(text: str) -> int:
    """A size as it stands in the file, in bytes."""
    number, _, unit = text.rpartition(" ") if " " in text else (text[:-3], "", text[-3:])
    return int(number) * _UNITS[unit]


class LedgerSettings(BaseModel):
    """How safe, and how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: "group": on the disk 100 ms after it was written; "always": before the bytes leave.
    sync: Literal["group", "always"] = "group"
    #: Days after which it may be removed; 0 for never.
    keep_days: Annotated[StrictInt, Field(ge=0, le=36500)] = 400
    #: What it takes on the disk at most; the oldest goes first.
    max_size: Annotated[StrictStr, AfterValidator(_size)] = "4 GiB"

    @property
    def size(self) -> int:
        """``max_size`` in bytes."""
        return bytes_of(self.max_size)
