"""``join``: from a join string to a certificate, without trusting anybody on the way.

Two connections. The first asks an unverified peer for its CA, and what comes back is compared with the pin of
the join string. Only if they match, the second connection trusts exactly that CA, checks the host name, and
carries the one-time secret and a signing request for a key that never leaves this machine.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from penstock import enrolment, tls
from penstock.joinstring import BadJoinString, JoinString
from penstock.names import AgentId, BadName
from penstock_agent import state
from penstock_agent.config import Settings
from penstock_agent.dialer import reach
from penstock_agent.dialer.connect import Connect
from penstock_agent.enrolment import firstcontact
from penstock_agent.problem import Exit, Problem, printable

#: Seconds for each of the two connections, from the first byte to the last.
TIMEOUT_S = 30.0


class EnrolError(Problem):
    """Enrolment did not work out; nothing was stored."""


class WrongRelay(EnrolError):
    """The peer is not the relay that made the join string. No secret was sent."""

    status = Exit.REFUSED


class JoinRefused(EnrolError):
    """The relay refused the join string."""

    status = Exit.REFUSED


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ``join`` came to."""

    joined: state.Joined
    #: False when this agent had joined the same site before, and the join string was not used.
    new: bool


def join(text: str, settings: Settings) -> Outcome:
    """Enrol with the join string ``text``, unless that was done before.

    Raises :exc:`~penstock_agent.problem.Problem`. Nothing is stored unless everything was checked;
    interrupting it leaves no half state.
    """
    try:
        invitation = JoinString.parse(text)
    except BadJoinString as e:
        raise EnrolError(str(e), Exit.USAGE) from None
    folder = settings.state_dir
    if (before := _already(folder, invitation)) is not None:
        return Outcome(before, new=False)
    owner = state.prepare(folder)
    with state.exclusive(folder):
        if (before := _already(folder, invitation)) is not None:
            return Outcome(before, new=False)
        proxy = settings.proxy_for(invitation.url)
        credentials = asyncio.run(enrol(invitation, proxy, settings.ca_file))
        return Outcome(state.store(folder, credentials, owner), new=True)


def _already(folder: Path, invitation: JoinString) -> state.Joined | None:
    try:
        joined = state.load(folder)
    except state.NotJoined:
        return None
    same_relay = joined.relay_url == invitation.url and invitation.pin in map(tls.spki_pin, joined.anchors)
    if same_relay and joined.id.site == invitation.site:
        return joined
    raise EnrolError(
        f"This agent has already joined the site {joined.id.site} at {joined.relay_url}; "
        f"the join string is for the site {invitation.site} at {invitation.url}. "
        "Use another folder (--state-dir) for a second agent; "
        f"or stop this one, move {folder} away and join again.",
        Exit.USAGE,
    )


async def enrol(
    invitation: JoinString, proxy: str | None, ca_file: Path | None = None, timeout: float = TIMEOUT_S
) -> state.Credentials:
    """Make a key, and have the relay's CA certify it. Stores nothing.

    ``ca_file`` replaces the relay's CA as the trust anchor of the second connection; the pin is compared
    all the same. ``timeout`` (seconds) is for each connection. Raises :exc:`EnrolError`.
    """
    cas = await _pinned_cas(invitation, proxy, timeout)
    key = ec.generate_private_key(ec.SECP256R1())
    request = enrolment.Enrol(
        secret=enrolment.secret_text(invitation.secret), csr=_signing_request(key).decode()
    )
    with tempfile.TemporaryDirectory(prefix="penstock-join-") as scratch:
        anchor = ca_file
        if anchor is None:
            anchor = Path(scratch, "ca.pem")
            anchor.write_bytes(b"".join(ca.public_bytes(serialization.Encoding.PEM) for ca in cas))
        try:
            context = tls.client_context(anchor, None, None)
        except tls.BadTlsFile as e:
            raise EnrolError(str(e), Exit.USAGE) from None
        answer = await _ask(invitation, request, context, proxy, timeout)
    if isinstance(answer, enrolment.Refused):
        raise JoinRefused(answer.text)
    identity = _check_answer(answer, invitation, key.public_key(), datetime.now(UTC))
    return state.Credentials(
        relay_url=invitation.url,
        id=identity,
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate=answer.certificate.encode(),
        # All of them: the connection that they came over was vouched for by the pinned one.
        ca=answer.ca.encode(),
    )


