"""How the agent is: in one line for its unit, in counts for the relay, and in full for its administrator."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from penstock import __version__
from penstock.tunnel.frames import Notice
from penstock_agent import control
from penstock_agent.approvals import Desk
from penstock_agent.capture.capture import Capture
from penstock_agent.children.pool import Children
from penstock_agent.control import Args, Peer
from penstock_agent.daemon.certificate import Certificate
from penstock_agent.daemon.inforce import InForce
from penstock_agent.daemon.stopbutton import StopButton
from penstock_agent.dialer.dialer import Dialer, Target
from penstock_agent.dialer.notices import notice_of
from penstock_agent.ledger.writer import Writer
from penstock_agent.servers import Servers, members
from penstock_agent.withholding import Withholding


@dataclass(frozen=True, slots=True)
class Overview:
    """The parts of one agent, to be looked at."""

    target: Target
    in_force: InForce
    children: Children
    servers: Servers
    stop_button: StopButton
    withholding: Withholding
    desk: Desk
    ledger: Writer
    capture: Capture | None
    dialer: Dialer
    certificate: Certificate
    exchanges: Callable[[], int]
    """How many are open."""

    @property
    def line(self) -> str:
        link, problem = self.dialer.status, self.ledger.status().problem
        failing = f"THE LEDGER CANNOT BE WRITTEN ({problem}), new calls are refused" if problem else ""
        linked = f"linked to {self.target.url}" if link.linked else link.problem
        waiting = self.desk.approving.waiting
        asked = f"{waiting} calls wait for approval (penstock-agent approvals list)" if waiting else ""
        why = self.capture.problem if self.capture is not None else ""
        uncaptured = f"NOTHING IS CAPTURED ({why})" if why else ""
        parts = (failing, uncaptured, linked, asked, self.withholding.summary)
        return "; ".join(part for part in parts if part)

    @property
    def notice(self) -> Notice:
        """What the relay is told of it."""
        return notice_of(
            self.withholding.count,
            self.desk.approving.waiting,
            ledger_failing=self.ledger.refuses is not None,
            paused=bool(self.stop_button.paused.entries),
        )

    async def status(self, peer: Peer, args: Args) -> Args:
        """The verb of the control socket."""
        link = self.dialer.status
        running, warm = self.servers.running(), self.servers.warm()
        configured = self.in_force.configured
        answer = control.Status(
            version=__version__,
            pid=os.getpid(),
            site=self.target.agent.site,
            agent=self.target.agent.agent,
            relay_url=self.target.url,
            linked=link.linked,
            since=link.since,
            public_url=link.public_url,
            replica=link.replica,
            problem=link.problem,
            children=len(self.children),
            warm=sum(warm.values()),
            max_children=self.children.max_children,
            exchanges=self.exchanges(),
            certificate_expires=self.certificate.joined.expires.timestamp(),
            renews_at=self.certificate.renewer.next_at,
            renewal_problem=self.certificate.renewer.problem,
            servers=[
                control.ServerStatus(
                    name,
                    running.get(name, 0),
                    warm.get(name, 0),
                    list(server.expose),
                    *configured.confined(name),
                )
                for name, server in configured.settings.servers.items()
            ],
            whole_site=members(configured.settings.servers),
            paused=list(self.stop_button.paused.entries),
            withheld={name: sorted(found) for name, found in self.withholding.withheld.items()},
            not_read=self.withholding.definitions.broken(),
            ledger=self.ledger.status(),
        )
        return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a Struct becomes a dict
