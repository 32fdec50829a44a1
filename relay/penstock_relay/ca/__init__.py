"""The private CA: keys and certificates, and how one CA follows another."""

from penstock_relay.ca.authority import CertificateAuthority
from penstock_relay.ca.certificates import AGENT_VALIDITY, TUNNEL_VALIDITY, BadCsr, parse_csr, serial_text
from penstock_relay.ca.keys import CaError
from penstock_relay.ca.source import Source
from penstock_relay.ca.tunnel import TunnelFiles

__all__ = [
    "AGENT_VALIDITY",
    "TUNNEL_VALIDITY",
    "BadCsr",
    "CaError",
    "CertificateAuthority",
    "Source",
    "TunnelFiles",
    "parse_csr",
    "serial_text",
]
