"""Client certificates that a trusted proxy has seen, and says so in a header (RFC 9440). Pure.

The proxy has checked that the caller holds the key; whose certificate it is, is checked here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from penstock.http import Headers, every

MAX_VALUE: Final = 12_288
"""Characters of the header."""
MAX_KNOWN: Final = 64
"""Certificates whose check is remembered."""
AGAIN_S: Final = 300.0
"""For how long it is."""


class Certificates:
    """Those of one of `names` (DNS names) that a CA of `anchors` has issued. `clock`: since the epoch."""

    def __init__(
        self,
        anchors: Sequence[x509.Certificate],
        names: Collection[str],
        header: str,
        clock: Callable[[], float],
    ) -> None:
        self._anchors = Store(list(anchors))
        self._names = frozenset(names)
        self._header = header
        self._clock = clock
        self._good: dict[str, float] = {}  # header -> until when

    def allow(self, headers: Headers) -> bool:
        """Whether the proxy has seen a good one. Ask this of a proxy's headers only."""
        values = every(headers, self._header)
        if len(values) != 1 or len(values[0]) > MAX_VALUE:
            return False
        (value,), now = values, self._clock()
        if now < self._good.get(value, now):
            return True
        self._good.pop(value, None)
        until = self._judge(value, now)
        if until is None:
            return False
        if len(self._good) >= MAX_KNOWN:
            del self._good[next(iter(self._good))]
        self._good[value] = until
        return True

    def _judge(self, value: str, now: float) -> float | None:
        """Until when the certificate need not be checked again."""
        try:
            leaf = _certificate(value)
            at = datetime.fromtimestamp(now, UTC)
            verifier = PolicyBuilder().store(self._anchors).time(at).build_client_verifier()
            subjects = verifier.verify(leaf, []).subjects or []
        except (ValueError, VerificationError):
            return None
        found = {name.value for name in subjects if isinstance(name, x509.DNSName)}
        if self._names.isdisjoint(found):
            return None
        return min(now + AGAIN_S, leaf.not_valid_after_utc.timestamp())


def _certificate(value: str) -> x509.Certificate:
    """From `:BASE64:` (RFC 9440), or from percent-encoded PEM, as nginx writes it. Raises ValueError."""
    if len(value) > 2 and value.startswith(":") and value.endswith(":"):
        return x509.load_der_x509_certificate(base64.b64decode(value[1:-1], validate=True))
    return x509.load_pem_x509_certificate(unquote_to_bytes(value))
