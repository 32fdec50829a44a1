"""Who somebody is, from what an identity provider says. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from penstock import jwt

MAX_GROUP_BYTES: Final = 200
"""Of the name of a group; longer ones are passed over."""
MAX_GROUPS: Final = 500
"""Groups of one user; further ones are passed over."""
MAX_NAME: Final = 200

_VERIFIED: Final = ("email_verified", "xms_edov")
"""Claims that say that the address is the user's own; Entra ID has a name of its own for it."""
_TRUE: Final = (True, 1, "1", "true")
_HANDLE: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


@dataclass(frozen=True, slots=True)
class Person:
    """What an identity provider says of one of its users; ``email`` only when it has verified it."""

    issuer: str
    subject: str
    name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Which claims tell what; dots lead into objects."""

    name: str = "name"
    groups: str = "groups"


def is_group(name: str) -> bool:
    """Whether a group may be called so."""
    return (
        0 < len(name.encode(errors="replace")) <= MAX_GROUP_BYTES
        and name.isprintable()
        and name == name.strip()
    )


def read(issuer: str, subject: str, claims: Mapping[str, object], names: ClaimNames) -> Person:
    """The user that ``claims`` are about; what cannot be shown or used is left out."""
    found = jwt.claim(claims, names.name)
    name = jwt.shown(jwt.claim(claims, "preferred_username") if found is None else found)
    email = jwt.shown(claims.get("email"))
    verified = any(claims.get(claim) in _TRUE for claim in _VERIFIED)
    usable = verified and "@" in email and len(email) <= 254
    listed = jwt.claim(claims, names.groups)
    groups = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    return Person(
        issuer=issuer,
        subject=subject,
        name=name[:MAX_NAME],
        email=email if usable else "",
        groups=tuple(dict.fromkeys(filter(is_group, groups)))[:MAX_GROUPS],
    )


def left_groups_out(claims: Mapping[str, object], names: ClaimNames) -> bool:
    """Whether the provider says that there are more groups than fit: Entra ID does, above 200."""
    elsewhere = claims.get("_claim_names")
    pointed = isinstance(elsewhere, Mapping) and names.groups in elsewhere
    return pointed or claims.get("hasgroups") in _TRUE


def handles(person: Person) -> tuple[str, str]:
    """What a new user is called here, and what if somebody has that name already.

    The first is the verified address, which operators recognise; without one, and as the second, something
    that nobody can choose: a name that users pick for themselves could be taken for somebody else's.
    """
    digest = hashlib.sha256(f"{len(person.issuer)}:{person.issuer}{person.subject}".encode()).hexdigest()
    spare = f"user-{digest[:24]}"
    # Some letters of other alphabets have a small form in ours, the sign for kelvin for one.
    address = person.email.lower() if person.email.isascii() else ""
    return (address if _HANDLE.fullmatch(address) else spare), spare
