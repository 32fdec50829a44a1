"""What answers need beyond the specification, because real clients do. Pure.

Which clients, and how that is known, is said in docs/agent.md, where the switches are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from penstock.envelope import Kind, Message, member, text_member
from penstock.outcome import METHOD_NOT_FOUND
from penstock_agent.endpoint.failures import Failure, outcome_unknown
from penstock_agent.endpoint.meta import CHANGED, CLIENT
from penstock_agent.tolerance import Tolerance

#: Characters of text in one result, by ``clientInfo.name`` in lower case.
RESULT_LIMITS: Final[Mapping[str, int]] = {
    "claude-ai": 150_000,
    "anthropic": 150_000,
    "anthropic/claudeai": 150_000,
}
_LEAST: Final = min(RESULT_LIMITS.values())
#: The capability that a server declares for each list.
OFFERED_AS: Final[Mapping[str, str]] = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resources",
}
_NOT_FOUND: Final = b'{"code":%d,"message":"Method not found"}' % METHOD_NOT_FOUND


class _Content(msgspec.Struct):
    type: str = ""
    text: str = ""


class _Result(msgspec.Struct):
    content: list[_Content] = []


class _Error(msgspec.Struct):
    code: int = 0


_names = msgspec.json.Decoder(dict[str, msgspec.Raw])
_result = msgspec.json.Decoder(_Result)
_error = msgspec.json.Decoder(_Error)


@dataclass(slots=True)
class Manners:
    """Of one session; learns from its ``initialize``."""

    tolerance: Tolerance
    limit: int | None = None
    """Characters of text that the client takes in a result; None when that is not known."""
    offered: frozenset[str] | None = None
    """The capabilities of the server; None as long as they are not known."""
    tells: tuple[str, ...] = ()
    """The notifications of changed lists that the server may send."""

    def begun(self, hello: Message, result: bytes) -> None:
        """The server has answered ``initialize``."""
        name = text_member(hello.params or b"", "clientInfo", "name") or ""
        self.limit = RESULT_LIMITS.get(name.lower())
        capabilities = member(result, "capabilities") or b"{}"
        self.tells = tuple(
            method for name, method in CHANGED.items() if member(capabilities, name, "listChanged") == b"true"
        )
        try:
            self.offered = frozenset(_names.decode(capabilities))
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            self.offered = None

    def settle(self, request: Message, answer: Message) -> Message | Failure:
        """The answer as the client shall have it."""
        if answer.kind is Kind.ERROR:
            return self._tidied(request, answer)
        limited = self.tolerance.limit_results and self.limit is not None
        return (_above(self.limit, request, answer) if limited else None) or answer

    def _tidied(self, request: Message, answer: Message) -> Message:
        capability = OFFERED_AS.get(request.method or "")
        if capability is None or self.offered is None or capability in self.offered:
            return answer
        if not self.tolerance.tidy_lists or answer.error is None:
            return answer
        try:
            code = _error.decode(answer.error).code
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            code = 0
        return answer if code == METHOD_NOT_FOUND else replace(answer, error=_NOT_FOUND)


def too_long(request: Message, answer: Message) -> Failure | None:
    """What the caller of 2026-07-28 is told in place of a result that is longer than it takes."""
    result = answer.result
    if result is None or len(result) <= _LEAST or request.method != "tools/call":
        return None
    name = text_member(request.params or b"{}", "_meta", CLIENT, "name") or ""
    return _above(RESULT_LIMITS.get(name.lower()), request, answer)


def _above(limit: int | None, request: Message, answer: Message) -> Failure | None:
    result = answer.result
    if limit is None or result is None or len(result) <= limit or request.method != "tools/call":
        return None
    length = _characters(result)
    return None if length <= limit else _too_long(length, limit)


def _characters(result: bytes) -> int:
    """Of text that a model is shown; what is no tool result counts as nothing."""
    try:
        return sum(len(part.text) for part in _result.decode(result).content if part.type == "text")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return 0


def _too_long(length: int, limit: int) -> Failure:
    return outcome_unknown(
        f"The tool's answer has {length} characters, and this application takes at most {limit}. The call "
        "has run; nothing of its answer is shown. Ask for less at once: a narrower query, a page, or a part."
    )
