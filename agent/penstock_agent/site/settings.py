"""The ``[site]`` table of ``agent.toml``: all servers as one endpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr

from penstock_agent.site.names import BadAlias, Names, Target, parse_alias

MAX_ALIASES = 256


def _aliases(alias: dict[str, str]) -> dict[str, str]:
    targets = {}
    for name, meant in alias.items():
        try:
            targets[name] = parse_alias(name, meant)
        except BadAlias as e:
            raise ValueError(f"{name[:100]!r}: {e}") from None
    try:
        Names(targets)
    except BadAlias as e:
        raise ValueError(str(e)) from None
    return alias


class SiteSettings(BaseModel):
    """What the site's endpoint is besides the servers that expose something."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: What clients show as the server's name.
    name: Annotated[StrictStr, Field(max_length=100)] = ""
    #: What is said to the model before what the servers say.
    instructions: Annotated[StrictStr, Field(max_length=8192)] = ""
    #: Whether there is a tool penstock_status.
    status: StrictBool = False
    #: Plain names of tools: NAME = "server.tool".
    alias: Annotated[dict[StrictStr, StrictStr], Field(max_length=MAX_ALIASES), AfterValidator(_aliases)] = {}

    @property
    def targets(self) -> dict[str, Target]:
        """What each alias means."""
        return {name: parse_alias(name, meant) for name, meant in self.alias.items()}

    def objections(self, servers: Iterable[str], believed: Iterable[str]) -> Iterable[str]:
        """What is wrong with the aliases, each with its key. ``believed``: servers that can be part of it."""
        known, usable = set(servers), set(believed)
        for name, target in self.targets.items():
            if target.server not in known:
                there = ", ".join(sorted(known)) or "none"
                yield f"alias.{name}: there is no server {target.server!r} (configured: {there})."
            elif target.server not in usable:
                yield (
                    f'alias.{name}: the server {target.server} has trust = "caller", and such servers are no '
                    "part of the site's endpoint. Remove the alias."
                )
