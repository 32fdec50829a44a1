"""What the edge needs of its neighbours besides the switchboard's own types."""

from __future__ import annotations

from typing import Protocol

from penstock.principal import Principal
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.switchboard import Answer, Call


class Grant(Protocol):
    """What a valid token stands for."""

    @property
    def principal(self) -> Principal: ...
    @property
    def site(self) -> str: ...
    @property
    def server(self) -> str | None: ...  # None: every server of the site
    @property
    def only_here(self) -> bool: ...  # whether it is no token at all anywhere else
    @property
    def member(self) -> bool: ...  # whether its holder may still use what it is for
    @property
    def step_up(self) -> tuple[str, ...]: ...  # scopes to ask for, where those it has open nothing here


class Access(Protocol):
    """Checks tokens."""

    async def principal(self, token: str, site: str, server: str) -> Grant | None:
        """What the token is good for, at that server or the `WHOLE_SITE`; None for one that is not valid.

        Raises AccessUnavailable when that cannot be told now.
        """
        ...

    async def changed(self) -> None:
        """Returns once tokens that were good may not be so any more."""
        ...

    def doubt(self) -> None:
        """Lets `changed` return once more: what it told of could not be looked at."""
        ...


class Pages(Protocol):
    """The relay's own pages."""

    async def handle(self, asked: Asked) -> Reply:
        """Never raises for what was asked."""
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
