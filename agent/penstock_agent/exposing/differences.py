"""How a definition differs from the approved one, for somebody who has to decide. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from penstock import lookalike

MOST: Final = 2000
"""Differences of one definition that are shown."""
SHOWN: Final = 64 * 1024
"""Characters of one value that are shown: more than anybody writes for a model to read."""
ALL: Final = 4 << 20
"""Characters of all differences of one definition that are shown, where they stand included."""
LONG: Final = 2000
"""Characters of one difference, above which it is said how many there are."""
_CONTEXT: Final = 6
"""Words around what has changed in a text."""
_SHORT: Final = 40
_MOST_WORDS: Final = 4000
"""Words of a text that are compared one by one; a longer one is shown whole, before and after."""

_Json = dict[str, object] | list[object] | str | int | float | bool | None


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One member. Nothing in it can be unseen, act on a terminal, or push away what comes after it."""

    path: str
    """Members from the outside in, as ``inputSchema.properties.path``; empty for the whole."""
    text: str
    """What has changed, in one line or several."""
    whole: bool = True
    """Whether all of it is here. Nobody approves what they were not shown."""

    @property
    def long(self) -> bool:
        return len(self.text) > LONG

    @property
    def head(self) -> str:
        """Where it is, and how much where it is much; empty for the whole, if that is short."""
        many = f"({len(self.text):,} characters)" if self.long else ""
        return " ".join(part for part in (self.path, many) if part)


UNSEEN: Final = "Not all of it is shown, so it is not approved here. "
"""What somebody reads who cannot decide; what to do instead follows."""


def differences(before: str | None, after: str) -> list[Difference]:
    """From raw JSON to raw JSON; ``before`` is None for what is new, of which everything is shown."""
    new = _read(after)
    all_of_it: Iterator[Difference]
    if before is None:
        all_of_it = (_difference(path, "", _plain(value)) for path, value in _leaves("", new))
    else:
        all_of_it = _walk("", _read(before), new)
    found: list[Difference] = []
    room = ALL
    for each in all_of_it:
        room -= len(each.path) + len(each.text)
        if found and (len(found) == MOST or room < 0):
            found.append(Difference("", "... and more.", False))
            break
        found.append(each)
    return found


def visible(text: str) -> str:
    """With what does not show, or moves a terminal's cursor, by its number; long emptiness by its length."""
    cut = text if len(text) <= SHOWN else text[:SHOWN] + f"... ({len(text)} characters)"
    return lookalike.exact(cut)


def words(before: str, after: str) -> str:
    """A text with what was taken out as ``[-so-]`` and what came in as ``{+so+}``."""
    old, new = re.findall(r"\s+|\w+|[^\w\s]", before), re.findall(r"\s+|\w+|[^\w\s]", after)
    if len(old) > _MOST_WORDS or len(new) > _MOST_WORDS:
        return f"[-{visible(before)}-]{{+{visible(after)}+}}"
    parts: list[str] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            same = old[a:b]
            if len(same) > 3 * _CONTEXT:
                head = same[:_CONTEXT] if parts else []
                tail = same[-_CONTEXT:] if b < len(old) or d < len(new) else []
                parts.append(visible("".join(head)) + " ... " + visible("".join(tail)))
            else:
                parts.append(visible("".join(same)))
            continue
        if b > a:
            parts.append(f"[-{visible(''.join(old[a:b]))}-]")
        if d > c:
            parts.append(f"{{+{visible(''.join(new[c:d]))}+}}")
    return "".join(parts)


def _walk(path: str, old: _Json, new: _Json) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            inner = f"{path}.{_name(name)}" if path else _name(name)
            if name not in new:
                yield _difference(inner, "removed: ", _plain(_of(old, name)))
            elif name not in old:
                yield _difference(inner, "added: ", _plain(_of(new, name)))
            else:
                yield from _walk(inner, _of(old, name), _of(new, name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _walk(f"{path}[{number}]", _as_json(one), _as_json(other))
    elif _dump(old) != _dump(new):
        if isinstance(old, str) and isinstance(new, str) and max(len(old), len(new)) > _SHORT:
            yield Difference(path, words(old, new), _fits(path, old, new))
        else:
            before, after = _plain(old), _plain(new)
            text = f"{visible(before)} -> {visible(after)}"
            yield Difference(path, text, _fits(path, before, after))


def _difference(path: str, what: str, value: str) -> Difference:
    return Difference(path, what + visible(value), _fits(path, value))


def _fits(*texts: str) -> bool:
    return all(len(text) <= SHOWN for text in texts)


def _name(text: str) -> str:
    """Of a member: in one line."""
    return visible(text).replace("\n", "<U+000A>")


def _leaves(path: str, value: _Json) -> Iterator[tuple[str, _Json]]:
    """The members of the outermost object, each whole."""
    if isinstance(value, dict) and not path:
        for name in value:
            yield _name(name), _of(value, name)
    else:
        yield path, value


def _of(value: dict[str, object], name: str) -> _Json:
    return _as_json(value[name])


def _as_json(value: object) -> _Json:
    return value if isinstance(value, dict | list | str | int | float | bool) else None


def _plain(value: _Json) -> str:
    """Short text as JSON, longer text as it is."""
    return value if isinstance(value, str) and len(value) > _SHORT else _dump(value)


def _dump(value: _Json) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _read(raw: str) -> _Json:
    try:
        found: _Json = json.loads(raw, parse_int=_number, parse_float=_number)
    except (ValueError, RecursionError):
        return raw
    return found


def _number(text: str) -> object:
    """1 and 1.0 are two definitions: what is no plain integer is shown as it is written."""
    number = int(text) if text.lstrip("-").isdigit() and len(text) < 300 else None
    return number if number is not None and str(number) == text else f"number {text}"
