"""Which links lead to which servers. Pure: the only place that decides where a call goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.names import AgentId

SETTLE: Final = 10.0
"""Seconds for which a lost agent is expected back: calls for it wait so long before it counts as offline."""
SETTLING: Final = 4096
"""Lost agents that are remembered; above it the oldest are forgotten."""


@dataclass(slots=True)
class Entry:
    """One link, as far as routing cares."""

    number: int
    agent: AgentId
    servers: frozenset[str]
    draining: bool = False


@dataclass(frozen=True, slots=True)
class _Lost:
    servers: frozenset[str]
    at: float


class Registry:
    """Links by site. Times are `now` of the caller, wall-clock ones are passed beside it."""

    def __init__(self) -> None:
        self._links: dict[int, Entry] = {}
        self._sites: dict[str, list[Entry]] = {}
        self._lost: dict[AgentId, _Lost] = {}
        self._offline_since: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._links)

    def add(self, entry: Entry) -> None:
        """A link that was greeted; it is the newest of its site."""
        self._links[entry.number] = entry
        self._sites.setdefault(entry.agent.site, []).append(entry)
        if not entry.draining:
            self._lost.pop(entry.agent, None)

    def offer(self, number: int, servers: frozenset[str]) -> None:
        """The agent of this link changed what it offers."""
        if entry := self._links.get(number):
            entry.servers = servers

    def drain(self, number: int, now: float) -> None:
        """No call may take this link any more. Its agent is expected back as if the link were lost."""
        if entry := self._links.get(number):
            entry.draining = True
            self._settle(entry, now)

    def remove(self, number: int, now: float, wall: float) -> None:
        """The link is gone."""
        entry = self._links.pop(number, None)
        if entry is None:
            return
        links = self._sites[entry.agent.site]
        links.remove(entry)
        if not links:
            del self._sites[entry.agent.site]
            self._offline_since[entry.agent.site] = wall
        self._settle(entry, now)

    def _settle(self, lost: Entry, now: float) -> None:
        """Expects the agent of a link back, unless it has another one."""
        links = self._sites.get(lost.agent.site, ())
        if any(other.agent == lost.agent and not other.draining for other in links):
            return
        self._lost.pop(lost.agent, None)
        self._lost[lost.agent] = _Lost(lost.servers, now)
        while len(self._lost) > SETTLING:
            del self._lost[next(iter(self._lost))]

    def pick(self, site: str, server: str, tag: str | None) -> Entry | None:
        """The link for a call: that of the agent with `tag` where there is one, else the newest."""
        usable = [
            e for e in self._sites.get(site, ()) if not e.draining and (not server or server in e.servers)
        ]
        if tag is not None:
            for entry in reversed(usable):
                if entry.agent.tag == tag:
                    return entry
        return usable[-1] if usable else None

    def expected(self, site: str, server: str, tag: str | None, now: float) -> float:
        """Seconds worth waiting for a lost agent that would serve the call better than `pick` says."""
        for agent in [agent for agent, lost in self._lost.items() if lost.at + SETTLE <= now]:
            del self._lost[agent]
        return max(
            (
                lost.at + SETTLE - now
                for agent, lost in self._lost.items()
                if agent.site == site
                and (not server or server in lost.servers)
                and (tag is None or agent.tag == tag)
            ),
            default=0.0,
        )

    def lacks(self, site: str, server: str, now: float) -> bool:
        """Whether the site is linked and no agent of it, nor one lost a moment ago, offers `server`."""
        links = self._sites.get(site)
        if not links or any(server in entry.servers for entry in links):
            return False
        return not self.expected(site, server, None, now)

    def servers(self, site: str) -> frozenset[str]:
        """What the agents of the site offer now."""
        return frozenset().union(*(e.servers for e in self._sites.get(site, ()) if not e.draining))

    def linked(self, site: str) -> bool:
        """Whether any agent of the site is linked."""
        return site in self._sites

    def offline_since(self, site: str) -> float | None:
        """When the site lost its last link (wall clock); None when it had none in this life of the relay."""
        return self._offline_since.get(site)
