"""Personal access tokens, as kept: a public id to find them by, and the hash of the rest."""

from dataclasses import dataclass

from sqlalchemy import insert, select, update

from penstock_relay.audit import Kind
from penstock_relay.store.database import Database, StoreError
from penstock_relay.store.models import TokenRow
from penstock_relay.store.record import record
from penstock_relay.store.sites import NoSuchSite, has_site


class NoSuchToken(StoreError):
    """There is no token with that public id."""

    def __init__(self, public_id: str) -> None:
        super().__init__(f"There is no token {public_id!r}. See the ids with: penstock-relay token list")


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret; times in seconds since the epoch, ``server`` None for all of the site."""

    public_id: str
    secret_hash: bytes
    name: str
    site: str
    server: str | None
    created_at: float
    expires_at: float
    revoked_at: float | None = None


class Tokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, token: Token) -> None:
        """Raises NoSuchSite."""
        async with self._database.writing() as connection:
            if not await has_site(connection, token.site):
                raise NoSuchSite(token.site)
            await connection.execute(
                insert(TokenRow).values(
                    public_id=token.public_id,
                    secret_hash=token.secret_hash,
                    name=token.name,
                    site=token.site,
                    server=token.server,
                    created_at=token.created_at,
                    expires_at=token.expires_at,
                )
            )
            await record(
                connection,
                Kind.TOKEN_ISSUED,
                token=token.public_id,
                name=token.name,
                site=token.site,
                server=token.server,
                expires_at=token.expires_at,
            )

    async def find(self, public_id: str) -> Token | None:
        """The token, revoked and expired ones too."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_COLUMNS.where(TokenRow.public_id == public_id))).first()
        return None if row is None else Token(*row)

    async def list(self, site: str | None = None) -> list[Token]:
        """The tokens of ``site``, or of all sites, oldest first; revoked and expired ones too."""
        query = _COLUMNS.order_by(TokenRow.created_at, TokenRow.public_id)
        if site is not None:
            query = query.where(TokenRow.site == site)
        async with self._database.reading() as connection:
            return [Token(*row) for row in await connection.execute(query)]

    async def revoke(self, public_id: str, now: float) -> bool:
        """False when it was revoked before. Raises NoSuchToken."""
        async with self._database.writing() as connection:
            row = (await connection.execute(_COLUMNS.where(TokenRow.public_id == public_id))).first()
            if row is None:
                raise NoSuchToken(public_id)
            if row.revoked_at is not None:
                return False
            await connection.execute(
                update(TokenRow).where(TokenRow.public_id == public_id).values(revoked_at=now)
            )
            await record(
                connection,
                Kind.TOKEN_REVOKED,
                token=public_id,
                name=row.name,
                site=row.site,
                server=row.server,
            )
            return True


_COLUMNS = select(
    TokenRow.public_id,
    TokenRow.secret_hash,
    TokenRow.name,
    TokenRow.site,
    TokenRow.server,
    TokenRow.created_at,
    TokenRow.expires_at,
    TokenRow.revoked_at,
)
