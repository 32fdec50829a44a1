"""Where it is remembered for whom something sensitive was read, and asked before anything else is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from penstock.envelope import Message
from penstock.principal import Principal
from penstock_agent.catalogue.catalogues import Catalogues
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.methods import Use
from penstock_agent.gate.policy import taint
from penstock_agent.gate.policy.taint import Mark, Marks
from penstock_agent.gate.view import Allowed, Denied


class Tainting:
    """One per endpoint. ``now``: seconds since 1970."""

    def __init__(self, marks: Marks, now: Callable[[], float]) -> None:
        self.marks = marks
        self._now = now

    def to_ask(
        self, gate: Gate, known: Catalogues, server: str, who: Principal, message: Message, use: Use | None
    ) -> list[str]:
        """The servers that have to say what they offer before this request of a caller can be judged."""
        if gate.taint is None or use is None:
            return []
        owners = gate.owners(server, use, known)
        marked = message.method == "tools/call" and self._mark(who) is not None
        return [owner for owner, name in owners if marked or (name is None and owner in gate.taint.sensitive)]

    def judge(
        self,
        gate: Gate,
        known: Catalogues,
        server: str,
        who: Principal,
        message: Message,
        use: Use | None,
        found: Allowed = Allowed(),  # noqa: B008 - frozen
    ) -> Allowed | Denied:
        """What becomes of a message that was ``found`` to be allowed."""
        if gate.taint is None or (mark := self._mark(who)) is None:
            return found
        owners = gate.owners(server, use, known)
        if not taint.escapes(owners, message, use, known):
            return found
        if not gate.taint.approve:
            return Denied(mark.words(who.client), taint.RULE, found.of)
        return found if found.approve else replace(found, rule=taint.RULE, approve=True)

    def let_through(
        self,
        gate: Gate,
        known: Catalogues,
        server: str,
        who: Principal,
        message: Message,
        use: Use | None,
        left: float,
    ) -> Denied | None:
        """Remember what this request brings, before it goes on; why it must not, where that cannot be.
        ``left``: seconds until its answer has come at the latest.
        """
        if gate.taint is None:
            return None
        read = gate.taint.reads(gate.owners(server, use, known), message, use)
        if read is None:
            return None
        now = self._now()
        mark = Mark((who.issuer, who.subject), now + left + gate.taint.lasts, who.client, read)
        return None if self.marks.set(mark, now) else Denied(taint.FULL, taint.RULE)

    def _mark(self, who: Principal) -> Mark | None:
        return self.marks.of((who.issuer, who.subject), self._now())
