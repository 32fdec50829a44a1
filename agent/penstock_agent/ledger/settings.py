"""The ``[ledger]`` table of ``agent.toml``: the record of what was decided and of what left."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from penstock_agent import sizes

SMALLEST: Final = 256 << 20
"""Bytes: with less, what is being written would be most of what is kept."""


def _enough(size: int) -> int:
    if size < SMALLEST:
        raise ValueError(f"should be at least {sizes.shown(SMALLEST)}")
    return size


class LedgerSettings(BaseModel):
    """How safe, and how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: "group": on the disk 100 ms after it was written; "always": before the bytes leave.
    sync: Literal["group", "always"] = "group"
    #: Days after which it may be removed; 0 for never.
    keep_days: Annotated[StrictInt, Field(ge=0, le=36500)] = 400
    #: Bytes that it takes on the disk at most, or "4 GiB"; the oldest goes first.
    max_size: Annotated[StrictInt, BeforeValidator(sizes.read), AfterValidator(_enough)] = 4 << 30
