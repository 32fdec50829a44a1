"""Consents given ahead: servers that a user allowed on one page, for the client to connect next."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, select

from penstock_relay.audit import Kind
from penstock_relay.store.database import Database
from penstock_relay.store.models import ConsentRow
from penstock_relay.store.record import record


@dataclass(frozen=True, slots=True)
class Consent:
    """Good once, for exactly this client at exactly this redirect URI. ``allowed`` as in a grant."""

    user: str
    client_id: str
    redirect_uri: str
    site: str
    server: str
    allowed: str
    expires_at: float
    challenge: str | None = None
    """What the company's provider has to sign before this is good; None where nobody has to."""


class Consents:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, consent: Consent, now: float) -> None:
        """In place of an earlier one for the same server. Forgets those that have expired, too."""
        async with self._database.writing() as connection:
            await connection.execute(delete(ConsentRow).where(ConsentRow.expires_at <= now))
            await connection.execute(delete(ConsentRow).where(*_key(consent)))
            await connection.execute(
                insert(ConsentRow).values(
                    user=consent.user,
                    client_id=consent.client_id,
                    redirect_uri=consent.redirect_uri,
                    site=consent.site,
                    server=consent.server,
                    allowed=consent.allowed,
                    expires_at=consent.expires_at,
                    challenge=consent.challenge,
                )
            )
            await record(
                connection,
                Kind.CONSENT_ALLOWED,
                client=consent.client_id,
                site=consent.site,
                server=consent.server or None,
                allowed=consent.allowed,
                expires_at=consent.expires_at,
            )

    async def unsigned(
        self, user: str, client_id: str, redirect_uri: str, site: str, server: str, now: float
    ) -> Consent | None:
        """The one that waits for a signature."""
        query = select(ConsentRow.allowed, ConsentRow.expires_at, ConsentRow.challenge).where(
            ConsentRow.user == user,
            ConsentRow.client_id == client_id,
            ConsentRow.redirect_uri == redirect_uri,
            ConsentRow.site == site,
            ConsentRow.server == server,
            ConsentRow.expires_at > now,
            ConsentRow.challenge.is_not(None),
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        return Consent(
            user, client_id, redirect_uri, site, server, row.allowed, row.expires_at, row.challenge
        )

    async def forget(self, consent: Consent) -> None:
        """It was signed, and has become a code."""
        async with self._database.writing(unrecorded="the code that it becomes is recorded") as connection:
            await connection.execute(delete(ConsentRow).where(*_key(consent)))

    async def take(
        self, user: str, client_id: str, redirect_uri: str, site: str, server: str, now: float
    ) -> str | None:
        """What was allowed, and forgets it; None when nothing was."""
        key = (
            ConsentRow.user == user,
            ConsentRow.client_id == client_id,
            ConsentRow.redirect_uri == redirect_uri,
            ConsentRow.site == site,
            ConsentRow.server == server,
            ConsentRow.expires_at > now,
            ConsentRow.challenge.is_(None),
        )
        async with self._database.reading() as connection:
            if (await connection.execute(select(ConsentRow.user).where(*key))).first() is None:
                return None
        async with self._database.writing(unrecorded="the code that it becomes is recorded") as connection:
            row = (await connection.execute(select(ConsentRow.allowed).where(*key))).first()
            await connection.execute(delete(ConsentRow).where(*key))
            return None if row is None else str(row.allowed)


def _key(consent: Consent) -> tuple[ColumnElement[bool], ...]:
    return (
        ConsentRow.user == consent.user,
        ConsentRow.client_id == consent.client_id,
        ConsentRow.site == consent.site,
        ConsentRow.server == consent.server,
    )
