"""Who calls: the claims that the relay has verified and the agent judges by."""

from dataclasses import asdict, dataclass

import msgspec

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

    def __post_init__(self) -> None:
        if not self.issuer or not self.subject:
            raise ValueError("A principal needs an issuer and a subject.")

    def dump(self) -> bytes:
        """The claims as canonical JSON: sorted keys, no spaces, UTF-8; equal principals, equal bytes.

        Raises ValueError above MAX_CLAIMS_BYTES and for text that UTF-8 cannot carry.
        """
        data = msgspec.json.encode(asdict(self), order="sorted")
        if len(data) > MAX_CLAIMS_BYTES:
            raise ValueError("The claims of this principal are too large: put the user into fewer groups.")
        return data

    @classmethod
    def parse(cls, data: bytes) -> "Principal":
        """Read claims; members that this version does not know are ignored. Raises ValueError."""
        if len(data) > MAX_CLAIMS_BYTES:
            raise ValueError("The claims of this principal are too large.")
        try:
            return _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            # msgspec's own texts may name what the peer wrote; this one never does.
            raise ValueError("The claims of this principal cannot be read.") from None

    @property
    def identity(self) -> tuple[str, str, str]:
        """Issuer, subject, client: what a session is bound to."""
        return (self.issuer, self.subject, self.client)


_decoder = msgspec.json.Decoder(Principal)
