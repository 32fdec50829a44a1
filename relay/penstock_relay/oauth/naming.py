"""What a user should know about the name that a client gives itself. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from penstock.lookalike import mixes_scripts, unseen
from penstock_relay.oauth import redirects
from penstock_relay.oauth.client import Client
from penstock_relay.oauth.vendors import resembled

_ADDRESS: Final = re.compile(redirects.HOST)
_NO_TOP: Final = re.compile(r".*[^a-z].*|.|js")
"""Of last labels: what no top-level domain is, as in "v1.2" and "Node.js"."""


def name_warning(client: Client, redirect_uri: str) -> str | None:
    """One or more sentences for the user, when the client's name may mean another than who gets the code.

    None for a program on the user's own machine, too: what gets the code there is what the user started.
    """
    target = urlsplit(redirect_uri)
    host = target.hostname or ""
    if target.scheme == "http":
        return None
    theirs = {host, client.host}
    for vendor in resembled(client.name):
        if theirs.isdisjoint(vendor.hosts):
            return (
                f"This name reads like one of {vendor.name}'s, but the answer goes to {host}, which is not "
                f"known to be {vendor.name}'s. Do not allow it unless you know {host}."
            )
    if any(map(unseen, client.name)) or mixes_scripts(client.name):
        return (
            "This name has letters of different alphabets in one word, or characters that do not show: it "
            f"may read like another. Judge by {host}, where the answer goes."
        )
    for named in _ADDRESS.findall(client.name.lower()):
        if _NO_TOP.fullmatch(named.rpartition(".")[2]) is None and not _within(named, theirs):
            return f"This name speaks of {named}, but the answer goes to {host}. Judge by {host}."
    return None


def _within(found: str, hosts: set[str | None]) -> bool:
    return any(host is not None and (host == found or host.endswith(f".{found}")) for host in hosts)
