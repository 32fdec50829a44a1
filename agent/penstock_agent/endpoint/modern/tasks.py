"""Whose a task is (extension io.modelcontextprotocol/tasks): its id opens what somebody's call began. Pure.

The server need not know who calls. So an id that this agent did not see given to the caller is, for that
caller, one that never was: the server is asked for a task that nobody has, and answers in its own words.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from penstock.envelope import Message, member, replaced, text_member
from penstock.http import LISTEN
from penstock_agent.gate.read import texts

MAX_TASKS: Final = 4096
"""Tasks that are remembered; the oldest are forgotten, and cannot be asked for any more."""
METHODS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
_SUBSCRIBED: Final = ("notifications", "taskIds")

Identity = tuple[str, str, str]


class Tasks:
    """Of all servers. They live as long as the agent does."""

    def __init__(self, mint: Callable[[], str], most: int = MAX_TASKS) -> None:
        """``mint`` gives unguessable ASCII words, without characters that JSON escapes."""
        self._mint = mint
        self._most = most
        self._owners: OrderedDict[tuple[str, str], Identity] = OrderedDict()

    def began(self, server: str, identity: Identity, result: bytes | None) -> None:
        """A result goes to this principal; it may be that of a task."""
        if result is None or b'"task"' not in result or text_member(result, "resultType") != "task":
            return
        task = text_member(result, "taskId")
        if task is not None:
            # Whoever was given an id first keeps it: a server that gives it again gives away nothing.
            self._owners.setdefault((server, task), identity)
            self._owners.move_to_end((server, task))
            while len(self._owners) > self._most:
                self._owners.popitem(last=False)

    def own(self, server: str, identity: Identity, request: Message) -> Message:
        """The request, which reaches no task but those of this principal."""
        params = request.params
        if params is None:
            return request
        if request.method in METHODS:
            task = text_member(params, "taskId")
            if task is None or self._owners.get((server, task)) == identity:
                return request
            params = replaced(params, b'"%b"' % self._mint().encode(), "taskId")
        elif request.method == LISTEN and (listed := member(params, *_SUBSCRIBED)) is not None:
            kept = texts(listed, lambda task: self._owners.get((server, task)) == identity)
            params = replaced(params, kept, *_SUBSCRIBED)
        else:
            return request
        return Message(request.kind, request.id, request.method, params, None, None)
