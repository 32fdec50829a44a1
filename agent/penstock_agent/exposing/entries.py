"""What ``expose`` and ``hide`` do to an expose list. Pure: lists in, lists out."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_agent.catalogue.offer import Catalogue, Effect, Offer
from penstock_agent.gate.expose import BadPattern, Expose, Pattern, parse_pattern
from penstock_agent.gate.expose import Item as Kind
from penstock_agent.problem import Exit, Problem


def add(current: Sequence[str], globs: Sequence[str], catalogue: Catalogue, *, force: bool) -> list[str]:
    """``current`` and the patterns ``globs``. A pattern that names nothing is refused unless ``force``."""
    patterns = [_parse(text) for text in globs]
    if not force:
        for text, pattern in zip(globs, patterns, strict=True):
            # Methods are not listed by any server, so nothing can be said about them.
            if pattern.kind is not Kind.METHOD and not any(
                pattern.matches(item.name) for item in catalogue.of(pattern.kind)
            ):
                raise _usage(
                    f"{text} matches no {pattern.kind.value} that {catalogue.server} offers now; "
                    "nothing was written. Correct it, or add --force to expose what may come."
                )
    return _merged(current, [str(pattern) for pattern in patterns])


def read_only(current: Sequence[str], catalogue: Catalogue) -> list[str]:
    """The tools that call themselves read-only, by name, in place of all tools; other kinds stay."""
    names = [f"tool:{item.name}" for item in catalogue.of(Kind.TOOL) if item.effect is Effect.READ]
    # A name with a wildcard in it would expose more than the tool that bears it.
    names = [name for name in names if not any(c in name for c in "*?")]
    if not names:
        raise _usage(
            f"No tool of {catalogue.server} says that it only reads; nothing was written. "
            f"Name tools one by one: penstock-agent expose {catalogue.server} NAME..."
        )
    return _merged([text for text in current if _parse(text).kind is not Kind.TOOL], names)


def everything(current: Sequence[str], catalogue: Catalogue) -> list[str]:
    """All tools, prompts and resources, today's and tomorrow's; entries of other kinds stay."""
    methods = [text for text in current if _parse(text).kind is Kind.METHOD]
    globs = {Kind.TOOL: "tool:*", Kind.PROMPT: "prompt:*", Kind.RESOURCE: "resource:**"}
    return _merged(methods, [glob for kind, glob in globs.items() if catalogue.of(kind)])


def remove(current: Sequence[str], globs: Sequence[str], server: str) -> list[str]:
    """``current`` without the entries that ``globs`` name or cover.

    Refused when a pattern removes nothing, or when a wider entry would go on exposing what it names.
    """
    left = list(current)
    for text in globs:
        pattern = _parse(text)
        removed = [entry for entry in left if _covers(pattern, _parse(entry))]
        left = [entry for entry in left if entry not in removed]
        wider = [entry for entry in left if _same_kind_matches(_parse(entry), pattern)]
        if wider:
            raise _usage(
                f"{text} would stay exposed through {', '.join(wider)}; nothing was written. "
                f"Hide that entry, then expose what shall remain: penstock-agent hide {server} '{wider[0]}'"
            )
        if not removed:
            entries = ", ".join(current) or "none"
            raise _usage(f"{text} is not exposed; nothing was written. The entries of {server}: {entries}.")
    return left


def shown(entries: Sequence[str], items: Sequence[Offer]) -> set[tuple[Kind, str]]:
    """Which of ``items`` the list ``entries`` exposes."""
    expose = Expose.parse(entries)
    return {(item.kind, item.name) for item in items if expose.shows(item.kind, item.name)}


def _covers(pattern: Pattern, entry: Pattern) -> bool:
    return entry.kind is pattern.kind and (entry.glob == pattern.glob or pattern.matches(entry.glob))


def _same_kind_matches(entry: Pattern, pattern: Pattern) -> bool:
    return entry.kind is pattern.kind and entry.matches(pattern.glob)


def _merged(current: Sequence[str], new: Sequence[str]) -> list[str]:
    # "read_*" and "tool:read_*" are one entry; what the operator wrote stays as it is.
    known = {str(_parse(text)) for text in current}
    return [*current, *(text for text in dict.fromkeys(new) if text not in known)]


def _parse(text: str) -> Pattern:
    try:
        return parse_pattern(text)
    except BadPattern as e:
        raise _usage(f"{text!r} {e}.") from None


def _usage(text: str) -> Problem:
    return Problem(text, Exit.USAGE)
