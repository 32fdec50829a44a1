"""What an agent is told that is not let in: one refusal for each standing, on a link and to renew alike."""

from typing import Final

from penstock import fingerprint, refusal
from penstock.refusal import Refusal
from penstock_relay.ca import CertificateAuthority
from penstock_relay.store import Lineage, Lock, Standing

UNKNOWN: Final = Refusal(
    refusal.UNKNOWN,
    "The relay has no record of this agent's certificate. It may have been restored from an older backup, or "
    "set up anew. If this lasts, ask the relay's operator for a join string "
    "(penstock-relay agent invite SITE) and join again.",
)

_LOCKED: Final = {
    Lock.CLONE: (
        "Another machine uses a copy of this agent's state folder: it was linked, or had its certificate "
        "renewed, when this one asked with a certificate of its own. The agent is locked, on both."
    ),
    Lock.SNAPSHOT: (
        "This agent's certificate was renewed before, by a machine that was not linked when this one asked: "
        "most likely this machine was restored from a snapshot or a backup, or else its state folder was "
        "copied. The agent is locked."
    ),
}


def refused(
    standing: Standing, lineage: Lineage | None, serial: str, ca: CertificateAuthority, now: float
) -> Refusal:
    """Why the certificate ``serial`` (hexadecimal) is not accepted; ``standing`` is not GOOD."""
    if lineage is None or standing is Standing.UNKNOWN:
        return UNKNOWN
    match standing:
        case Standing.REVOKED:
            return _revoked(lineage, serial, ca, now)
        case Standing.WAITING:
            return _waiting(lineage, serial)
        case Standing.SUPERSEDED:
            return Refusal(
                refusal.SUPERSEDED,
                "A newer certificate of this agent is in use. If this machine was restored or copied, its "
                "next renewal locks the agent.",
            )
        case Standing.EXPIRED:
            return Refusal(
                refusal.EXPIRED,
                "The certificate ended more than 90 days ago, so it cannot be renewed. Ask the relay's "
                f"operator for a join string ({_replace(lineage)}) and join again: "
                "penstock-agent join --replace JOIN_STRING",
            )
        case _:
            lock = lineage.lock or Lock.CLONE
            return Refusal(
                refusal.LOCKED,
                f"{_LOCKED[lock]} To let one machine in again, the relay's operator runs: "
                f"{_replace(lineage)}; and that machine joins with what it prints: "
                "penstock-agent join --replace JOIN_STRING",
            )


def _replace(lineage: Lineage) -> str:
    return f"penstock-relay agent invite {lineage.agent.site} --replace {lineage.agent.agent}"


def _revoked(lineage: Lineage, serial: str, ca: CertificateAuthority, now: float) -> Refusal:
    at, replaced = lineage.ended_at(serial) or (now, False)
    text = (
        "Another machine has joined in this agent's place."
        if replaced
        else "The relay's operator has revoked this agent."
    )
    return Refusal(
        refusal.REVOKED,
        f"{text} To let this machine in again, the operator runs: {_replace(lineage)}",
        ca.revocation(int(serial, 16), at, now, replaced=replaced),
    )


def _waiting(lineage: Lineage, serial: str) -> Refusal:
    found = lineage.find(serial)
    shown = fingerprint.dump(found.fingerprint) if found is not None and found.fingerprint else "unknown"
    return Refusal(
        refusal.WAITING,
        f"This agent waits for approval. Its fingerprint is {shown}. The relay's operator compares it and "
        "runs: "
        f"penstock-relay agent approve {lineage.agent.site} {lineage.agent.agent} --fingerprint {shown}",
    )
