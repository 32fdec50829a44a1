"""The only place that builds TLS contexts: TLS 1.3, the private CA and nothing else.

No system trust store is ever loaded, names come from the subject alternative name only, and sessions are not
resumed, so that every connection shows its certificate again.
"""

import asyncio.sslproto
import hashlib
import ssl
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from penstock.names import AgentId, BadName

READ_BUFFER_BYTES = 16 * 1024
"""TLS read buffer of one connection; asyncio's own is 256 KiB, kept for as long as the connection."""


class BadTlsFile(ValueError):
    """A certificate or key file cannot be used; the text names the file and the next step."""


def spki_pin(cert: x509.Certificate) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo (DER), 32 bytes."""
    key = cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).digest()


class LiveContext(ssl.SSLContext):
    """A listener's context whose certificate and trust can be exchanged while it listens.

    Certificates can only be added to what a context trusts. So this one only passes each new connection to
    another context, the one that is current then; connections that are there already do not notice.
    """

    _current: ssl.SSLContext

    def __new__(cls, current: ssl.SSLContext) -> Self:
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        self._current = current
        return self

    def use(self, current: ssl.SSLContext) -> None:
        """For handshakes that begin from now on."""
        self._current = current

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """What asyncio's loop, and uvloop's, call for each connection."""
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def server_context(chain: Path, key: Path, ca: Path, password: bytes | None = None) -> ssl.SSLContext:
    """The tunnel listener's context: a client certificate is optional, but a bad one ends the handshake.

    `ca` may hold several certificates; each is trusted, and nothing above it. `password` is the key's, if it
    has one. Who answers demands a certificate where it matters (peer_agent). Raises BadTlsFile.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_OPTIONAL
    _trust_only(context, ca)
    _identify(context, chain, key, password)
    return context


def client_context(ca: Path, chain: Path | None, key: Path | None) -> ssl.SSLContext:
    """The agent's context: only what is in `ca` is trusted, and the host name is checked.

    `ca` may hold several certificates; nothing above them is trusted, if they are not roots.
    `chain` and `key` are None before enrolment. Raises BadTlsFile.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.hostname_checks_common_name = False
    _trust_only(context, ca)
    if chain is not None and key is not None:
        _identify(context, chain, key)
    return context


def probe_context() -> ssl.SSLContext:
    """Trusts anyone: only to fetch the CA before its pin is compared, and no secret may go over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def small_read_buffers() -> None:
    """Make asyncio's TLS read buffers 16 KiB for connections made after this; uvloop needs none of it.

    `SSLProtocol.max_size` is not a public name: where it is missing, nothing is changed.
    """
    protocol = getattr(asyncio.sslproto, "SSLProtocol", None)
    if protocol is not None and hasattr(protocol, "max_size"):
        protocol.max_size = READ_BUFFER_BYTES


def peer_agent(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> AgentId | None:
    """Which agent is at the other end, from its verified certificate; None when it showed none.

    Raises BadName unless the certificate has exactly one subject alternative name and that is an agent's URI;
    the common name means nothing.
    """
    der = ssl_object.getpeercert(binary_form=True)
    if der is None:
        return None
    stranger = BadName(
        "The certificate names no Penstock agent: enrol the agent again with a new join string."
    )
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise stranger from None
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise stranger
    return AgentId.from_uri(names[0].value)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Partial chain: the CA may be an intermediate of a company's. Only that one is trusted, and not its root,
    # below which others could speak for the relay or for agents.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN


def _trust_only(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise BadTlsFile(
            f"The CA certificate {ca} cannot be used ({_cause(error)}): "
            "it must be a PEM file that this user may read."
        ) from None


def _identify(context: ssl.SSLContext, chain: Path, key: Path, password: bytes | None = None) -> None:
    try:
        context.load_cert_chain(chain, key, password=_no_password if password is None else password)
    except (OSError, ssl.SSLError, _Encrypted) as error:
        raise BadTlsFile(
            f"The certificate {chain} with the key {key} cannot be used ({_cause(error)}): "
            "both must be PEM files that this user may read, made for each other, the key not encrypted."
        ) from None


class _Encrypted(Exception):
    pass


def _no_password() -> bytes:
    raise _Encrypted  # OpenSSL would ask at the terminal, and a service would hang there


def _cause(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the key is encrypted"
