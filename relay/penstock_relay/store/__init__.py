"""Durable records of the relay: sites, invites, agents, tokens. SQLAlchemy and Alembic on SQLite."""

from penstock_relay.store.agents import Agent
from penstock_relay.store.database import StoreError
from penstock_relay.store.invites import Invite, Unusable
from penstock_relay.store.sites import NoSuchSite, Site, SiteExists
from penstock_relay.store.store import Store
from penstock_relay.store.tokens import NoSuchToken, Token

__all__ = [
    "Agent",
    "Invite",
    "NoSuchSite",
    "NoSuchToken",
    "Site",
    "SiteExists",
    "Store",
    "StoreError",
    "Token",
    "Unusable",
]
