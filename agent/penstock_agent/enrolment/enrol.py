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
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from penstock import enrolment, tls
from penstock.joinstring import BadJoinString, JoinString
from penstock.names import AgentId
from penstock_agent import state
from penstock_agent.config import Settings
from penstock_agent.dialer import reach
from penstock_agent.dialer.connect import Connect
from penstock_agent.enrolment import certificate, firstcontact
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
    #: Whether the site's operator must approve this agent by its fingerprint before it can link.
    approval: bool = False


def join(text: str, settings: Settings, *, replace: bool = False) -> Outcome:
    """Enrol with the join string ``text``, unless that was done before; ``replace``: even then.

    Raises :exc:`~penstock_agent.problem.Problem`. Nothing is stored unless everything was checked;
    interrupting it leaves no half state.
    """
    try:
        invitation = JoinString.parse(text)
    except BadJoinString as e:
        raise EnrolError(str(e), Exit.USAGE) from None
    folder = settings.state_dir
    if not replace and (before := _already(folder, invitation)) is not None:
        return Outcome(before, new=False)
    owner = state.prepare(folder)
    with state.exclusive(folder):
        if not replace and (before := _already(folder, invitation)) is not None:
            return Outcome(before, new=False)
        proxy = settings.proxy_for(invitation.url)
        credentials = asyncio.run(enrol(invitation, proxy, settings.ca_file))
        return Outcome(state.store(folder, credentials, owner), new=True, approval=credentials.approval)


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
    key = certificate.new_key()
    csr = certificate.signing_request(key).public_bytes(serialization.Encoding.PEM).decode()
    request = enrolment.Enrol(secret=enrolment.secret_text(invitation.secret), csr=csr)
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
        key=certificate.private_pem(key),
        certificate=answer.certificate.encode(),
        # All of them: the connection that they came over was vouched for by the pinned one.
        ca=answer.ca.encode(),
        approval=answer.approval,
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
        bundle = x509.load_pem_x509_certificates(answer.ca.encode())
    except ValueError:
        raise _bad("it cannot be verified") from None
    if all(tls.spki_pin(each) != invitation.pin for each in bundle):
        raise _bad("its CA is not the pinned one")
    try:
        leaf, identity = certificate.accepted(answer.certificate, key, bundle)
    except certificate.BadCertificate as e:
        raise _bad(str(e)) from None
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


def _bad(why: str) -> EnrolError:
    return EnrolError(f"The relay returned a certificate that cannot be accepted: {why}. Nothing was stored.")
