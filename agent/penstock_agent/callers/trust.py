"""The two answers to a caller, without what it takes to give them: most sites believe their relay."""

from __future__ import annotations

from penstock.principal import Principal


class NotProven(Exception):
    """The grant is not one that the provider signed; the text is for the caller."""


class Anyone:
    """Of a site that believes its relay about all callers."""

    async def run(self) -> None:
        return None

    def challenge(self, server: str) -> str | None:
        return None

    async def admit(self, server: str, principal: Principal) -> None:
        return None
