"""What follows from the settings: what is started, what may be seen and used of it, and whose word counts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from penstock import log
from penstock.names import WHOLE_SITE
from penstock_agent import state
from penstock_agent.callers.trust import Anyone
from penstock_agent.children.child import ChildSpec, ProcessSpec
from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.plan import LANDLOCK_MISSING, CannotConfine, Level
from penstock_agent.children.environment import BadEnvironment
from penstock_agent.children.units.spec import UnitSpec
from penstock_agent.config import Settings
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.pause import Paused
from penstock_agent.gate.view import Exposed
from penstock_agent.policy_settings import policy
from penstock_agent.problem import Exit, Problem
from penstock_agent.servers import redactors, spec, whole_site
from penstock_agent.site.spec import SiteSpec, SiteView

if TYPE_CHECKING:
    from penstock_agent.callers.callers import Callers

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Configured:
    """One reading of the settings, all of it usable: a mistake anywhere keeps the last one as it was."""

    settings: Settings
    specs: Mapping[str, ChildSpec]
    """Of the servers one by one."""
    callers: Callers | Anyone

    @classmethod
    def of(cls, settings: Settings, site: str) -> Self:
        """Makes the folders of the servers. Raises Problem."""
        configured = cls(settings, specs(settings), callers(settings, site))
        configured.gate(configured.specs)  # what it objects to is found now
        return configured

    def started(self, paused: Paused) -> Mapping[str, ChildSpec]:
        """What is started for each server, and for all together, without those that are stopped."""
        site = whole_site(self.settings.site, self.settings.servers, self.specs, paused.servers)
        return self.specs if site is None else {**self.specs, WHOLE_SITE: site}

    def gate(self, started: Mapping[str, ChildSpec]) -> Gate:
        """What of ``started`` callers may see and use."""
        servers = self.settings.servers
        exposed: dict[str, Exposed] = {name: Expose.parse(server.expose) for name, server in servers.items()}
        policies = {
            name: found
            for name, server in servers.items()
            if (found := policy(server.profile, server.rules)) is not None
        }
        taint = self.settings.taint.taint({name: one.sensitive for name, one in servers.items()})
        site = started.get(WHOLE_SITE)
        taken_out = redactors(servers, site)
        if not isinstance(site, SiteSpec):
            return Gate(exposed, taken_out, policies, None, taint)
        whole = exposed[WHOLE_SITE] = SiteView(site)
        return Gate(exposed, taken_out, policies, whole, taint)

    @property
    def offered(self) -> frozenset[str]:
        """Servers with nothing exposed are not even named to the relay."""
        return frozenset(name for name, server in self.settings.servers.items() if server.expose)

    @property
    def shared_by_all(self) -> frozenset[str]:
        """Servers of which one process serves all callers of 2026-07-28."""
        servers = self.settings.servers
        return frozenset(name for name, server in servers.items() if server.process_per == "server")

    @property
    def warm(self) -> Mapping[str, int]:
        """How many processes of a server wait for callers, where the file says so."""
        servers = self.settings.servers
        return {name: server.warm for name, server in servers.items() if server.warm is not None}

    def confined(self, server: str) -> tuple[str, str]:
        """Level and network of a server, in words; empty for one that is not a process of ours."""
        of = self.specs[server]
        return of.confinement.words(kernel.look()) if isinstance(of, ProcessSpec | UnitSpec) else ("", "")


def specs(settings: Settings) -> dict[str, ChildSpec]:
    """Of the servers one by one; makes their folders. Raises Problem."""
    try:
        found = {
            name: spec(settings.state_dir, name, server, os.environ, settings.private, settings.changing)
            for name, server in settings.servers.items()
        }
    except (BadEnvironment, CannotConfine) as error:
        raise Problem(str(error), Exit.USAGE) from None
    except OSError as error:
        raise Problem(
            f"The folders of the servers in {settings.state_dir} cannot be made: {error.strerror}.",
            Exit.USAGE,
        ) from None
    for name, each in found.items():
        less = isinstance(each, ProcessSpec) and each.confinement.level is Level.PROCESS
        if less and settings.servers[name].isolation is None:
            _log.warning("less_confined", server=name, isolation="process", why=LANDLOCK_MISSING)
    return found


def callers(settings: Settings, site: str) -> Callers | Anyone:
    """Whose word about callers counts. Raises Problem."""
    servers = [name for name, server in settings.servers.items() if server.trust == "caller"]
    caller = settings.caller
    if caller is None or not servers:
        return Anyone()
    # Loaded here: most sites have no use for it.
    from penstock_agent.callers.callers import Callers
    from penstock_agent.callers.challenge import Challenges
    from penstock_agent.callers.pinned import AtUrl, InFile
    from penstock_agent.callers.proof import Provider

    if caller.keys_file is not None:
        keys: InFile | AtUrl = InFile(caller.keys_file)
    else:
        url = caller.keys_url or ""
        keys = AtUrl(url, settings.proxy_for(url))
    key = state.challenge_key(settings.state_dir, caller.challenge_key_file)
    provider = Provider(caller.issuer, caller.audience, caller.max_life_s)
    return Callers(site, servers, Challenges(key, site), provider, keys)
