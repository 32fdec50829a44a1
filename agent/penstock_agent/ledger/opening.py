"""Opening the ledger of a state folder: where the last run left it, whatever ended that run."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path

from penstock import log
from penstock.names import AgentId
from penstock_agent.ledger import key as keys
from penstock_agent.ledger import lost, record, segments
from penstock_agent.ledger.disk import Disk, Locked
from penstock_agent.ledger.retention import DAY, Retention
from penstock_agent.ledger.segments import End, Segment
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.ledger.writer import SEGMENT_BYTES, Writer, folder_of
from penstock_agent.problem import Exit, Problem

_log = log.get(__name__)


def open_ledger(
    state_dir: Path,
    agent: AgentId,
    settings: LedgerSettings,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    clock: Callable[[], float] = time.time,
) -> Writer:
    """Raises Problem. A disk that is full is none: the ledger is open then, and refuses."""
    folder = folder_of(state_dir)
    try:
        disk = Disk(folder)
    except Locked:
        raise Problem(f"Another agent already runs here: it writes {folder}. Stop it first.") from None
    except OSError as error:
        raise _cannot(folder, error) from None
    try:
        return _open(disk, state_dir, agent, settings, segment_bytes, clock)
    except OSError as error:
        disk.close()
        raise _cannot(folder, error) from None
    except BaseException:
        disk.close()
        raise


def _cannot(folder: Path, error: OSError) -> Problem:
    return Problem(
        f"The ledger in {folder} cannot be opened: {error.strerror}. Without it nothing may leave this site. "
        "Check that the folder belongs to the user that runs the agent, and that the disk can be written.",
        Exit.USAGE,
    )


def _open(
    disk: Disk,
    state_dir: Path,
    agent: AgentId,
    settings: LedgerSettings,
    segment_bytes: int,
    clock: Callable[[], float],
) -> Writer:
    held, aside = _held(disk.folder)
    key = keys.load(state_dir, make=not held and aside is None)
    end = segments.end(held[-1]) if held else End()
    writer = Writer(
        disk,
        key,
        agent,
        held,
        [each.path.stat().st_size for each in held],
        end,
        always=settings.sync == "always",
        retention=Retention(settings.keep_days * DAY if settings.keep_days else None, settings.max_size),
        segment_bytes=segment_bytes,
        clock=clock,
    )
    try:
        if held and (cut := _resume(disk, held[-1], end, key, agent)) is not None:
            writer.owe(cut)
            if "signed" in cut:
                writer.warning = (
                    f"Records after {end.n}, up to {cut['signed']} at least, had been signed, and were no "
                    "whole records any more when the agent started: they were changed, or the disk lost what "
                    f"it had kept. What was left of them is in {disk.folder / str(cut['file'])}."
                )
        if aside is not None:
            writer.owe(_cut(held[-1].number if held else 1, end.n, aside))
        writer.go_on()
    except OSError as error:
        writer.fails(error.strerror or type(error).__name__)
    return writer


def _held(folder: Path) -> tuple[list[Segment], Path | None]:
    """The segments. A last file that has no first record yet is what a crash leaves: it is put aside."""
    files = segments.files(folder)
    held: list[Segment] = []
    aside: Path | None = None
    for number, path in files:
        opening = segments.opening(path)
        if opening is None and number == files[-1][0]:
            aside = path.rename(path.with_suffix(".cut"))
            _log.error("ledger_segment_without_beginning", file=path.name)
        elif opening is None or opening.number != number:
            raise Problem(
                f"{path} is no segment of a ledger, or another one than its name says. Run: penstock-agent "
                f"ledger verify. To begin a new ledger, move the folder {folder} to where it is kept.",
                Exit.USAGE,
            )
        else:
            held.append(opening)
    return held, aside


def _resume(disk: Disk, last: Segment, end: End, key: keys.Key, agent: AgentId) -> dict[str, object] | None:
    """Make the last segment ready for the next record, if it is this agent's. Returns what the ledger must
    say about its end. Raises OSError.
    """
    cut = _keep(disk, last, end, key) if end.dropped else None
    disk.resume(last.path, end.size)
    same = (last.key, last.site, last.agent) == (record.text(key.public), agent.site, agent.agent)
    if not same or end.size == 0:
        disk.abandon()
    return cut


def _keep(disk: Disk, last: Segment, end: End, key: keys.Key) -> dict[str, object]:
    """What does not belong to the chain is put beside it."""
    kept = disk.keep(last.path, end.size, f"{last.path.stem}-{end.n}.cut")
    _log.error("ledger_end_cut_off", segment=last.number, after=end.n, bytes=end.dropped, kept=kept.name)
    said = _cut(last.number, end.n, kept)
    with kept.open("rb") as lines:
        signed = lost.signed(lines, key.public)
    return said | {"signed": signed} if signed > end.n else said


def _cut(segment: int, after: int, kept: Path) -> dict[str, object]:
    """The record of that."""
    with kept.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return {
        "kind": "cut",
        "segment": segment,
        "after": after,
        "bytes": kept.stat().st_size,
        "hash": digest,
        "file": kept.name,
    }
