"""Durable records of the relay. SQLAlchemy and Alembic on SQLite."""

from penstock_relay.store.agents import Agent, NoSuchAgent, OtherFingerprint
from penstock_relay.store.certificates import Successor
from penstock_relay.store.clients import ClientRecord, NoSuchClient
from penstock_relay.store.consents import Consent
from penstock_relay.store.database import StoreError
from penstock_relay.store.endings import Ended
from penstock_relay.store.factors import Factor
from penstock_relay.store.granted import Code, Grant, GrantToken, Holder
from penstock_relay.store.grants import NoSuchGrant
from penstock_relay.store.heads import Brought, Kept, StoredHead
from penstock_relay.store.invites import Invite, Unusable
from penstock_relay.store.lineage import Certificate, Lineage, Lock, Standing
from penstock_relay.store.logins import LoginRecord
from penstock_relay.store.memberships import CALLING, GroupMembership, Membership, Role
from penstock_relay.store.notices import StoredNotice
from penstock_relay.store.people import Account
from penstock_relay.store.signing import SigningClient
from penstock_relay.store.sites import NoSuchSite, Site, SiteExists
from penstock_relay.store.store import Store
from penstock_relay.store.tokens import NoSuchToken, Token
from penstock_relay.store.users import NoPasswordHere, NoSuchUser, User, UserExists

__all__ = [
    "CALLING",
    "Account",
    "Agent",
    "Brought",
    "Certificate",
    "ClientRecord",
    "Code",
    "Consent",
    "Ended",
    "Factor",
    "Grant",
    "GrantToken",
    "GroupMembership",
    "Holder",
    "Invite",
    "Kept",
    "Lineage",
    "Lock",
    "LoginRecord",
    "Membership",
    "NoPasswordHere",
    "NoSuchAgent",
    "NoSuchClient",
    "NoSuchGrant",
    "NoSuchSite",
    "NoSuchToken",
    "NoSuchUser",
    "OtherFingerprint",
    "Role",
    "SigningClient",
    "Site",
    "SiteExists",
    "Standing",
    "Store",
    "StoreError",
    "StoredHead",
    "StoredNotice",
    "Successor",
    "Token",
    "Unusable",
    "User",
    "UserExists",
]
