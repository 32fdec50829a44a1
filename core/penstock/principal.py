"""Who calls: the claims that the relay has verified and the agent judges by."""

from dataclasses import asdict, dataclass, replace

import msgspec

from penstock.allowance import Allowance

MAX_CLAIMS_BYTES = 48 * 1024
"""Largest encoded principal: what a PRINCIPAL frame carries."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Raises ValueError without issuer or subject: half an identity must not match another half."""

    issuer: str
    subject: str
    name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()
    client: str = ""
    allowance: Allowance | None = None
    """What of the server this caller may use at most; None: all that the site exposes. Travels by itself."""
    proof: bytes = b""
    """What the company's provider signed about the grant (``penstock.voucher``). Travels by itself."""

    def __post_init__(self) -> None:
        if not self.issuer or not self.subject:
            raise ValueError("A principal needs an issuer and a subject.")

    def dump(self) -> bytes:
        """The claims as canonical JSON: sorted keys, no spaces, UTF-8; equal principals, equal bytes.

        Raises ValueError above MAX_CLAIMS_BYTES and for text that UTF-8 cannot carry.
        """
        claims = asdict(replace(self, allowance=None))
        del claims["allowance"], claims["proof"]
        data = msgspec.json.encode(claims, order="sorted")
        if len(data) > MAX_CLAIMS_BYTES:
            raise ValueError("The claims of this principal are too large: put the user into fewer groups.")
        return data

    @classmethod
    def parse(cls, data: bytes, grant: bytes = b"", proof: bytes = b"") -> "Principal":
        """Read claims, and beside them the grant, empty when it allows everything. Raises ValueError.

        Members of the claims that this version does not know are ignored.
        """
        if len(data) > MAX_CLAIMS_BYTES:
            raise ValueError("The claims of this principal are too large.")
        allowance = Allowance.parse(grant) if grant else None
        try:
            return replace(_decoder.decode(data), allowance=allowance, proof=proof)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            # msgspec's own texts may name what the peer wrote; this one never does.
            raise ValueError("The claims of this principal cannot be read.") from None

    def dump_grant(self) -> bytes:
        """What `parse` takes as the grant. Raises ValueError when it is too large."""
        return b"" if self.allowance is None else self.allowance.dump()

    @property
    def identity(self) -> tuple[str, str, str]:
        """Issuer, subject, client: what a session is bound to."""
        return (self.issuer, self.subject, self.client)


_decoder = msgspec.json.Decoder(Principal)
