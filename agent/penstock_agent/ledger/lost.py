"""Whether the end of a ledger that is no chain any more had been signed, and was lost after it was safe."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from penstock import ledgerhead
from penstock.ledgerhead import LedgerHead
from penstock_agent.ledger.segments import start_of

SURE_S: Final = 10.0
"""A head behind which the ledger went on for so many seconds was on the disk, and what it signs too; of
younger ones a loss of power may have left just the head.
"""


class _Head(msgspec.Struct, frozen=True):
    of: int
    hash: str
    at_ms: int
    signature: str


def signed(lines: Iterable[bytes], key: bytes) -> int:
    """The number of the last record that was signed and safe, as what is left of the ``lines`` says; 0: none.

    ``key``: the raw public key of the ledger.
    """
    heads: list[tuple[int, float]] = []
    latest = 0.0
    for line in lines:
        start = start_of(line)
        if start is None:
            continue
        try:
            latest = max(latest, datetime.fromisoformat(start[1].decode()).timestamp())
            if start[2] == "head" and (head := _head(line, key)) is not None:
                heads.append(head)
        except ValueError:
            continue
    return max((of for of, at in heads if latest - at >= SURE_S), default=0)


def _head(line: bytes, key: bytes) -> tuple[int, float] | None:
    """Of what record, and when; None for one that the ledger has not signed. Raises ValueError."""
    said = msgspec.json.decode(line, type=_Head)
    signature = base64.urlsafe_b64decode(said.signature + "==")
    head = LedgerHead(key, said.of, bytes.fromhex(said.hash), said.at_ms, signature)
    return (head.n, head.at_ms / 1000) if ledgerhead.verify(head) else None
