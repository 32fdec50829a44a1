"""What a remote server is, to whoever starts a conversation with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from penstock_agent.children.child import ChildSpec
from penstock_agent.remote.headers import Header

Transport = Literal["http", "sse"]
"""Streamable HTTP (2025-03-26 and later), or HTTP+SSE (2024-11-05)."""


@dataclass(frozen=True, slots=True)
class RemoteSpec(ChildSpec):
    """``url`` has been checked. ``ca_file``: PEM of who may have issued its certificate, None for the
    authorities that this machine trusts.
    """

    url: str
    transport: Transport = "http"
    headers: tuple[Header, ...] = ()
    ca_file: Path | None = None

    @property
    def is_process(self) -> bool:
        return False
