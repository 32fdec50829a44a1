"""What the edge needs of its neighbours besides the switchboard's own types."""

from __future__ import annotations

from typing import Protocol

from penstock.principal import Principal
from penstock_relay.switchboard import Answer, Call


class Grant(Protocol):
    """What a valid token stands for."""

    @property
    def principal(self) -> Principal: ...
    @property
    def site(self) -> str: ...
    @property
    def server(self) -> str | None: ...  # None: every server of the site


class Access(Protocol):
    """Checks tokens."""

    async def principal(self, token: str) -> Grant | None:
        """None for a token that is not valid. Raises AccessUnavailable when that cannot be told now."""
        ...


class Exchanges(Protocol):
    """The switchboard, as the edge uses it."""

    async def exchange(self, call: Call) -> Answer:
        """Returns at HEAD. Raises Offline, NotExecuted, OutcomeUnknown."""
        ...

    def lacks(self, site: str, server: str) -> bool:
        """Whether agents of the site are linked and none of them, nor one lost a moment ago, offers `server`.

        False while that cannot be known, as when the site is offline.
        """
        ...
