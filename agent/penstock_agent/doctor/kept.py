"""What lies in the state folder: identity, modes and owners, certificate, ledger, and what is paused."""

from __future__ import annotations

import secrets
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from penstock.renewal import EXPIRED_FOR
from penstock_agent import asuser, pausing, pinning
from penstock_agent.config import Settings
from penstock_agent.doctor.findings import Finding, failed, ok, warning
from penstock_agent.gate.pause import Kind
from penstock_agent.gate.pins import Broken
from penstock_agent.ledger import segments
from penstock_agent.ledger.disk import RESERVE, RESERVE_BYTES
from penstock_agent.problem import Problem
from penstock_agent.sizes import shown
from penstock_agent.state import Joined

_SECRETS: Final = ("*.key", "*.pem", "*.json", "ledger/*", "pins/*", "secrets/*")
_TORN_S: Final = 0.3
"""Seconds after which a last line is read again that the agent may have been about to end."""


def folder(state_dir: Path) -> list[Finding]:
    """Who may read and write what; empty where all is well."""
    try:
        owner = state_dir.stat().st_uid
        paths = sorted({path for pattern in _SECRETS for path in state_dir.glob(pattern)})
        infos = [(path, path.lstat()) for path in paths]
    except OSError as error:
        return [
            failed(
                "state",
                f"{state_dir} cannot be looked at: {error.strerror}. Run the command as root or as the "
                "user that "
                "runs the agent.",
            )
        ]
    found = [
        failed(
            "state",
            f"{path} can be read by others (mode {stat.S_IMODE(info.st_mode):04o}). Run: chmod 600 {path}",
        )
        for path, info in infos
        if stat.S_ISREG(info.st_mode) and info.st_mode & 0o077
    ]
    found += [
        failed(
            "state",
            f"{path} belongs to another user (uid {info.st_uid}) than its folder (uid {owner}), so the "
            "agent may "
            f"not be able to use it. Run: chown --reference={state_dir} {path}",
        )
        for path, info in infos
        if info.st_uid != owner
    ]
    return found


def writable(state_dir: Path) -> Finding | None:
    """As the user of the folder; None where it is."""
    probe = state_dir / f".probe.{secrets.token_hex(8)}"

    def write() -> bytes:
        try:
            probe.touch(mode=0o600, exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise Problem(
                f"{state_dir} cannot be written: {error.strerror}. Check the disk and the folder's owner."
            ) from None
        return b""

    try:
        asuser.call(write, state_dir)
    except (Problem, OSError) as error:
        return failed("state", str(error))
    return None


def certificate(joined: Joined, now: float) -> Finding:
    """Whether it is good, by this machine's clock."""
    begins, ends = joined.certificate.not_valid_before_utc.timestamp(), joined.expires.timestamp()
    until = f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC"
    if now < begins:
        return failed(
            "certificate",
            "The certificate is not valid yet at this machine's time: its clock is behind. Set it: "
            "timedatectl",
        )
    if now > ends + EXPIRED_FOR:
        return failed(
            "certificate",
            f"The certificate ended on {until}, too long ago to be renewed. Get a join string "
            f"(penstock-relay agent invite {joined.id.site} --replace {joined.id.agent}) and run: "
            "penstock-agent join --replace JOIN_STRING",
        )
    if now > ends:
        return failed(
            "certificate",
            f"The certificate ended on {until}. A running agent renews it; or now: penstock-agent renew",
        )
    days, hours = divmod(int((ends - now) // 3600), 24)
    left = f"{days} d" if days else f"{hours} h"
    if now - begins > (ends - begins) * 2 / 3:
        return warning(
            "certificate",
            f"It is valid for {left} (until {until}) and should have been renewed by now. Try: "
            "penstock-agent renew",
        )
    return ok("certificate", f"valid for {left} (until {until})")


def ledger(settings: Settings) -> Iterator[Finding]:
    """Whether its newest file is whole, and whether there is room for what is to be kept."""
    place = settings.state_dir / segments.FOLDER
    try:
        files = segments.files(place)
        sizes = sum(path.stat().st_size for _, path in files)
        if files:
            yield _newest(*files[-1])
        yield _room(settings, settings.state_dir, sizes)
    except FileNotFoundError:
        yield ok("ledger", "there is none yet: it begins when the agent runs for the first time")
    except OSError as error:
        yield failed(
            "ledger",
            f"{error.filename or place} cannot be read: {error.strerror}. Run the command as root or "
            "as the user "
            "that runs the agent.",
        )


def _newest(number: int, path: Path) -> Finding:
    segment = segments.opening(path)
    if segment is None or segment.number != number:
        return failed("ledger", f"{path} is no part of a ledger. See: penstock-agent ledger verify")
    end = segments.end(segment)
    if end.dropped:
        time.sleep(_TORN_S)
        end = segments.end(segment)
    if end.dropped and _torn(path, end.size):
        return warning(
            "ledger",
            f"{path.name} ends within a line behind record {end.n}, as a crash leaves it. The "
            "agent puts that aside when it starts, and says so in the ledger.",
        )
    if end.dropped:
        return failed(
            "ledger",
            f"{path} is not whole behind record {end.n}: what follows is not what was written there. See: "
            "penstock-agent ledger verify",
        )
    return ok(
        "ledger",
        f"{path.name} is whole, up to record {end.n}; penstock-agent ledger verify looks at all of it",
    )


def _torn(path: Path, start: int) -> bool:
    """Whether what stands there from ``start`` on is part of one line."""
    with path.open("rb") as file:
        file.seek(start)
        return b"\n" not in file.read(segments.MAX_LINE)


def _room(settings: Settings, place: Path, taken: int) -> Finding:
    free = shutil.disk_usage(place).free
    wanted = max(0, settings.ledger.max_size - taken)
    if free < RESERVE_BYTES:
        text = f"The disk of {place} has {shown(free)} left. Make room: without any, calls are refused."
        held = (place / segments.FOLDER / RESERVE).exists()
        return warning("disk", text) if held else failed("disk", text)
    if free < wanted:
        return warning(
            "disk",
            f"The disk of {place} has {shown(free)} left, and the ledger may grow by {shown(wanted)} "
            f"until it is as large as max_size ({shown(settings.ledger.max_size)}). Make room, or write a "
            "smaller max_size under [ledger].",
        )
    return ok(
        "disk",
        f"{shown(free)} left; the ledger takes {shown(taken)} of at most {shown(settings.ledger.max_size)}",
    )


def stopped(settings: Settings) -> Iterator[Finding]:
    """What is paused, and servers of which what was approved cannot be read."""
    try:
        for entry in pausing.load(settings.state_dir).entries:
            how = " --caller" if entry.kind is Kind.CALLER else ""
            name = f"{how} {shlex.quote(entry.name)}" if entry.name else ""
            yield warning(
                "paused",
                f"{entry.what[:1].upper()}{entry.what[1:]} is paused. To go on: penstock-agent resume{name}",
            )
    except Problem as error:
        yield failed("paused", str(error))
    for server, kept in pinning.load_all(settings.state_dir, settings.servers).items():
        if isinstance(kept, Broken):
            yield failed(
                "tools",
                f"{kept.why} Nothing of it may be used until it is approved anew: penstock-agent tools "
                "approve "
                f"{server} --all",
                server,
            )
