"""The only place that builds TLS contexts: TLS 1.3, the private CA and nothing else.

No system trust store is ever loaded, names come from the subject alternative name only, and sessions are not
resumed, so that every connection shows its certificate again.
"""

import asyncio.sslproto
import hashlib
import ssl
from pathlib import Path

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


def server_context(chain: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """The tunnel listener's context: a client certificate is optional, but a bad one ends the handshake.

    Who answers on it demands one where it matters (peer_agent). Raises BadTlsFile.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_OPTIONAL
    _trust_only(context, ca)
    _identify(context, chain, key)
    return context


def client_context(ca: Path, chain: Path | None, key: Path | None) -> ssl.SSLContext:
    """The agent's context: only `ca` is trusted and the host name is checked.

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
    context.verify_flags |= ssl.VERIFY_X509_STRICT


def _trust_only(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise BadTlsFile(
            f"The CA certificate {ca} cannot be used ({_cause(error)}): "
            "it must be a PEM file that this user may read."
        ) from None


def _identify(context: ssl.SSLContext, chain: Path, key: Path) -> None:
    try:
        context.load_cert_chain(chain, key, password=_no_password)
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
