"""The desk at which somebody on site answers: what waits, and the verbs that approve or deny it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from penstock import log
from penstock_agent import control
from penstock_agent.control import Args, Handler, Peer
from penstock_agent.endpoint.approving import Approving
from penstock_agent.gate.approval import Request, Unknown
from penstock_agent.ledger.entries import CannotRecord, Event, Ledger
from penstock_agent.problem import Problem

MAX_SHOWN: Final = 1 << 20
"""Bytes of arguments in an answer to ``approvals``, of all requests together."""
MAX_ANSWER_SHOWN: Final = 512 << 10
"""Bytes of an answer that is kept, for who asks for that request."""

_log = log.get(__name__)


class Desk:
    """Owns the :class:`Approving` that the endpoint asks."""

    def __init__(self, ledger: Ledger, announce: Callable[[str, Mapping[str, object]], None]) -> None:
        """``announce`` is told of each call that begins to wait: the name of the event, and what it is
        about.
        """
        self._ledger = ledger
        self._announce = announce
        self.approving = Approving(on_asked=self._asked, on_expired=self._expired)

    @property
    def handlers(self) -> dict[str, Handler]:
        """The verbs of the control socket."""
        return {"approvals": self._list, "approve": self._approve, "deny": self._deny}

    async def _list(self, peer: Peer, args: Args) -> Args:
        requests, of_answer = self.approving.requests(), 0
        if id := args.get("id"):
            requests = [one for one in requests if one.id == id]
            if not requests:
                raise Problem(_GONE)
            of_answer = MAX_ANSWER_SHOWN
        share = MAX_SHOWN // max(1, len(requests))
        answer = control.Approvals([_shown(one, share, of_answer) for one in requests])
        return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a Struct becomes a dict

    async def _approve(self, peer: Peer, args: Args) -> Args:
        return self._answer(peer, args, True)

    async def _deny(self, peer: Peer, args: Args) -> Args:
        return self._answer(peer, args, False)

    def _answer(self, peer: Peer, args: Args, approved: bool) -> Args:
        id = args.get("id")
        found = next((one for one in self.approving.requests() if one.id == id), None)
        if found is None:
            raise Problem(_GONE)
        what = "approved" if approved else "denied"
        try:
            # First: what is not on record must not be carried out.
            self._ledger.record(_event(what, found, peer.uid))
        except CannotRecord as e:
            if approved:
                raise Problem(f"The ledger does not take this, so nothing was approved: {e}") from None
        try:
            request = self.approving.answer(found.id, approved, peer.uid)
        except Unknown:
            raise Problem(_ANSWERED) from None
        _log.info("approval_answered", request=request.id, answer=what, by_uid=peer.uid)
        return msgspec.to_builtins(_shown(request, MAX_SHOWN))  # type: ignore[no-any-return]

    def _asked(self, request: Request) -> None:
        call = request.call
        _log.warning(
            "approval_asked", request=request.id, server=call.server, item=call.item, subject=call.who.subject
        )
        about = msgspec.to_builtins(_shown(request, MAX_SHOWN))
        self._announce("approval_asked", {**about, "arguments": ""})

    def _expired(self, request: Request) -> None:
        _log.warning("approval_expired", request=request.id)
        try:
            self._ledger.record(_event("expired", request, -1))
        except CannotRecord:
            return  # nothing follows from it


def _event(what: str, request: Request, by_uid: int) -> Event:
    call = request.call
    about: dict[str, str | int] = {
        "request": request.id,
        "server": call.server,
        "item": call.item,
        "arguments": call.digest,
        "subject": call.who.subject,
        "client": call.who.client,
    }
    return Event(f"approval_{what}", by_uid, about)


def _shown(request: Request, size: int, of_answer: int = 0) -> control.Approval:
    call, arguments = request.call, request.call.arguments
    return control.Approval(
        request.id,
        request.state.value,
        call.who.name,
        call.who.email,
        call.who.subject,
        call.who.client,
        call.server,
        call.item,
        arguments[:size].decode("utf-8", "replace"),
        call.digest,
        call.why,
        request.asked_at,
        request.expires_at,
        cut=len(arguments) > size,
        by_uid=request.by_uid,
        answer_bytes=len(call.answer),
        answer=call.answer[:of_answer].decode("utf-8", "replace"),
    )


_GONE: Final = (
    "No such call waits: it was answered and used, or it has expired. See: penstock-agent approvals list"
)
_ANSWERED: Final = "This call has its answer already, or it has expired. See: penstock-agent approvals list"
