"""Why the relay could not be reached, in words: one place for the dialer, enrolment and every command."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
)

from penstock_agent.dialer.proxy import redact

# OpenSSL's X509_V_ERR_*: names are not in the ssl module.
_HOST_MISMATCH = frozenset({62, 64})
_NOT_YET_OR_NO_LONGER_VALID = frozenset({9, 10})


class ProxyRefused(OSError):
    """The CONNECT proxy answered with ``status`` instead of opening the connection; 0: not with HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"proxy answered {status}")
        self.status = status


def is_foreign_certificate(error: BaseException) -> bool:
    """Whether TLS failed because the peer's certificate is not from the relay's CA."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code not in (
        _HOST_MISMATCH | _NOT_YET_OR_NO_LONGER_VALID
    )


def explain(error: BaseException, url: str, proxy: str | None) -> str:
    """One or two sentences: what failed on the way to ``url`` (``wss://host:port``), and what to try next."""
    parts = urlsplit(url)
    place = parts.netloc
    via = f" through the proxy {redact(proxy)}" if proxy else ""
    match error:
        case InvalidProxyStatus():
            return _proxy_status(error.response.status_code, place, proxy)
        case ProxyRefused(status=status) if status:
            return _proxy_status(status, place, proxy)
        case ProxyRefused() | InvalidProxyMessage():
            where = redact(proxy or "")
            return f"The proxy {where} does not answer like an HTTP proxy. Check its host and port."
        case ssl.SSLCertVerificationError(verify_code=code) if code in _HOST_MISMATCH:
            return (
                f"The relay's certificate is not for the name {parts.hostname}. Use the address that the "
                "certificate names, or let the relay's operator set tunnel_url to this one."
            )
        case ssl.SSLCertVerificationError(verify_code=code) if code in _NOT_YET_OR_NO_LONGER_VALID:
            return (
                f"The certificate of {place} is not valid at this machine's time ({error.verify_message}). "
                "Check the clock here (timedatectl) and the relay's certificate."
            )
        case ssl.SSLCertVerificationError():
            return (
                f"What answers on {place}{via} does not hold a certificate of the relay's own CA "
                f"({error.verify_message}). Likely cause: TLS inspection between this machine and the relay, "
                f"or a load balancer that ends TLS. Exempt {place} from inspection; pass TCP through."
            )
        case ssl.SSLError():
            reason = (getattr(error, "reason", None) or "TLS error").lower().replace("_", " ")
            return (
                f"No TLS 1.3 with {place}{via} ({reason}). Likely cause: the address is not the relay's "
                "tunnel listener, or something between ends TLS."
            )
        case InvalidStatus() if error.response.status_code == 403:
            return (
                f"The relay at {place} does not accept this agent's certificate (403). "
                "It is asked again every 5 to 15 minutes. "
                "If it was set up anew, get a join string from its operator and join again."
            )
        case InvalidStatus():
            return (
                f"{place} answered HTTP {error.response.status_code} instead of a websocket. Likely cause: "
                "the address is not the relay's tunnel listener."
            )
        case InvalidMessage():
            return (
                f"{place} closed the connection during the handshake{via}. Likely cause: the relay does not "
                "know this agent's certificate, or the address is not the relay's tunnel listener."
            )
        case InvalidHandshake():
            return (
                f"{place} does not speak this version of the protocol. Update the older of agent and relay."
            )
        case ConnectionClosed() | EOFError():
            return (
                f"{place} closed the connection{via} before it answered. Try again; the relay's log says why."
            )
        case TimeoutError():
            return (
                f"{place} did not answer in time{via}. Check that a firewall lets this machine connect to it."
            )
        case socket.gaierror():
            name = urlsplit(proxy).hostname if proxy else parts.hostname
            return f"The name {name} cannot be resolved. Check the name and this machine's DNS."
        case OSError():
            target = f"the proxy {redact(proxy)}" if proxy else place
            reason = error.strerror or type(error).__name__
            return f"No connection to {target} ({reason}). Check that it runs and no firewall is in between."
        case _:
            return f"The connection to {place} failed ({type(error).__name__})."


def _proxy_status(status: int, place: str, proxy: str | None) -> str:
    where = redact(proxy or "")
    if status == 407:
        return (
            f"The proxy {where} wants a user name and password (407). Set proxy = "
            '"http://user:password@host:port" in agent.toml, or HTTPS_PROXY.'
        )
    if status == 403:
        return f"The proxy {where} does not allow {place} (403). Ask its operator to allow CONNECT to it."
    return f"The proxy {where} could not open a connection to {place} (status {status})."
