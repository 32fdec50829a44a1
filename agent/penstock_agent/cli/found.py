"""What ``import`` has found, for people and for programs: names of variables, never their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock_agent.cli.common import say
from penstock_agent.problem import printable

if TYPE_CHECKING:
    from penstock_agent.adding.convert import Proposal
    from penstock_agent.adding.documents import Entry
    from penstock_agent.adding.hosts import Source
    from penstock_agent.adding.tables import Value
    from penstock_agent.adding.trial import Trial
    from penstock_agent.config import Settings


@dataclass
class Candidate:
    """One server that was found."""

    proposal: Proposal
    source: Source
    entry: Entry
    inputs: Mapping[str, tuple[str, bool]] = field(repr=False)
    #: What it would be called here.
    name: str
    #: Why it is not offered, beside ``proposal.refused``.
    present: str = ""
    values: dict[str, Value] = field(default_factory=dict, repr=False)
    opened: list[str] = field(default_factory=list)
    trial: Trial | None = None

    @property
    def barred(self) -> str:
        return self.present or self.proposal.refused


def show(found: Sequence[Candidate], looked: Sequence[str], unread: Sequence[str]) -> None:
    for text in unread:
        say(f"not read: {printable(text, 400)}")
    if not found:
        say(
            "No servers were found"
            + (f" in {', '.join(looked)}." if looked else " of other hosts on this machine.")
        )
        say(
            "Name a file: penstock-agent import FILE, or a server: penstock-agent servers add NAME -- COMMAND"
        )
        return
    say(f"Found {len(found)} server{'s' if len(found) != 1 else ''}:")
    for number, each in enumerate(found, 1):
        proposal = each.proposal
        mark = "-" if each.barred else " " if proposal.disabled else "x"
        renamed = f" (there: {printable(proposal.original, 60)})" if each.name != proposal.original else ""
        say(f"  {number:2} [{mark}] {each.name}{renamed}: {printable(proposal.shown, 120)}")
        where = f"{each.source.host}, {each.source.path}" + (
            f", {each.entry.project}" if each.entry.project else ""
        )
        say(f"         from {printable(where, 200)}")
        if each.barred:
            say(f"         cannot be taken: {printable(each.barred, 400)}.")
            continue
        if proposal.disabled:
            say("         is switched off there")
        for need in _needs(proposal):
            say(f"         {printable(need, 400)}")


def _needs(proposal: Proposal) -> list[str]:
    """What it would get, and what it asks for: names, never values."""
    found = []
    if proposal.fetches:
        found.append(
            f"{proposal.fetches} fetches it from a registry at each start: servers prepare fixes that"
        )
    if variables := [name for name in proposal.env if name not in proposal.secret]:
        found.append(f"variables: {', '.join(variables)}")
    if proposal.headers:
        found.append(f"headers: {', '.join(proposal.headers)}")
    if proposal.secret:
        found.append(f"secrets, which go into files: {', '.join(sorted(proposal.secret))}")
    if proposal.read:
        found.append(f"may read: {', '.join(proposal.read)}")
    if proposal.asked:
        found.append(f"needs values for: {', '.join(each.name for each in proposal.asked)}")
    return [*found, *proposal.notes]


def tell(
    settings: Settings, taken: Sequence[Candidate], left: Sequence[Candidate], dry_run: bool, reloaded: bool
) -> None:
    from penstock_agent.adding import tables

    if taken:
        say("Would be written:" if dry_run else f"Written to {settings.config_file}:")
    for each in taken:
        say(f"  [servers.{each.name}]")
        for key, value in _without_values(each).items():
            mark = f"   # {tables.MARK}" if key in each.opened else ""
            for line in f"{key} = {tables.written(value)}{mark}".splitlines():
                say(f"  {printable(line, 300)}")
    for each in left:
        say(f"NOT taken: {each.name}: {printable(each.barred, 500)}.")
    if not taken:
        say("Nothing was changed.")
        return
    hosted = [each.name for each in taken if "network" in each.opened]
    if hosted:
        say(
            f"ATTENTION: the whole network of this machine is open to {', '.join(hosted)}: they do not start "
            "without it."
        )
    if dry_run:
        return
    if reloaded:
        say("The running agent has read it.")
    if any(each.opened for each in taken):
        say("config check lists the lines marked above until: penstock-agent servers accept NAME")
    for each in taken:
        if each.proposal.fetches:
            say(f"Fix it to a version, without the network: penstock-agent servers prepare {each.name}")
    say(f"Nothing is exposed yet. Next: penstock-agent expose {taken[0].name} --read-only")


def _without_values(each: Candidate) -> dict[str, Value]:
    """The table as it may be shown: no values of variables, nothing that looks like a secret."""
    shown: dict[str, Value] = dict(each.values)
    for key in ("env", "headers"):
        given = each.values.get(key)
        if isinstance(given, Mapping):
            shown[key] = {
                name: value if name in each.proposal.secret else "…" for name, value in given.items()
            }
    if "command" in shown:
        shown["command"] = each.proposal.words
    if "url" in shown:
        shown["url"] = each.proposal.shown
    return shown


def as_json(each: Candidate) -> dict[str, object]:
    from penstock_agent.cli import trying

    proposal = each.proposal
    return {
        "name": each.name,
        "original": proposal.original,
        "host": each.source.host,
        "file": str(each.source.path),
        "project": each.entry.project or None,
        "command": proposal.words,
        "url": proposal.shown if proposal.url else None,
        "env": sorted(proposal.env),
        "headers": sorted(proposal.headers),
        "secrets": sorted(proposal.secret),
        "read": list(proposal.read),
        "asked": [asked.name for asked in proposal.asked],
        "disabled": proposal.disabled,
        "refused": each.barred or None,
        "notes": list(proposal.notes),
        "opened": each.opened,
        "test": each.trial and trying.as_json(each.trial),
    }
