"""The ``[caller]`` table of ``agent.toml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, model_validator


def absolute(path: Path) -> Path:
    """For settings that name files: a relative one would depend on where the agent was started."""
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


_LIFE = re.compile(r"([1-9][0-9]{0,4})([hd])")


def _life(text: str) -> str:
    if _LIFE.fullmatch(text) is None:
        raise ValueError("is not a length of time; write 12h or 30d")
    return text


def _https(text: str) -> str:
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("is not a URL") from None
    local = host in ("localhost", "127.0.0.1", "::1")
    if not host or not text.isprintable() or parts.scheme not in (("https", "http") if local else ("https",)):
        raise ValueError("must be an https URL")
    return text


class CallerSettings(BaseModel):
    """The ``[caller]`` table: whose word counts about callers of servers with ``trust = "caller"``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The company's identity provider, as it names itself in its tokens (``iss``).
    issuer: Annotated[StrictStr, AfterValidator(_https)]
    #: The relay's client id at the provider (``aud``).
    audience: Annotated[StrictStr, Field(min_length=1, max_length=1024)]
    #: The provider's public keys (JWKS), as a file.
    keys_file: Annotated[Path, AfterValidator(absolute)] | None = None
    #: Or where the provider publishes them. Beside relay and servers, the only address that the agent asks.
    keys_url: Annotated[StrictStr, AfterValidator(_https)] | None = None
    #: How long a grant is believed after the consent, at most.
    max_life: Annotated[StrictStr, AfterValidator(_life)] = "30d"
    #: 32 random bytes or more, the same for all agents of a site; each agent has its own without it.
    challenge_key_file: Annotated[Path, AfterValidator(absolute)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.keys_file is None) == (self.keys_url is None):
            raise ValueError("needs the provider's keys from one place: keys_file or keys_url")
        return self

    @property
    def max_life_s(self) -> float:
        """``max_life`` in seconds."""
        found = _LIFE.fullmatch(self.max_life)
        assert found is not None  # noqa: S101  validated
        return int(found[1]) * (3600.0 if found[2] == "h" else 86_400.0)
