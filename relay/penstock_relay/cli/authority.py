"""``penstock-relay ca``."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    Failed,
    JsonOption,
    explain,
    guarded,
    moment,
    say,
    say_json,
    say_table,
    settings_of,
    wants_json,
    with_store,
)

if TYPE_CHECKING:
    from penstock_relay.ca import CertificateAuthority
    from penstock_relay.ca.rotation import Fleet, Waiting
    from penstock_relay.config import Settings
    from penstock_relay.store import Store

ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Take the next step although agents are not ready: they must join again."),
]
SHOWN = 20
"""Agents that are named in a line of words; ``--json`` has all of them."""


@guarded
def show(ctx: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show the certificate authority: its anchors, and how far a rotation is."""
    from penstock_relay.ca.opening import open_authority

    settings, now = settings_of(ctx, config), time.time()
    _show(open_authority(settings, now), _fleet(settings, now), now, wants_json(ctx, json))


@guarded
def rotate(
    ctx: typer.Context, force: ForceOption = False, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Begin to replace the certificate authority, or take the next step of that.

    A new CA is announced first; it signs once every agent has heard of it; then the old one goes. After the
    first step the rest happens by itself while the relay runs.
    """
    from penstock_relay.audit import Change, Kind
    from penstock_relay.ca.opening import open_authority
    from penstock_relay.ca.rotation import Phase, waiting

    settings, now = settings_of(ctx, config), time.time()
    # Leaving the files of before is something to say explicitly: a forgotten setting looks the same.
    authority = open_authority(settings, now, orphaned=force)
    fleet = _fleet(settings, now)
    phase = authority.record.phase
    left = None
    if phase is Phase.STEADY:
        authority.announce(now)
    else:
        left = waiting(authority.record.progress, fleet, now)
        if left and not force:
            raise Failed(
                f"The CA is in the phase {phase.value}, and still waits for {_words(left)}. Agents renew by "
                "themselves while they run. Not to wait: penstock-relay ca rotate --force"
            )
        if left:
            explain(f"Warning: these cannot connect any more, and have to join again: {_words(left)}.")
        authority.advance(phase, now)
    change = Change(phase.value, authority.record.phase.value)

    async def recorded(store: "Store") -> None:
        await store.audit.happened(Kind.CA_ROTATED, phase=change, forced=len(left.agents) if left else None)

    with_store(settings, recorded)
    _show(authority, fleet, now, wants_json(ctx, json))


def _fleet(settings: "Settings", now: float) -> "Fleet":
    async def work(store: "Store") -> "Fleet":
        return await store.fleet.read(now)

    return with_store(settings, work)


def _show(authority: "CertificateAuthority", fleet: "Fleet", now: float, json: bool) -> None:
    from penstock_relay.ca.rotation import next_step, waiting

    record = authority.record
    left = waiting(record.progress, fleet, now)
    step = next_step(record.phase, left, authority.comes_from)
    anchors = [
        {
            "pin": anchor.pin.hex(),
            "role": authority.role(anchor),
            "not_before": moment(anchor.certificate.not_valid_before_utc.timestamp()),
            "not_after": moment(anchor.certificate.not_valid_after_utc.timestamp()),
            "key": authority.key_kept(anchor),
        }
        for anchor in record.anchors
    ]
    if json:
        say_json(
            {
                "phase": record.phase.value,
                "since": moment(record.since),
                "waits_for": {
                    "agents": [{"site": agent.site, "agent": agent.agent} for agent in left.agents],
                    "join_strings": left.join_strings,
                },
                "next": step,
                "join_pin": authority.pin.hex(),
                "anchors": anchors,
            }
        )
        return
    say(f"phase      {record.phase.value}, since {moment(record.since)}")
    say(f"waits for  {_words(left) if left else 'nothing'}")
    say(f"next       {step}")
    say_table(
        ("ANCHOR", "ROLE", "FROM", "UNTIL", "KEY"),
        [
            (str(a["pin"])[:16], str(a["role"]), str(a["not_before"]), str(a["not_after"]), str(a["key"]))
            for a in anchors
        ],
    )


def _words(left: "Waiting") -> str:
    parts = []
    if left.agents:
        names = [f"{agent.site}/{agent.agent}" for agent in left.agents]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        parts.append(f"{_count(len(names), 'agent')} ({', '.join(names[:SHOWN])}{more})")
    if left.join_strings:
        parts.append(_count(left.join_strings, "unused join string"))
    return " and ".join(parts)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
