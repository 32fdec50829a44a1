"""Users of issuers outside, as far as they are users of this relay as well."""

from collections.abc import Collection

from sqlalchemy import func, select

from penstock.principal import Principal
from penstock_relay.store.database import Database
from penstock_relay.store.models import MembershipRow, UserRow


class Outsiders:
    """Memberships of those who log in elsewhere. `by_email`: issuers whose verified addresses count."""

    def __init__(self, database: Database, by_email: Collection[str]) -> None:
        self._database = database
        self._by_email = frozenset(by_email)

    async def allows(self, principal: Principal, site: str, server: str) -> bool:
        """Whether the one user here with the same address, who is not disabled, may use that server.

        Two users with one address are none: nobody can tell which of them it is.
        """
        if principal.issuer not in self._by_email or not principal.email:
            return False
        same = func.lower(UserRow.email) == principal.email.lower()
        async with self._database.reading() as connection:
            users = (await connection.execute(select(UserRow.name, UserRow.disabled_at).where(same))).all()
            if len(users) != 1 or users[0].disabled_at is not None:
                return False
            query = select(MembershipRow.user).where(
                MembershipRow.user == users[0].name,
                MembershipRow.site == site,
                MembershipRow.server.in_(("", server)),
            )
            return (await connection.execute(query)).first() is not None
