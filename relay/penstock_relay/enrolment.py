"""The relay's side of an enrolment: one request in, one answer out, whatever carries them."""

import hashlib
import secrets
import string
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from penstock.enrolment import MALFORMED, BadEnrolment, Enrol, Enrolled, Refused
from penstock.joinstring import SECRET_BYTES
from penstock.names import AgentId
from penstock_relay import audit
from penstock_relay.ca import BadCsr, CertificateAuthority, parse_csr, serial_text
from penstock_relay.store import Agent, Store, Unusable

_NAME_CHARACTERS: Final = string.ascii_lowercase + string.digits
_NAME_LENGTH: Final = 8  # also longer than every reserved name

_TEXTS: Final = {
    Unusable.USED: (
        "This join string has been used already; each is good for one agent, once. Ask the relay's operator "
        "for another: penstock-relay agent invite SITE"
    ),
    Unusable.EXPIRED: (
        "This join string has expired. Ask the relay's operator for another: penstock-relay agent invite SITE"
    ),
    Unusable.UNKNOWN: (
        "The relay does not know this join string. Check that it was copied whole, and that it is for this "
        "relay; or ask the relay's operator for another: penstock-relay agent invite SITE"
    ),
}


def new_secret() -> bytes:
    """The one-time secret of a join string."""
    return secrets.token_bytes(SECRET_BYTES)


def secret_hash(secret: bytes) -> bytes:
    """What the store keeps of a join string's secret: 128 random bits need no slower hash."""
    return hashlib.sha256(secret).digest()


async def enrol(request: Enrol, store: Store, ca: CertificateAuthority, now: float) -> Enrolled | Refused:
    """Uses the invite up and signs the key, both or neither. ``now`` in seconds since the epoch.

    Everything that can fail comes before the invite is taken, so that a bad request leaves it usable; the
    certificate of one that loses the race is never shown to anybody. Raises sqlalchemy.exc.SQLAlchemyError.
    """
    try:
        csr = parse_csr(request.csr)
    except BadCsr as error:
        return Refused(reason=MALFORMED, text=f"{error} Update penstock-agent and join again.")
    try:
        digest = secret_hash(request.secret_bytes)
    except BadEnrolment as error:
        return Refused(reason=MALFORMED, text=str(error))
    # Looked up by hash: who does not know a secret cannot steer the hash, so its timing tells nothing.
    invite = await store.invites.find(digest, now)
    if isinstance(invite, Unusable):
        return _refused(invite)
    # 36 ** 8 names: that one is in use already is not expected, and then the store refuses the whole step.
    identity = AgentId(invite.site, "".join(secrets.choice(_NAME_CHARACTERS) for _ in range(_NAME_LENGTH)))
    certificate = ca.sign_agent(csr, identity, now)
    agent = Agent(identity, serial_text(certificate), certificate.not_valid_after_utc.timestamp(), now)
    unusable = await store.by(audit.invite(digest, invite.site)).invites.take(digest, agent, now)
    if unusable is not None:
        return _refused(unusable)
    return Enrolled(
        site=identity.site,
        agent=identity.agent,
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        ca=ca.pem.decode(),
    )


def _refused(unusable: Unusable) -> Refused:
    return Refused(reason=unusable.value, text=_TEXTS[unusable])
