"""How a relay goes from one CA to another without losing an agent. Pure: values and ``now`` in, verdicts out.

Agents trust what they were given last: the *bundle* that comes with every certificate. So the new anchor is
announced first, in the bundle, while the tunnel listener still shows a certificate of the old one; once every
agent has fetched it, the new one signs; and once no certificate of the old one is good any more, it goes.

| phase | bundle | signs agents' certificates | signs the tunnel's | pin of join strings |
|---|---|---|---|---|
| steady | the one anchor | the one anchor | the one anchor | the one anchor |
| announced | both | old (new, where the old key is gone) | old | old |
| signing | both | new | new | new |

A join string pins the anchor that the listener shows at that moment, since its agent trusts that one alone.
It stays good when the phase changes before it is used: ``GET /ca`` also shows that the old anchor vouches for
the new one. All times are in seconds since the epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from penstock.names import AgentId
from penstock.renewal import EXPIRED_FOR

RENEWABLE: Final = EXPIRED_FOR
"""How long after its end a certificate can still be renewed: such an agent is worth waiting for."""
SETTLE: Final = 10.0
"""Until every process of the relay has noticed a change of phase; what is issued meanwhile is as before."""


class Phase(Enum):
    STEADY = "steady"
    ANNOUNCED = "announced"
    SIGNING = "signing"


NEXT: Final[Mapping[Phase, Phase]] = {
    Phase.STEADY: Phase.ANNOUNCED,
    Phase.ANNOUNCED: Phase.SIGNING,
    Phase.SIGNING: Phase.STEADY,
}
"""The only steps there are. The first is asked for; the others also happen by themselves."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rotation stands."""

    phase: Phase
    since: float
    signs_since: float
    """When the newest anchor began to sign agents' certificates; when it was announced, if it has not yet."""
    vouched: bool
    """Whether the old anchor vouches for the new one, so that join strings survive the change."""
    ends: float
    """When the last of the old anchors ends: nothing that it signed is good after that."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An agent that is not revoked, and the newest certificate that it has."""

    agent: AgentId
    issued_at: float
    """It got the bundle of that moment with it."""
    not_after: float


@dataclass(frozen=True, slots=True)
class Invitation:
    """A join string that nobody has used yet."""

    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who may depend on an anchor."""

    holders: Sequence[Holder] = ()
    invitations: Sequence[Invitation] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the next step waits for. It is also what ``--force`` breaks."""

    agents: tuple[AgentId, ...] = ()
    join_strings: int = 0

    def __bool__(self) -> bool:
        return bool(self.agents or self.join_strings)


def waiting(progress: Progress, fleet: Fleet, now: float) -> Waiting:
    """What the step out of this phase waits for; nothing where it can be taken."""
    if now >= progress.ends:
        return Waiting()
    if progress.phase is Phase.ANNOUNCED:
        announced = progress.since + SETTLE
        return Waiting(
            tuple(
                holder.agent
                for holder in fleet.holders
                if holder.issued_at < announced and holder.not_after + RENEWABLE > now
            ),
            0 if progress.vouched else _open(fleet, now, now),
        )
    if progress.phase is Phase.SIGNING:
        begun = progress.signs_since + SETTLE
        return Waiting(
            tuple(
                holder.agent
                for holder in fleet.holders
                if holder.issued_at < begun and holder.not_after > now
            ),
            _open(fleet, progress.since + SETTLE, now),
        )
    return Waiting()


def due(progress: Progress, fleet: Fleet, now: float) -> bool:
    """Whether the next step is to be taken by itself; never the first, for which an operator asks."""
    if progress.phase is Phase.STEADY or now < progress.since + SETTLE:
        return False
    return not waiting(progress, fleet, now)


def next_step(phase: Phase, left: Waiting, file: str = "") -> str:
    """The next step, in a sentence for an operator; ``file`` is where the CA comes from, if it does."""
    if phase is Phase.STEADY and file:
        return f"Nothing is under way. The CA comes from {file}: a new key there begins a rotation."
    if phase is Phase.STEADY:
        return "Nothing is under way. A new CA is made by: penstock-relay ca rotate"
    done = "the new CA signs" if phase is Phase.ANNOUNCED else "the old CA is no longer trusted"
    if not left:
        return f"Within a minute {done}, if the relay runs; or at once by: penstock-relay ca rotate"
    return (
        f"Once nothing is waited for, {done}. Agents renew by themselves while they run. Not to wait, revoke "
        "the agents that are gone, or run: penstock-relay ca rotate --force"
    )


def _open(fleet: Fleet, before: float, now: float) -> int:
    return sum(each.created_at < before and each.expires_at > now for each in fleet.invitations)
