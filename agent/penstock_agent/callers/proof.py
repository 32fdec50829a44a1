"""What a company's identity provider signed about one grant, judged. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from penstock import jwt
from penstock.jwk import ASYMMETRIC, KeySet
from penstock.jwt import BadToken
from penstock.principal import Principal
from penstock.voucher import Voucher, nonce
from penstock_agent.callers.challenge import Challenges
from penstock_agent.callers.trust import NotProven

LOGIN_S: Final = 1860.0
"""From the consent page to the login that signs it: three steps of ten minutes each, and one to go."""
SKEW_S: Final = 120.0
"""How far the provider's clock and ours may differ."""

_AGAIN: Final = "Connect this application again and log in."


@dataclass(frozen=True, slots=True)
class Provider:
    """Whose word counts: pinned on site."""

    issuer: str
    audience: str
    """The relay's client id at the provider."""
    max_life: float
    """Seconds from the consent to the end of any grant."""
    algorithms: Collection[str] = ASYMMETRIC


def read(principal: Principal) -> Voucher:
    """The proof that came with the caller. Raises NotProven."""
    if not principal.proof:
        raise NotProven(
            "This server takes only grants that your company's login has signed, and this call came without "
            f"such a proof. {_AGAIN} Personal access tokens do not open it."
        )
    try:
        return Voucher.parse(principal.proof)
    except ValueError:
        raise NotProven(f"The proof of this grant cannot be read. {_AGAIN}") from None


def ends(voucher: Voucher, server: str, challenges: Challenges, provider: Provider, now: float) -> float:
    """When the grant ends in any case, in seconds since the epoch. Raises NotProven when that is over."""
    made_at = challenges.made_at(voucher.challenge, server)
    if made_at is None:
        raise NotProven(f"This grant was not made with this agent on site. {_AGAIN}")
    if now >= made_at + provider.max_life:
        raise NotProven(f"This grant has ended: the site lets none last longer. {_AGAIN}")
    return made_at + provider.max_life


def judge(
    voucher: Voucher,
    principal: Principal,
    site: str,
    server: str,
    challenges: Challenges,
    provider: Provider,
    keys: KeySet,
) -> None:
    """Whether the provider signed exactly this grant for exactly this person. Raises NotProven."""
    made_at = challenges.made_at(voucher.challenge, server)
    if made_at is None:
        raise NotProven(f"This grant was not made with this agent on site. {_AGAIN}")
    try:
        # The token is as old as the grant, and was good for some minutes: it is judged as of the login.
        claims = jwt.verify(
            voucher.id_token,
            keys,
            issuer=provider.issuer,
            audience=provider.audience,
            algorithms=provider.algorithms,
            now=made_at,
            leeway=LOGIN_S,
        )
    except BadToken as error:
        raise NotProven(
            f"The login of this grant is not one that this site believes ({error.reason}). {_AGAIN}"
        ) from None
    if claims.issued is None or claims.issued < made_at - SKEW_S:
        raise NotProven(f"The login of this grant is older than the consent that it should sign. {_AGAIN}")
    if claims.azp and claims.azp != provider.audience:
        raise NotProven(f"The login of this grant was made for another program. {_AGAIN}")
    if claims.nonce != nonce(site, server, principal.client, principal.dump_grant(), voucher.challenge):
        raise NotProven(f"Your company's login signed another grant than this one. {_AGAIN}")
    if (claims.issuer, claims.subject) != (principal.issuer, principal.subject):
        raise NotProven(f"Your company's login signed this grant for somebody else. {_AGAIN}")
