"""What the relay's no means: for good only if its CA has signed it, else to be asked again."""

from __future__ import annotations

from penstock import refusal, revocation
from penstock.refusal import Refusal
from penstock_agent.problem import Exit, Problem, printable
from penstock_agent.state import Joined


class TurnedAway(Problem):
    """The relay does not let this agent in now. It is asked again."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class Revoked(Problem):
    """The relay's CA has signed that this agent's certificate is revoked: trying again changes nothing."""

    status = Exit.REFUSED


def judge(refused: Refusal, joined: Joined) -> TurnedAway | Revoked:
    """What ``refused`` is worth to the agent that ``joined`` describes."""
    if refused.reason != refusal.REVOKED:
        return TurnedAway(printable(refused.text, refusal.MAX_TEXT), refused.reason)
    try:
        found = revocation.read(refused.statement, joined.certificate.serial_number, joined.anchors)
    except revocation.BadStatement as error:
        return TurnedAway(
            f"The relay says that this agent is revoked, but the CA's statement does not count: {error}. "
            "It is not believed, and asked again. Likely cause: the relay has another CA now.",
            refused.reason,
        )
    why = (
        "another machine has joined in its place" if found.replaced else "the relay's operator has revoked it"
    )
    where = f"penstock-relay agent invite {joined.id.site} --replace {joined.id.agent}"
    return Revoked(
        f"This agent's certificate was revoked on {found.at:%Y-%m-%d %H:%M} UTC: {why}. The relay's CA has "
        f"signed that, so the agent stops. To come back, get a join string ({where}) and run: "
        "penstock-agent join --replace JOIN_STRING"
    )