async def _pinned_cas(
    invitation: JoinString, proxy: str | None, timeout: float
) -> tuple[x509.Certificate, ...]:
    try:
        async with asyncio.timeout(timeout):
            contact = await firstcontact.fetch_ca(invitation.url, proxy)
    except firstcontact.NotARelay as e:
        raise EnrolError(
            f"{invitation.url} {e}: this is not a relay's tunnel listener. Nothing was sent. "
            "Check the address in the join string with the relay's operator."
        ) from None
    except (OSError, EOFError) as e:
        raise EnrolError(reach.explain(e, invitation.url, proxy)) from None
    trusted = firstcontact.trusted(contact.cas, invitation.pin)
    if not trusted:
        shown = tls.spki_pin(contact.cas[0]).hex()[:8]
        raise WrongRelay(
            f"Refused: {invitation.url} shows a CA with the pin {shown}…, "
            f"the join string says {invitation.pin.hex()[:8]}…. The secret was not sent. "
            "Likely cause: the address leads to another relay, or TLS inspection in between "
            f"(the connection's certificate was issued by {printable(contact.leaf_issuer) or 'nobody'})."
        )
    return trusted


async def _ask(
    invitation: JoinString,
    request: enrolment.Enrol,
    context: ssl.SSLContext,
    proxy: str | None,
    timeout: float,
) -> enrolment.Reply:
    try:
        async with (
            asyncio.timeout(timeout),
            Connect(
                invitation.url + enrolment.PATH,
                ssl=context,
                proxy=proxy,
                subprotocols=[Subprotocol(enrolment.SUBPROTOCOL)],
                compression=None,
                max_size=enrolment.MAX_MESSAGE_BYTES,
                ping_interval=None,
                open_timeout=None,
                close_timeout=2,
                user_agent_header=None,
            ) as ws,
        ):
            if ws.subprotocol != enrolment.SUBPROTOCOL:
                raise EnrolError(f"{invitation.url} does not enrol agents. Update the relay.")
            await ws.send(enrolment.encode(request))
            message = await ws.recv()
    except (OSError, EOFError, WebSocketException) as e:
        text = reach.explain(e, invitation.url, proxy)
        if reach.is_foreign_certificate(e):
            # The CA was the right one, and came through what now shows a certificate of its own.
            raise WrongRelay(f"Refused, and the secret was not sent. {text}") from None
        if isinstance(e, ConnectionClosed):
            text += " Whether the join string is used up is not known; a new one always works."
        raise EnrolError(text) from None
    try:
        return enrolment.decode_reply(message)
    except enrolment.BadEnrolment as e:
        raise EnrolError(str(e)) from None


def _signing_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    # The relay decides what the certificate says; the request proves possession of the key and nothing else.
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def _check_answer(
    answer: enrolment.Enrolled,
    invitation: JoinString,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
) -> AgentId:
    """The identity in the certificate that came back.

    Raises :exc:`EnrolError` unless it is ours, whole and valid.
    """
    try:
        chain = x509.load_pem_x509_certificates(answer.certificate.encode())
        bundle = x509.load_pem_x509_certificates(answer.ca.encode())
        if all(tls.spki_pin(ca) != invitation.pin for ca in bundle):
            raise _bad("its CA is not the pinned one")
        for certificate, issuer in pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
        if not any(_vouches(ca, chain[-1]) for ca in bundle):
            raise _bad("it cannot be verified")
        leaf = chain[0]
        names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
        if len(names) != 1 or len(uris) != 1:
            raise _bad("it does not carry exactly one identity")
        identity = AgentId.from_uri(uris[0])
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as e:
        raise _bad(
            "its identity is not one of Penstock's" if isinstance(e, BadName) else "it cannot be verified"
        ) from None
    if leaf.public_key() != key:
        raise _bad("it is for another key")
    if (identity.site, identity.agent) != (answer.site, answer.agent) or identity.site != invitation.site:
        raise _bad("it is for another site or agent")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise EnrolError(
            f"The certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, "
            f"and this machine's clock says {now:%Y-%m-%d %H:%M} UTC. "
            "Set the clock (timedatectl), make a new join string at the relay and join again."
        )
    return identity


def _vouches(ca: x509.Certificate, certificate: x509.Certificate) -> bool:
    if certificate.public_key() == ca.public_key():  # the CA itself may end the chain
        return True
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _bad(why: str) -> EnrolError:
    return EnrolError(f"The relay returned a certificate that cannot be accepted: {why}. Nothing was stored.")
