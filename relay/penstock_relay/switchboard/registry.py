"""Which links lead to which servers. Pure: the only place that decides where a call goes.

A call that names its agent goes to that one. Every other goes to the agent that a hash of site, server and
caller finds among those that offer the server (rendezvous hashing). So all calls of a caller go to the same
one, on any replica and after any restart, and what the agent keeps of the caller is found again; and when an
agent comes or goes, only those callers move whose own it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, TypeAlias

from penstock.names import WHOLE_SITE, AgentId

SETTLE: Final = 10.0
"""Seconds for which a lost agent is expected back: calls for it wait so long before it counts as offline."""
SETTLING: Final = 4096
"""Lost agents that are remembered; above it the oldest are forgotten."""
CHOICES: Final = 16_384
"""Callers whose agent is remembered, of all sites; above it all are forgotten and found again."""

Caller: TypeAlias = tuple[str, str, str]
"""Issuer, subject and client (`Principal.identity`)."""


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


@dataclass(frozen=True, slots=True, eq=False)
class _Route:
    """Where calls for one server of a site may go, until a link of the site changes."""

    entries: tuple[Entry, ...]
    """Of each agent that a call without a tag may go to, the newest link."""
    tagged: Mapping[str, Entry]
    """Of each agent that has the server at all, by its tag."""


@dataclass(slots=True)
class _Site:
    links: list[Entry] = field(default_factory=list)
    routes: dict[str, _Route] = field(default_factory=dict)
    """By server, as far as they were asked for. Only of servers that there are: callers name any."""

    def route(self, server: str) -> _Route | None:
        """None where no agent has the server."""
        found = self.routes.get(server)
        if found is None:
            newest: dict[AgentId, Entry] = {}
            for entry in self.links:
                if not entry.draining and _offers(entry.servers, server):
                    newest[entry.agent] = entry
            if not newest:
                return None
            entries = tuple(newest.values())
            if server == WHOLE_SITE:
                # One agent answers for the whole site, so rather one that has servers to put together.
                entries = tuple(entry for entry in entries if len(entry.servers) >= 2) or entries
            found = self.routes[server] = _Route(entries, {e.agent.tag: e for e in newest.values()})
        return found


class Registry:
    """Links by site. Times are `now` of the caller, wall-clock ones are passed beside it."""

    def __init__(self) -> None:
        self._links: dict[int, Entry] = {}
        self._sites: dict[str, _Site] = {}
        self._choices: dict[tuple[str, str, Caller], tuple[_Route, Entry]] = {}
        self._lost: dict[AgentId, _Lost] = {}
        self._offline_since: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._links)

    def add(self, entry: Entry) -> None:
        """A link that was greeted; it is the newest of its site."""
        self._links[entry.number] = entry
        site = self._sites.setdefault(entry.agent.site, _Site())
        site.links.append(entry)
        site.routes.clear()
        if not entry.draining:
            self._lost.pop(entry.agent, None)

    def offer(self, number: int, servers: frozenset[str]) -> None:
        """The agent of this link changed what it offers."""
        if entry := self._links.get(number):
            entry.servers = servers
            self._sites[entry.agent.site].routes.clear()

    def drain(self, number: int, now: float) -> None:
        """No call may take this link any more. Its agent is expected back as if the link were lost."""
        if entry := self._links.get(number):
            entry.draining = True
            self._sites[entry.agent.site].routes.clear()
            self._settle(entry, now)

    def remove(self, number: int, now: float, wall: float) -> None:
        """The link is gone."""
        entry = self._links.pop(number, None)
        if entry is None:
            return
        site = self._sites[entry.agent.site]
        site.links.remove(entry)
        site.routes.clear()
        if not site.links:
            del self._sites[entry.agent.site]
            self._offline_since[entry.agent.site] = wall
        self._settle(entry, now)

    def _settle(self, lost: Entry, now: float) -> None:
        """Expects the agent of a link back, unless it has another one."""
        site = self._sites.get(lost.agent.site)
        if site and any(other.agent == lost.agent and not other.draining for other in site.links):
            return
        self._lost.pop(lost.agent, None)
        self._lost[lost.agent] = _Lost(lost.servers, now)
        while len(self._lost) > SETTLING:
            del self._lost[next(iter(self._lost))]

    def pick(self, site: str, server: str, tag: str | None, caller: Caller = ("", "", "")) -> Entry | None:
        """The link for a call: of the agent with `tag` where there is one, else of the caller's; its newest.

        A caller whose agent has no link is another agent's until that one is back, and does not wait for it.
        """
        here = self._sites.get(site)
        route = None if here is None else here.route(server)
        if route is None:
            return None
        if tag is not None and tag in route.tagged:
            return route.tagged[tag]
        if len(route.entries) == 1:
            return route.entries[0]
        about = (site, server, caller)
        known = self._choices.get(about)
        if known is not None and known[0] is route:
            return known[1]
        chosen = _rendezvous(route.entries, about)
        if len(self._choices) >= CHOICES:
            self._choices.clear()
        self._choices[about] = (route, chosen)
        return chosen

    def expected(self, site: str, server: str, tag: str | None, now: float) -> float:
        """Seconds worth waiting for a lost agent, where `pick` found no link of the agent with `tag`; without
        a tag, where it found none at all.

        What only the agent with the tag can do, a session above all, is worth waiting for it. That it is the
        caller's own agent by the hash is not: a site has several so that one can be away.
        """
        for agent in [agent for agent, lost in self._lost.items() if lost.at + SETTLE <= now]:
            del self._lost[agent]
        return max(
            (
                lost.at + SETTLE - now
                for agent, lost in self._lost.items()
                if agent.site == site and _offers(lost.servers, server) and (tag is None or agent.tag == tag)
            ),
            default=0.0,
        )

    def lacks(self, site: str, server: str, now: float) -> bool:
        """Whether the site is linked and no agent of it, nor one lost a moment ago, offers `server`.

        The whole site is there as soon as one of its agents is, whatever that offers.
        """
        here = self._sites.get(site)
        if here is None or any(_offers(entry.servers, server) for entry in here.links):
            return False
        return not self.expected(site, server, None, now)

    def servers(self, site: str) -> frozenset[str]:
        """What the agents of the site offer now."""
        here = self._sites.get(site)
        if here is None:
            return frozenset()
        return frozenset().union(*(entry.servers for entry in here.links if not entry.draining))

    def linked(self, site: str) -> bool:
        """Whether any agent of the site is linked."""
        return site in self._sites

    def offline_since(self, site: str) -> float | None:
        """When the site lost its last link (wall clock); None when it had none in this life of the relay."""
        return self._offline_since.get(site)


def _offers(servers: frozenset[str], server: str) -> bool:
    """Whether who has `servers` may be asked for `server`, which may be the whole site."""
    return server == WHOLE_SITE or server in servers


def _rendezvous(entries: tuple[Entry, ...], about: tuple[str, str, Caller]) -> Entry:
    """The one whose agent, hashed together with `about`, gives the most."""
    site, server, caller = about
    # Not hash(), which is another in every process.
    parts = [part.encode("utf-8", "surrogatepass") for part in (site, server, *caller)]
    lengths = b"".join(len(part).to_bytes(4, "big") for part in parts)
    asked = blake2b(lengths + b"".join(parts), digest_size=16).digest()

    def score(entry: Entry) -> tuple[bytes, str]:
        name = entry.agent.agent
        return blake2b(asked + name.encode(), digest_size=8).digest(), name

    return max(entries, key=score)
