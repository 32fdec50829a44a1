"""Expose lists: which items of a server callers may see and use. Nothing without an entry.

An entry is ``kind:glob``; a glob without a kind names tools. Every comparison is exact in case and
characters. In all globs ``*`` is a wildcard; in ``tool:``, ``prompt:`` and ``method:`` globs it stands for
any characters, and ``?`` for one. In ``resource:`` globs ``*`` stays within one segment (it crosses none of
``/ ? #``), ``**`` crosses segments, and ``?`` is the question mark that URIs have.

A URI can be written so that a server reads another resource than its text shows. Such URIs (see
:func:`is_plain`) are never matched by a wildcard: an entry has to spell them out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote

#: Longer names and URIs are never matched by a wildcard: keeps the cost of one comparison bounded.
MAX_MATCHED = 2048
MAX_PATTERN = 1024


class BadPattern(ValueError):
    """An entry of an expose list that means nothing; the text says how to write it."""


class Item(Enum):
    """What an entry can name."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"
    METHOD = "method"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of an expose list."""

    kind: Item
    glob: str
    _regex: re.Pattern[str] | None = field(repr=False, compare=False)

    def matches(self, text: str) -> bool:
        """Whether this entry names ``text``: a name, a URI or a URI template."""
        if self._regex is None:
            return text == self.glob
        if len(text) > MAX_MATCHED or self._regex.match(text) is None:
            return False
        return self.kind is not Item.RESOURCE or is_plain(text)

    def touches(self, text: str) -> bool:
        """Whether it may name the same as ``text``, however that is spelled: for what takes away. A server
        reads ``%C3%BC``, ``%c3%bc`` and ``ü`` as one, and few of them look at what follows a ``#``.
        """
        if self.matches(text):
            return True
        if self.kind is not Item.RESOURCE or len(text) > MAX_MATCHED:
            return False  # nothing allows what is longer: no wildcard, and no entry has room for it
        glob = _folded(self.glob)
        regex = _folded_regex(glob)
        spellings = _spellings(text)
        return any(text == glob if regex is None else regex.match(text) is not None for text in spellings)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.glob}"


def parse_pattern(text: str) -> Pattern:
    """Read one entry. Raises :exc:`BadPattern`."""
    if len(text) > MAX_PATTERN:
        raise BadPattern(f"is longer than {MAX_PATTERN} characters")
    word, colon, rest = text.partition(":")
    if not colon:
        kind, glob = Item.TOOL, text
    else:
        try:
            kind, glob = Item(word), rest
        except ValueError:
            kinds = ", ".join(f"{k.value}:" for k in Item)
            raise BadPattern(
                f"starts with no known kind ({kinds}); a tool with a colon in its name is written tool:NAME"
            ) from None
    if not glob:
        raise BadPattern(f"names nothing; write {kind.value}:NAME, or {kind.value}:* for all")
    return Pattern(kind, glob, _compile(kind, glob))


@dataclass(frozen=True, slots=True)
class Expose:
    """The expose list of one server."""

    tools: tuple[Pattern, ...] = ()
    prompts: tuple[Pattern, ...] = ()
    resources: tuple[Pattern, ...] = ()
    methods: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Expose:
        """Raises :exc:`BadPattern`."""
        by_kind: dict[Item, list[Pattern]] = {kind: [] for kind in Item}
        for entry in entries:
            pattern = parse_pattern(entry)
            by_kind[pattern.kind].append(pattern)
        return cls(
            tools=tuple(by_kind[Item.TOOL]),
            prompts=tuple(by_kind[Item.PROMPT]),
            resources=tuple(by_kind[Item.RESOURCE]),
            methods=tuple(by_kind[Item.METHOD]),
        )

    def shows(self, kind: Item, text: str) -> bool:
        """Whether the item of this name (resources: this URI or URI template) is exposed."""
        return any(pattern.matches(text) for pattern in self._of(kind))

    def touches(self, kind: Item, text: str) -> bool:
        """Whether it is, or may be spelled differently (:meth:`Pattern.touches`)."""
        return any(pattern.touches(text) for pattern in self._of(kind))

    def _of(self, kind: Item) -> tuple[Pattern, ...]:
        if kind is Item.TOOL:
            return self.tools
        if kind is Item.PROMPT:
            return self.prompts
        return self.resources if kind is Item.RESOURCE else self.methods


# Control characters and backslashes (which URL parsers drop, or take for slashes), and the percent-encoded
# forms of those, of slashes, and of what never has to be encoded (RFC 3986, section 2.3: letters, digits,
# ``-._~``), however often the percent sign itself is encoded.
_DISGUISED = re.compile(
    r"[\x00-\x1f\x7f-\x9f\\]"
    r"|%(?:25)*(?:2[def]|3[0-9]|4[1-9a-f]|5[0-9acf]|6[1-9a-f]|7[0-9aef]|[01][0-9a-f])",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[/?#;:]")
# "https://good.example@evil.example/": what stands before the @ is not the host.
_USERINFO = re.compile(r"[^/?#]*://[^/?#]*@")


def is_plain(uri: str) -> bool:
    """Whether ``uri`` says where it points: no ``.`` or ``..`` segment, nothing disguised, no user in the
    authority.
    """
    if _DISGUISED.search(uri) is not None or _USERINFO.match(uri) is not None:
        return False
    # Some parsers drop blanks at the ends of a URI, so "..␠" counts as "..".
    return not any(segment.strip() in (".", "..") for segment in _SEPARATORS.split(uri))


_START = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)(/{0,2})([^/?#]*)(.*)", re.DOTALL)


def _folded(text: str) -> str:
    """One spelling of all that servers read as the same URI, as far as that can be known."""
    text = unicodedata.normalize("NFKC", unquote(text))
    found = _START.fullmatch(text)
    if found is None:
        return re.sub("/+", "/", text)
    scheme, slashes, authority, rest = found.groups()
    scheme, rest = scheme.lower(), re.sub("/+", "/", rest)
    if len(slashes) < 2:  # file:/srv is file:///srv, and mailto:a stays what it is
        return f"{scheme}//{slashes}{authority}{rest}" if slashes else f"{scheme}{authority}{rest}"
    authority = authority.lower()
    return f"{scheme}//{'' if scheme == 'file:' and authority == 'localhost' else authority}{rest}"


@lru_cache(maxsize=256)
def _spellings(text: str) -> frozenset[str]:
    """Of a URI that somebody asks for: whole, and without what many servers do not look at."""
    parts = (text, text.partition("#")[0], re.split("[?#]", text, maxsplit=1)[0])
    folded = [_folded(part) for part in parts]
    return frozenset((*folded, *(each.rstrip("/") for each in folded)))


@lru_cache(maxsize=256)
def _folded_regex(glob: str) -> re.Pattern[str] | None:
    return _compile(Item.RESOURCE, glob)


def _compile(kind: Item, glob: str) -> re.Pattern[str] | None:
    """The regex of a glob; None when it has no wildcard.

    Callers choose the text, so the regex must not backtrack without bound. Between two wildcards of one kind
    the earliest match of the literal between them is always good enough, so each such step is an atomic
    group.
    """
    if kind is Item.RESOURCE:
        if "*" not in glob:
            return None
        head, *others = (re.split(r"\*(?!\*)", part) for part in re.split(r"\*\*+", glob))
        regex = _chain(head, "[^/?#]", last=not others)
        for n, group in enumerate(others, 1):
            last = n == len(others)
            if last and group == [""]:
                regex += ".*"
            elif last:
                regex += ".*?" + _chain(group, "[^/?#]", last=True)
            else:
                regex += f"(?>.*?{_chain(group, '[^/?#]', last=False)})"
    else:
        if "*" not in glob and "?" not in glob:
            return None
        regex = _chain(re.split(r"\*+", glob), ".", last=True, one="?")
    return re.compile(f"{regex}\\Z", re.DOTALL)


def _chain(literals: list[str], star: str, *, last: bool, one: str = "") -> str:
    """``literals`` with a wildcard between each two; the last one is free to match at the very end only."""

    def literal(text: str) -> str:
        return "".join("." if one and c == one else re.escape(c) for c in text)

    regex = literal(literals[0])
    for n, text in enumerate(literals[1:], 1):
        if last and n == len(literals) - 1:
            regex += f"{star}*{literal(text)}"
        else:
            regex += f"(?>{star}*?{literal(text)})"
    return regex
