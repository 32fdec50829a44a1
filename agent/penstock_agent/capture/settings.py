"""The ``[capture]`` table of ``agent.toml``: payload that is kept on site, sealed."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

from penstock_agent import sizes

SMALLEST: Final = 512 << 20
"""Bytes: with less, what is being written would be most of what is kept."""


def _recipient(text: str) -> str:
    # Imported here because few sites capture, and every command reads the settings.
    from penstock_agent.capture import sealed

    sealed.public(text)
    return text


def _enough(size: int) -> int:
    if size < SMALLEST:
        raise ValueError(f"should be at least {sizes.shown(SMALLEST)}")
    return size


class CaptureSettings(BaseModel):
    """For whom, and how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The public key of who may read it.
    recipient: Annotated[StrictStr, AfterValidator(_recipient)]
    #: Days after which it is removed.
    keep_days: Annotated[StrictInt, Field(ge=1, le=3650)] = 14
    #: Bytes that it takes on the disk at most, or "4 GiB"; the oldest goes first.
    max_size: Annotated[StrictInt, BeforeValidator(sizes.read), AfterValidator(_enough)] = 4 << 30
