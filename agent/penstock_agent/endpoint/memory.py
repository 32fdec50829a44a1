"""What servers answered to the questions by which assistants get to know them. Pure but for the clock.

An answer is kept for the principal whom it was given to, and found only for the same question: the params
byte for byte, and in a session those of its ``initialize`` as well. The environment of all processes of a
server is the same, so what a fresh one says should depend on nothing but that; yet a server may look further
than its environment, and whom an answer was meant for is then the only safe key.

For the same reason only what a process says counts that has been asked nothing else: some show other tools
once they were used. A list in pieces is not kept: its cursors mean something to one process only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from penstock.envelope import Message, member
from penstock_agent.children.child import ChildSpec, ProcessSpec
from penstock_agent.children.units.spec import UnitSpec
from penstock_agent.endpoint.meta import CHANGED
from penstock_agent.gate.methods import LISTS

ANSWER_MAX: Final = 1 << 20
"""Bytes of one answer; a longer one is not kept."""
KEPT_MAX: Final = 16 << 20
"""Bytes of all answers of an agent; the longest unused make room."""
ANSWER_COST: Final = 512
"""What an answer is counted for besides its bytes."""
AGE_S: Final = 24 * 3600.0
"""No older answer is told again: a server may have been upgraded where it stands."""

QUESTIONS: Final = frozenset({"initialize", "server/discover", *LISTS})
_HARMLESS: Final = QUESTIONS | {"ping"}
_CHANGED: Final[Mapping[str, frozenset[str]]] = {
    CHANGED["tools"]: frozenset({"tools/list"}),
    CHANGED["prompts"]: frozenset({"prompts/list"}),
    CHANGED["resources"]: frozenset({"resources/list", "resources/templates/list"}),
}

Identity = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """Whoever asks this gets the same answer."""

    server: str
    method: str
    identity: Identity
    words: bytes
    """Hash of all that was said."""

    @classmethod
    def of(cls, server: str, identity: Identity, request: Message, hello: bytes | None) -> Question | None:
        """None where answers are not kept. ``hello``: the params of the session's ``initialize``."""
        method, params = request.method or "", request.params or b""
        if method not in QUESTIONS or (method in LISTS and member(params or b"{}", "cursor") is not None):
            return None
        context = b"" if method == "initialize" or hello is None else hello
        words = hashlib.sha256(b"%d:%b%b" % (len(context), context, params)).digest()
        return cls(server, method, identity, words)


class Memory:
    """Of one agent. ``clock``: seconds, never back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[Question, tuple[ChildSpec, bytes, float]] = {}
        """The longest unused first."""
        self.bytes = 0
        """With the cost of each answer."""

    def keep(self, question: Question, spec: ChildSpec, result: bytes) -> None:
        """A process of just this spec has answered."""
        self._drop(question)
        if len(result) > ANSWER_MAX:
            return
        self._kept[question] = (spec, result, self._clock())
        self.bytes += len(result) + ANSWER_COST
        while self.bytes > KEPT_MAX:
            self._drop(next(iter(self._kept)))

    def find(self, question: Question, spec: ChildSpec) -> bytes | None:
        """The result, as the server gave it, before anything was taken out of it."""
        found = self._kept.get(question)
        if found is None:
            return None
        known, result, at = found
        if known != spec or self._clock() - at >= AGE_S:
            self._drop(question)
            return None
        self._kept[question] = self._kept.pop(question)
        return result

    def changed(self, server: str, notification: str) -> None:
        """A process of the server says that a list has changed."""
        if (methods := _CHANGED.get(notification)) is not None:
            for one in [one for one in self._kept if one.server == server and one.method in methods]:
                self._drop(one)

    def clear(self) -> None:
        """The configuration was read again."""
        self._kept.clear()
        self.bytes = 0

    def _drop(self, question: Question) -> None:
        if (found := self._kept.pop(question, None)) is not None:
            self.bytes -= len(found[1]) + ANSWER_COST


class Witness:
    """Hears what one process after another is asked and answers, and has kept what may be told again."""

    def __init__(self, memory: Memory, server: str) -> None:
        self._memory = memory
        self._server = server
        self._used = False
        """Whether the process was asked anything but questions."""

    def given(self, request: Message) -> None:
        """The process gets this."""
        self._used = self._used or request.method not in _HARMLESS

    def heard(
        self,
        spec: ChildSpec,
        identity: Identity,
        request: Message,
        answer: Message,
        hello: bytes | None = None,
    ) -> None:
        """The process, which is of this spec, has answered."""
        if self._used or not isinstance(spec, ProcessSpec | UnitSpec):
            return
        if answer.result is None or not answer.result.startswith(b"{"):  # else it is not one of MCP
            return
        question = Question.of(self._server, identity, request, hello)
        if question is not None and (
            question.method not in LISTS or member(answer.result, "nextCursor") in (None, b"null")
        ):
            self._memory.keep(question, spec, answer.result)

    def noted(self, notification: str | None) -> None:
        """The process says this by itself."""
        self._memory.changed(self._server, notification or "")

    def lost(self) -> None:
        """The process has ended."""
        self._used = False

    def known(
        self, spec: ChildSpec, identity: Identity, request: Message, hello: bytes | None = None
    ) -> bytes | None:
        """What the same question was answered, if that may be told again."""
        question = Question.of(self._server, identity, request, hello)
        return None if question is None else self._memory.find(question, spec)
