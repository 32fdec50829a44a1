"""Users of issuers outside, as far as they are users of this relay as well."""

from collections.abc import Collection

from sqlalchemy import exists, func, literal, select

from penstock.principal import Principal
from penstock_relay.store.database import Database
from penstock_relay.store.memberships import is_member
from penstock_relay.store.models import UpstreamUserRow, UserRow


class Outsiders:
    """Memberships of those who log in elsewhere. `by_email`: issuers whose verified addresses count."""

    def __init__(self, database: Database, by_email: Collection[str]) -> None:
        self._database = database
        self._by_email = frozenset(by_email)

    async def allows(self, principal: Principal, site: str, server: str) -> bool:
        """Whether that user here, who is not disabled, may use that server.

        It is the one who logged in as the same subject of the same issuer; else the one user of this relay's
        own with the same address. Two users with one address are none: nobody can tell which of them it is.
        """
        async with self._database.reading() as connection:
            query = select(UserRow.name, UserRow.disabled_at).join(
                UpstreamUserRow, UpstreamUserRow.user == UserRow.name
            )
            users = (
                await connection.execute(
                    query.where(
                        UpstreamUserRow.issuer == principal.issuer,
                        UpstreamUserRow.subject == principal.subject,
                    )
                )
            ).all()
            if not users and principal.issuer in self._by_email and principal.email:
                same = func.lower(UserRow.email) == principal.email.lower()
                own = ~exists().where(UpstreamUserRow.user == UserRow.name)
                by_email = select(UserRow.name, UserRow.disabled_at).where(same, own)
                users = (await connection.execute(by_email)).all()
            if len(users) != 1 or users[0].disabled_at is not None:
                return False
            may = select(is_member(literal(users[0].name), literal(site), literal(server)))
            return bool((await connection.execute(may)).scalar_one())
