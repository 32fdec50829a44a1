"""Grants: what users allowed clients, the codes that they come from, and the tokens that come of them."""

from dataclasses import replace
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Change, Kind
from penstock_relay.store.database import Database, StoreError
from penstock_relay.store.endings import Ended, end_grants_of
from penstock_relay.store.granted import CODE, GRANT, HOLDER, Code, Grant, GrantToken, Holder, holder_of
from penstock_relay.store.models import CodeRow, GrantRow, GrantTokenRow
from penstock_relay.store.people import travelling_groups
from penstock_relay.store.record import record
from penstock_relay.store.revocation import end_grants
from penstock_relay.store.users import NoSuchUser, has_user

KEPT_CODES_S: Final = 86_400.0
"""How long a code is remembered after its end, so that a late replay still ends what came of it."""
MAX_REPEATS: Final = 10
"""How often the answer to one refresh may get lost."""
REPLACED: Final = 0.0
"""``used_at`` of a refresh token whose answer was taken for lost: as if used long ago."""


class NoSuchGrant(StoreError):
    """There is no grant with that id."""

    def __init__(self, grant_id: str) -> None:
        super().__init__(f"There is no grant {grant_id!r}. See the ids with: penstock-relay grant list")


class Grants:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_code(self, code: Code) -> None:
        """Forgets codes that ended long ago, too."""
        async with self._database.writing() as connection:
            await connection.execute(
                delete(CodeRow).where(CodeRow.expires_at < code.created_at - KEPT_CODES_S)
            )
            await connection.execute(
                insert(CodeRow).values(
                    secret_hash=code.secret_hash,
                    user=code.user,
                    client_id=code.client_id,
                    client_name=code.client_name,
                    redirect_uri=code.redirect_uri,
                    challenge=code.challenge,
                    resource=code.resource,
                    site=code.site,
                    server=code.server,
                    created_at=code.created_at,
                    expires_at=code.expires_at,
                    allowed=code.allowed,
                    proof=code.proof,
                )
            )
            await record(
                connection,
                Kind.CONSENT_ALLOWED,
                client=code.client_id,
                client_name=code.client_name,
                site=code.site,
                server=code.server or None,
                allowed=code.allowed,
            )

    async def find_code(self, secret_hash: bytes) -> Code | None:
        """The code, a used or expired one too."""
        async with self._database.reading() as connection:
            row = (await connection.execute(CODE.where(CodeRow.secret_hash == secret_hash))).first()
        return None if row is None else Code(*row)

    async def redeem(
        self, secret_hash: bytes, grant: Grant, access: GrantToken, refresh: GrantToken, now: float
    ) -> bool:
        """Turns a code into its grant, once. A second try ends the grant that the first one made."""
        async with self._database.writing() as connection:
            row = (await connection.execute(CODE.where(CodeRow.secret_hash == secret_hash))).first()
            if row is None:
                return False
            if row.used_at is not None:
                await end_grants(connection, now, GrantRow.id == row.grant_id, reason="code_reused")
                return False
            if row.expires_at <= now:
                return False
            await connection.execute(
                insert(GrantRow).values(
                    id=grant.id,
                    user=grant.user,
                    client_id=grant.client_id,
                    client_name=grant.client_name,
                    site=grant.site,
                    server=grant.server,
                    resource=grant.resource,
                    created_at=grant.created_at,
                    expires_at=grant.expires_at,
                    idle_at=grant.idle_at,
                    allowed=grant.allowed,
                    proof=grant.proof,
                )
            )
            await connection.execute(
                update(CodeRow)
                .where(CodeRow.secret_hash == secret_hash)
                .values(used_at=now, grant_id=grant.id)
            )
            await _add(connection, access, refresh)
            await record(
                connection,
                Kind.GRANT_MADE,
                grant=grant.id,
                user=grant.user,
                client=grant.client_id,
                site=grant.site,
                server=grant.server or None,
                allowed=grant.allowed,
                expires_at=grant.expires_at,
            )
            return True

    async def find_token(self, public_id: str) -> Holder | None:
        """The token with all that decides about it; expired and revoked ones too."""
        async with self._database.reading() as connection:
            row = (await connection.execute(HOLDER.where(GrantTokenRow.public_id == public_id))).first()
            if row is None:
                return None
            holder = holder_of(row)
            if holder.person is not None:
                groups = await travelling_groups(connection, holder.grant.user)
                holder = replace(holder, person=replace(holder.person, groups=groups))
        return holder

    async def rotate(
        self,
        public_id: str,
        access: GrantToken,
        refresh: GrantToken,
        now: float,
        grace: float,
        idle_at: float,
    ) -> bool:
        """Takes a refresh token and adds the tokens that it is exchanged for.

        It may come again within ``grace`` seconds of its first use, since the answer may have been lost: then
        the token that it brought before is worth nothing any more, so that there is one successor at a time.
        Later, or once its successor was used, or when it was replaced itself, somebody else has it: the grant
        ends. False then, and also, without effect, when the token or its grant has ended already, the user
        is disabled, or it came too often.
        """
        # Each hour, by every client: what it would say is said by the grant. An end is recorded.
        async with self._database.writing(unrecorded="a grant goes on as it was made") as connection:
            row = (await connection.execute(HOLDER.where(GrantTokenRow.public_id == public_id))).first()
            if row is None:
                return False
            holder = holder_of(row)
            token, grant = holder.token, holder.grant
            ends = min(token.expires_at, grant.expires_at, grant.idle_at)
            if not token.refresh or grant.revoked_at is not None or ends <= now or holder.disabled:
                return False
            if token.used_at is not None:
                successors = await _successors(connection, public_id)
                # The absolute difference: of two at once, the one that came first may get its turn last.
                lost = abs(now - token.used_at) < grace
                if not lost or any(used_at not in (None, REPLACED) for used_at in successors.values()):
                    await end_grants(connection, now, GrantRow.id == grant.id, reason="refresh_token_reused")
                    return False
                if len(successors) > MAX_REPEATS:
                    return False
                await connection.execute(
                    update(GrantTokenRow)
                    .where(GrantTokenRow.public_id.in_(successors))
                    .values(used_at=REPLACED)
                )
            else:
                await connection.execute(
                    update(GrantTokenRow).where(GrantTokenRow.public_id == public_id).values(used_at=now)
                )
            await connection.execute(
                delete(GrantTokenRow).where(
                    GrantTokenRow.grant_id == grant.id, GrantTokenRow.expires_at <= now
                )
            )
            await connection.execute(update(GrantRow).where(GrantRow.id == grant.id).values(idle_at=idle_at))
            await _add(connection, access, refresh, parent=public_id)
            return True

    async def allow(self, grant_id: str, allowed: str) -> None:
        """Changes what a grant allows. Raises NoSuchGrant."""
        async with self._database.writing() as connection:
            found = select(*GRANT).where(GrantRow.id == grant_id)
            row = (await connection.execute(found)).first()
            if row is None:
                raise NoSuchGrant(grant_id)
            await connection.execute(update(GrantRow).where(GrantRow.id == grant_id).values(allowed=allowed))
            await record(
                connection,
                Kind.GRANT_CHANGED,
                grant=grant_id,
                user=row.user,
                client=row.client_id,
                site=row.site,
                server=row.server or None,
                allowed=Change(row.allowed, allowed),
            )

    async def list(self, user: str | None = None, site: str | None = None) -> list[Grant]:
        """Oldest first; revoked and expired ones too."""
        query = select(*GRANT).order_by(GrantRow.created_at, GrantRow.id)
        if user is not None:
            query = query.where(GrantRow.user == user)
        if site is not None:
            query = query.where(GrantRow.site == site)
        async with self._database.reading() as connection:
            return [Grant(*row) for row in await connection.execute(query)]

    async def revoke(self, grant_id: str, now: float) -> bool:
        """False when it was revoked before. Raises NoSuchGrant."""
        async with self._database.writing() as connection:
            query = select(GrantRow.id).where(GrantRow.id == grant_id)
            if (await connection.execute(query)).first() is None:
                raise NoSuchGrant(grant_id)
            return await end_grants(connection, now, GrantRow.id == grant_id) > 0

    async def revoke_all(self, user: str, now: float) -> Ended:
        """All of a user's; what that ended. Raises NoSuchUser."""
        async with self._database.writing(unrecorded="codes and consents that nothing came of") as connection:
            if not await has_user(connection, user):
                raise NoSuchUser(user)
            return await end_grants_of(connection, user, now)


async def _successors(connection: AsyncConnection, public_id: str) -> dict[str, float | None]:
    """The refresh tokens that this one was exchanged for, and when each was used."""
    rows = await connection.execute(
        select(GrantTokenRow.public_id, GrantTokenRow.used_at).where(
            GrantTokenRow.parent == public_id, GrantTokenRow.refresh.is_(True)
        )
    )
    return {row.public_id: row.used_at for row in rows}


async def _add(connection: AsyncConnection, *added: GrantToken, parent: str | None = None) -> None:
    for token in added:
        await connection.execute(
            insert(GrantTokenRow).values(
                public_id=token.public_id,
                secret_hash=token.secret_hash,
                refresh=token.refresh,
                grant_id=token.grant_id,
                created_at=token.created_at,
                expires_at=token.expires_at,
                parent=parent,
            )
        )
