"""The certificate that the agent dials with: renewed while it runs, doubted when the relay refuses it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final

import msgspec

from penstock import log, tls
from penstock.refusal import REVOKED, SUPERSEDED, Refusal
from penstock_agent import control, state
from penstock_agent.config import Settings
from penstock_agent.control import Args, Peer
from penstock_agent.ledger.entries import Event
from penstock_agent.problem import Exit, Problem
from penstock_agent.renewal.renew import Renewed, renew
from penstock_agent.renewal.renewer import Renewer
from penstock_agent.renewal.verdict import Revoked, judge

HUNG_UP: Final = 3
"""Handshakes in a row that the relay ended without a word, before the certificate is doubted."""

_log = log.get(__name__)


class Certificate:
    """One per agent."""

    def __init__(
        self,
        joined: state.Joined,
        settings: Callable[[], Settings],
        use: Callable[[ssl.SSLContext], None],
        note: Callable[[Event], None],
    ) -> None:
        """``settings``: those in force. ``use``: how to dial from now on. ``note``: the ledger."""
        self.joined = joined
        self.renewer = Renewer(joined, self._renew_once, self._renewed)
        self._settings = settings
        self._use = use
        self._note = note
        self._hung_up = 0

    def taken(self) -> None:
        """The relay took it: there is a link."""
        self._hung_up = 0

    def turned_away(self, refused: Refusal | None) -> None:
        """The relay did not take the certificate."""
        if refused is None:
            # In TLS nobody says why. Something else may close connections too, so it takes several.
            self._hung_up += 1
            if self._hung_up >= HUNG_UP:
                self.renewer.doubt()
            return
        verdict = judge(refused, self.joined)
        if isinstance(verdict, Revoked):
            self.renewer.end(verdict)
        elif refused.reason == SUPERSEDED:
            self.renewer.doubt()
        elif refused.reason == REVOKED:
            _log.warning("revocation_not_believed", why=str(verdict))

    async def renew(self, peer: Peer, args: Args) -> Args:
        """The verb of the control socket."""
        _log.info("renewal_asked_for", by_uid=peer.uid)
        done = await self.renewer.now()
        return msgspec.to_builtins(  # type: ignore[no-any-return]  # a Struct becomes a dict
            control.Renewal(done.joined.expires.timestamp(), done.generation)
        )

    async def _renew_once(self) -> Renewed:
        settings = self._settings()
        return await renew(settings.state_dir, settings.proxy_for(self.joined.relay_url), settings.ca_file)

    def _renewed(self, joined: state.Joined) -> None:
        self.joined = joined
        self._use(context(self._settings(), joined))
        self._note(Event("certificate_renewed", about={"expires": f"{joined.expires:%Y-%m-%dT%H:%M:%SZ}"}))


def context(settings: Settings, joined: state.Joined) -> ssl.SSLContext:
    """How to dial with this certificate. Raises Problem."""
    try:
        return tls.client_context(
            settings.ca_file or joined.ca_file, joined.certificate_file, joined.key_file
        )
    except tls.BadTlsFile as error:
        raise Problem(str(error), Exit.USAGE) from None
