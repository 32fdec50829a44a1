"""Keeps a running relay with its CA: what commands, replaced files and the passing of time change."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from penstock import log
from penstock.tls import BadTlsFile, LiveContext, server_context
from penstock_relay.ca.authority import CertificateAuthority
from penstock_relay.ca.keys import Busy, CaError
from penstock_relay.ca.rotation import Fleet, Phase, due
from penstock_relay.ca.tunnel import part_left
from penstock_relay.sealed import SealError

LOOK_S: Final = 1.0
"""How often record and files are looked at: a step that a command takes shows within this time."""
PROGRESS_EVERY: Final = 15
"""Looks between two questions to the store whether a rotation may go on."""
TUNNEL_EVERY: Final = 3600
"""Looks between two checks how much of the tunnel certificate's life is left."""
ENDS_SOON: Final = 0.1
"""Part of its own life below which the CA's end is spoken of."""

_RENEW: Final = "Run penstock-relay ca rotate, or renew the CA where it comes from."

_log = log.get(__name__)


class Following:
    """One per replica. ``context`` is for the tunnel listener; it changes while the listener runs."""

    def __init__(
        self,
        ca: CertificateAuthority,
        fleet: Callable[[float], Awaitable[Fleet]],
        host: str,
        now: float,
        shows: Callable[[Path], None] = lambda chain: None,
    ) -> None:
        """``fleet`` says who depends on the CA now; ``host`` is the name that agents dial.

        ``shows`` is told of the file whose certificate is shown. Raises CaError, BadTlsFile.
        """
        self._ca = ca
        self._fleet = fleet
        self._host = host
        self._shows = shows
        self._looks = 0
        self._trouble = ""
        if ca.shows_stranger():
            _log.warning(
                "tunnel_certificate_is_of_another_ca",
                hint="If an older state_dir was restored: agents that know only the newer CA must join anew.",
            )
        self.context = LiveContext(self._made(now))

    async def run(self) -> NoReturn:
        """Looks for ever. A TaskGroup owns it. What goes wrong is logged, and everything stays as it is."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look(time.time())
            except (CaError, SealError, BadTlsFile, SQLAlchemyError, OSError) as error:
                # The driver's text may hold a statement; ours are sentences.
                words = str(error) if isinstance(error, CaError | SealError | BadTlsFile) else ""
                trouble = f"{type(error).__name__} {words}"
                if trouble != self._trouble:
                    _log.error("ca_not_followed", cause=type(error).__name__, why=words)
                self._trouble = trouble
            else:
                self._trouble = ""

    async def look(self, now: float) -> None:
        """Looks once. Raises CaError, SealError, BadTlsFile, SQLAlchemyError, OSError."""
        looks, self._looks = self._looks, self._looks + 1
        with suppress(Busy):  # the next look is soon
            self._follow(now, looks)
        if looks % PROGRESS_EVERY == 0:
            with suppress(Busy):
                await self._progress(now)

    def _follow(self, now: float, looks: int) -> None:
        before = self._ca.record.phase
        if self._ca.refresh(now):
            self._reload(now, before)
        elif looks % TUNNEL_EVERY == 0:
            self.context.use(self._made(now))
            current = self._ca.record.current.certificate
            if part_left(current, now) < ENDS_SOON:
                _log.warning("ca_ends", on=f"{current.not_valid_after_utc:%Y-%m-%d}", hint=_RENEW)

    async def _progress(self, now: float) -> None:
        progress = self._ca.record.progress
        if progress.phase is Phase.STEADY or not due(progress, await self._fleet(now), now):
            return
        self._ca.advance(progress.phase, now, patience=0)
        self._reload(now, progress.phase)

    def _reload(self, now: float, before: Phase) -> None:
        self.context.use(self._made(now))
        record = self._ca.record
        if record.phase is not before:
            _log.info(
                "ca_phase", phase=record.phase.value, was=before.value, pin=record.current.pin.hex()[:8]
            )
        else:
            _log.info("ca_read_again", phase=record.phase.value, pin=record.current.pin.hex()[:8])

    def _made(self, now: float) -> ssl.SSLContext:
        found = self._ca.tunnel_files(self._host, now)
        context = server_context(found.chain, found.key, found.ca, found.password)
        self._shows(found.chain)
        return context
