"""One renewal: a new key, made here; a proof by the old one; a certificate, checked and stored.

The connection shows no client certificate: the relay would end TLS for one that has expired, and that is when
a renewal is needed most.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from penstock import renewal, tls
from penstock.enrolment import MAX_MESSAGE_BYTES
from penstock.refusal import Refusal
from penstock_agent import state
from penstock_agent.dialer import reach
from penstock_agent.dialer.connect import Connect
from penstock_agent.enrolment import certificate
from penstock_agent.problem import Exit, Problem
from penstock_agent.renewal.verdict import judge

#: Seconds for the whole conversation.
TIMEOUT_S = 30.0
#: Seconds for the relay to note that the new certificate is stored.
NOTED_S = 5.0


class RenewalFailed(Problem):
    """There is no new certificate; the old one is as it was."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """A new certificate, which is stored."""

    joined: state.Joined
    #: Counts the certificates of this agent.
    generation: int
    #: Seconds by which the relay's clock is ahead of this machine's.
    skew: float


async def renew(
    folder: Path, proxy: str | None, ca_file: Path | None = None, timeout: float = TIMEOUT_S
) -> Renewed:
    """Renew the certificate in ``folder``, whatever its age. ``ca_file`` as for enrolment.

    Raises :exc:`RenewalFailed`, :exc:`~penstock_agent.renewal.verdict.TurnedAway`,
    :exc:`~penstock_agent.renewal.verdict.Revoked` and :exc:`~penstock_agent.state.StateError`; nothing has
    changed then. Only one process at a time renews a folder, and each begins with what the folder holds.
    """
    with state.exclusive(folder):
        joined = state.load(folder)
        try:
            context = tls.client_context(ca_file or joined.ca_file, None, None)
        except tls.BadTlsFile as e:
            raise RenewalFailed(str(e), Exit.USAGE) from None
        try:
            async with (
                asyncio.timeout(timeout),
                Connect(
                    joined.relay_url + renewal.PATH,
                    ssl=context,
                    proxy=proxy,
                    subprotocols=[Subprotocol(renewal.SUBPROTOCOL)],
                    compression=None,
                    max_size=MAX_MESSAGE_BYTES,
                    ping_interval=None,
                    open_timeout=None,
                    close_timeout=2,
                    user_agent_header=None,
                ) as ws,
            ):
                if ws.subprotocol != renewal.SUBPROTOCOL:
                    raise RenewalFailed(f"{joined.relay_url} does not renew certificates. Update the relay.")
                return await _converse(ws, joined, trusts_ca_file=ca_file is not None)
        except renewal.BadRenewal as e:
            raise RenewalFailed(str(e)) from None
        except (OSError, EOFError, WebSocketException) as e:
            raise RenewalFailed(reach.explain(e, joined.relay_url, proxy)) from None


async def _converse(ws: ClientConnection, joined: state.Joined, *, trusts_ca_file: bool) -> Renewed:
    leaf = _leaf(ws)
    challenge = renewal.decode_challenge(await ws.recv())
    key = certificate.new_key()
    csr = certificate.signing_request(key)
    proof = renewal.to_sign(
        renewal.leaf_digest(leaf.public_bytes(serialization.Encoding.DER)),
        challenge.nonce_bytes,
        csr,
        joined.certificate,
    )
    request = renewal.Renew(
        certificate=joined.certificate.public_bytes(serialization.Encoding.PEM).decode(),
        csr=csr.public_bytes(serialization.Encoding.PEM).decode(),
        signature=renewal.sign(joined.key(), proof),
    )
    await ws.send(renewal.encode(request))
    answer = renewal.decode_answer(await ws.recv())
    if isinstance(answer, Refusal):
        raise judge(answer, joined)
    try:
        bundle = x509.load_pem_x509_certificates(answer.ca.encode())
        fresh, identity = certificate.accepted(answer.certificate, key.public_key(), bundle)
    except certificate.BadCertificate as e:
        raise _bad(str(e)) from None
    except ValueError:
        raise _bad("it cannot be verified") from None
    if identity != joined.id or (answer.site, answer.agent) != (joined.id.site, joined.id.agent):
        raise _bad("it is for another site or agent")
    if fresh.serial_number == joined.certificate.serial_number:
        raise _bad("it is the old one")
    if not trusts_ca_file and not _reaches(bundle, leaf, joined.anchors):
        raise _bad("the CAs beside it do not vouch for the relay itself, which could not be reached any more")
    after = state.renew(joined, certificate.private_pem(key), answer.certificate.encode(), answer.ca.encode())
    with suppress(ConnectionClosed, TimeoutError):  # the next link says the same
        async with asyncio.timeout(NOTED_S):
            await ws.send(renewal.encode(renewal.Stored()))
            await ws.wait_closed()  # the relay has noted it
    return Renewed(after, answer.generation, answer.time - time())


def _reaches(
    bundle: Sequence[x509.Certificate], leaf: x509.Certificate, trusted: Sequence[x509.Certificate]
) -> bool:
    """Whether an agent that trusts ``bundle`` and nothing else can come back to this relay."""
    known = {tls.spki_pin(anchor) for anchor in trusted}
    return any(tls.spki_pin(anchor) in known or _issued(leaf, anchor) for anchor in bundle)


def _issued(leaf: x509.Certificate, anchor: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(anchor)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _leaf(ws: ClientConnection) -> x509.Certificate:
    """What the relay showed in this connection; TLS has verified it."""
    ssl_object = ws.transport.get_extra_info("ssl_object")
    der = ssl_object.getpeercert(binary_form=True) if isinstance(ssl_object, ssl.SSLObject) else None
    if der is None:
        raise RenewalFailed(
            "The connection to the relay shows no certificate. This is a bug; please report it."
        )
    return x509.load_der_x509_certificate(der)


def _bad(why: str) -> RenewalFailed:
    return RenewalFailed(
        f"The relay returned a certificate that cannot be accepted: {why}. The old one is kept, and the "
        "renewal tried again. Ask the relay's operator for its log."
    )
