"""Durable records of the relay. SQLAlchemy and Alembic on SQLite."""

from penstock_relay.store.agents import Agent, NoSuchAgent, OtherFingerprint
from penstock_relay.store.certificates import Successor
from penstock_relay.store.clients import ClientRecord
from penstock_relay.store.database import StoreError
from penstock_relay.store.grants import Code, Grant, GrantToken, Holder, NoSuchGrant
from penstock_relay.store.invites import Invite, Unusable
from penstock_relay.store.lineage import Certificate, Lineage, Lock, Standing
from penstock_relay.store.memberships import Membership
from penstock_relay.store.sites import NoSuchSite, Site, SiteExists
from penstock_relay.store.store import Store
from penstock_relay.store.tokens import NoSuchToken, Token
from penstock_relay.store.users import NoSuchUser, User, UserExists

__all__ = [
    "Agent",
    "Certificate",
    "ClientRecord",
    "Code",
    "Grant",
    "GrantToken",
    "Holder",
    "Invite",
    "Lineage",
    "Lock",
    "Membership",
    "NoSuchAgent",
    "NoSuchGrant",
    "NoSuchSite",
    "NoSuchToken",
    "NoSuchUser",
    "OtherFingerprint",
    "Site",
    "SiteExists",
    "Standing",
    "Store",
    "StoreError",
    "Successor",
    "Token",
    "Unusable",
    "User",
    "UserExists",
]
