"""Finds the link that serves a call, carries the call over it as an exchange, and tells what became of it."""

from penstock_relay.switchboard.calls import (
    Answer,
    AnswerBroken,
    Call,
    NotExecuted,
    Offline,
    OutcomeUnknown,
)

__all__ = ["Answer", "AnswerBroken", "Call", "NotExecuted", "Offline", "OutcomeUnknown"]
