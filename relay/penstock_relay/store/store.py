"""The store: every durable record of the relay, and no payload ever."""

import time
from collections.abc import Callable, Collection
from typing import Self

from penstock_relay.audit import Actor, Tally
from penstock_relay.store.agents import Agents
from penstock_relay.store.audit import Audit
from penstock_relay.store.certificates import Certificates
from penstock_relay.store.clients import Clients
from penstock_relay.store.consents import Consents
from penstock_relay.store.database import Database
from penstock_relay.store.factors import Factors
from penstock_relay.store.fleet import Fleets
from penstock_relay.store.grants import Grants
from penstock_relay.store.heads import Heads
from penstock_relay.store.invites import Invites
from penstock_relay.store.logins import Logins
from penstock_relay.store.memberships import Memberships
from penstock_relay.store.notices import Notices
from penstock_relay.store.outsiders import Outsiders
from penstock_relay.store.people import People
from penstock_relay.store.signing import SigningClients
from penstock_relay.store.sites import Sites
from penstock_relay.store.tokens import Tokens
from penstock_relay.store.users import Users


class Store:
    """Records by aggregate. Methods raise sqlalchemy.exc.SQLAlchemyError where the database fails.

    What they change is recorded in the audit log, in the name of the relay, or of whom :meth:`by` names.
    """

    def __init__(self, database: Database, tally: Tally | None = None) -> None:
        self._database = database
        self._tally = tally or Tally()
        self.audit = Audit(database, self._tally)
        self.sites = Sites(database)
        self.agents = Agents(database)
        self.certificates = Certificates(database)
        self.invites = Invites(database)
        self.heads = Heads(database)
        self.notices = Notices(database)
        self.tokens = Tokens(database)
        self.users = Users(database)
        self.memberships = Memberships(database)
        self.clients = Clients(database)
        self.grants = Grants(database)
        self.consents = Consents(database)
        self.logins = Logins(database)
        self.factors = Factors(database)
        self.people = People(database)
        self.signing = SigningClients(database)
        self.fleet = Fleets(database)

    def outsiders(self, by_email: Collection[str]) -> Outsiders:
        """Memberships of users of issuers outside; `by_email`: issuers whose verified addresses count."""
        return Outsiders(self._database, by_email)

    @classmethod
    async def open(cls, url: str, clock: Callable[[], float] = time.time) -> Self:
        """The store at ``url`` (``sqlite+aiosqlite:////path``), made and migrated. Raises StoreError."""
        return cls(await Database.open(url, clock))

    def by(self, actor: Actor) -> "Store":
        """The same store, for what ``actor`` does."""
        return Store(self._database.by(actor), self._tally)

    async def close(self) -> None:
        """Closes every connection."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def change_sequence(self) -> int:
        """A number that every write of any process moves."""
        return await self._database.change_sequence()
