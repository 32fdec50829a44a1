"""A file of cases: what the rules are meant to say, compared with what they say. Pure.

.. code-block:: toml

    [[cases]]
    as = "alice@example.com"
    groups = ["finance"]
    server = "files"
    tool = "read_file"
    arguments = { path = "/srv/share/finance/2026.txt" }
    expect = "allowed"
    because = "finance reads"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from penstock.principal import Principal
from penstock_agent.gate.expose import BadPattern, Expose, Item, parse_pattern
from penstock_agent.gate.overrides import Overrides
from penstock_agent.gate.policy.explain import Explanation, explain, tainted
from penstock_agent.gate.policy.rules import Policy
from penstock_agent.gate.policy.taint import Taint
from penstock_agent.ledger.entries import Verdict

ISSUER: Final = "case"


class BadCases(ValueError):
    """The file cannot be used; the text says where and why."""


class Expected(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"
    APPROVAL = "approval"


_MEANS: Final = {
    Verdict.ALLOWED: Expected.ALLOWED,
    Verdict.DENIED: Expected.DENIED,
    Verdict.WAITING: Expected.APPROVAL,
}


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"who": "as"}):
    """One request that somebody might send."""

    who: str
    server: str
    tool: str
    """Or ``prompt:NAME``, ``resource:URI``."""
    expect: Expected
    groups: tuple[str, ...] = ()
    client: str = ""
    issuer: str = ""
    arguments: dict[str, object] = {}
    because: str = ""
    """What decides: a rule by its name, ``expose``, ``profile``, ``taint``, ``rules`` where none allows."""
    read_only: bool = True
    """Whether the server marks the tool so: it is not asked."""
    open_world: bool | None = None
    """Whether it marks it so; left out, it is what the site says of it, and True as in MCP where that says
    nothing.
    """
    tainted: bool = False
    """Whether something sensitive was read for them before."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    cases: list[Case]


class Outcome(msgspec.Struct, frozen=True):
    """One case, and what came of it. ``wrong``: in words; empty where it is as expected."""

    number: int
    case: Case
    found: Expected
    by: str
    wrong: str = ""


def somebody(who: str, groups: Sequence[str] = (), client: str = "", issuer: str = "") -> Principal:
    """Whom a name means: an address is subject and e-mail at once."""
    email = who if "@" in who else ""
    return Principal(issuer or ISSUER, who, email=email, groups=tuple(groups), client=client)


def item_of(text: str) -> tuple[Item, str]:
    """``NAME`` of a tool, or ``kind:NAME``. Raises BadCases."""
    try:
        pattern = parse_pattern(text)
    except BadPattern as e:
        raise BadCases(f"{text[:100]!r} {e}") from None
    return pattern.kind, pattern.glob


def read(text: str) -> list[Case]:
    """Raises BadCases."""
    try:
        return msgspec.convert(tomllib.loads(text), _File).cases
    except tomllib.TOMLDecodeError as e:
        raise BadCases(f"not valid TOML: {e}") from None
    except msgspec.ValidationError as e:
        raise BadCases(f"{e}. A case has as, server, tool, expect, and may have {_OPTIONAL}") from None


_OPTIONAL: Final = "groups, client, issuer, arguments, because, read_only, open_world, tainted"


def run(
    cases: Sequence[Case],
    servers: Mapping[str, tuple[Expose, Policy]],
    taint: Taint | None = None,
    overrides: Overrides = MappingProxyType({}),
) -> list[Outcome]:
    """``servers``: what each exposes, and its rules. ``overrides``: what the site says of their tools. Raises
    BadCases.
    """
    found = []
    for number, case in enumerate(cases, 1):
        if case.server not in servers:
            known = ", ".join(sorted(servers)) or "none"
            raise BadCases(f"case {number}: there is no server {case.server[:100]!r} (configured: {known})")
        exposed, policy = servers[case.server]
        item, name = item_of(case.tool)
        try:
            arguments = msgspec.json.encode(case.arguments)
        except (TypeError, ValueError, RecursionError):
            raise BadCases(f"case {number}: its arguments are not to be had in JSON") from None
        who = somebody(case.who, case.groups, case.client, case.issuer)
        marked = frozenset({name} if case.read_only else ())
        said = explain(exposed, policy, who, item, name, arguments, marked)
        if case.tainted:
            if taint is None:
                raise BadCases(f"case {number}: no server has anything sensitive, so tainted changes nothing")
            said = tainted(
                said, item, name, taint.approve, {name} if _contained(case, name, overrides) else ()
            )
        meant = _MEANS[said.verdict]
        found.append(Outcome(number, case, meant, said.by, _wrong(case, meant, said)))
    return found


def _contained(case: Case, name: str, overrides: Overrides) -> bool:
    """Whether the tool only reads, and reaches nothing beyond the site."""
    override = overrides.get(case.server, {}).get(name)
    said = {} if override is None else override.annotations
    reaches = said.get("openWorldHint") is not False if case.open_world is None else case.open_world
    return case.read_only and said.get("readOnlyHint") is not False and not reaches


def _wrong(case: Case, found: Expected, said: Explanation) -> str:
    if found is not case.expect:
        return f"expected {case.expect.value}, but it is {found.value}: {said.words}"
    if case.because and said.by not in (case.because, f'rule "{case.because}"'):
        return f'expected because of "{case.because}", but it is because of {said.by}: {said.words}'
    return ""
