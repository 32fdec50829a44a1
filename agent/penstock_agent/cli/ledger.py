"""``penstock-agent ledger``: what was decided, what left, and whether the record of that is whole."""

from __future__ import annotations

import sys
import time
from collections import deque
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    to_find_the_agent,
    usage,
)
from penstock_agent.problem import Exit, Problem, printable

if TYPE_CHECKING:
    from penstock_agent.ledger.reading import Record
    from penstock_agent.ledger.verify_main import Result

DirOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--dir", metavar="FOLDER", help="A copy of a ledger, instead of this agent's."),
]
SinceOption: TypeAlias = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="yesterday, today, 7d, 24h, a date or a moment.")
]
UntilOption: TypeAlias = Annotated[
    str | None, typer.Option("--until", metavar="WHEN", help="The same; a day means its end.")
]
PROGRESS_ABOVE = 128 << 20
"""Bytes of a ledger above which the verifier says how far it is."""


def verify(
    dir: DirOption = None,
    head: Annotated[
        list[Path] | None,
        typer.Option("--head", metavar="FILE", help="What penstock-relay agent heads --json printed."),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The ledger's public key, in base64url.")] = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Verify the whole ledger, offline. Names the first record that is wrong; exit status 1 then.

    Without --dir it is compared with the newest head that the relay gave back, too.
    """
    with problems(json):
        from penstock_agent.ledger import checking, verify_main

        state = state_of(config, state_dir) if dir is None else None
        begun = time.monotonic()
        result = checking.verified(state, folder_of(state, dir), head or [], key, _progress())
        if json:
            emit(verify_main.as_json(result))
        else:
            for line in verify_main.words(result, time.monotonic() - begun):
                say(printable(line, 1000))
    raise typer.Exit(Exit.DONE if result.good else Exit.FAILED)


def report(
    since: SinceOption = "yesterday",
    until: UntilOption = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page of HTML instead.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not verify the ledger before.")] = False,
    dir: DirOption = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Say on one page who used what through which assistant, what left, and what was denied or masked.

    Exit status 1 when the ledger is not whole.
    """
    with problems(json):
        from penstock_agent.ledger import checking, page
        from penstock_agent.ledger import report as reports
        from penstock_agent.ledger.moments import local
        from penstock_agent.ledger.reading import read
        from penstock_agent.ledger.record import moment

        state = state_of(config, state_dir) if dir is None else None
        folder = folder_of(state, dir)
        begins, ends = moment_of(since, 0.0), moment_of(until, inf, end=True)
        found = reports.report(read(folder, begins, ends))
        result = None if quick else checking.verified(state, folder, [], None, _progress())
        good = result is None or result.good
        verified = checking.words(result)
        now = time.time()
        start, end = moment(begins).decode(), moment(min(ends, now)).decode()
        if json:
            emit(_report_as_json(found, result, start, end))
        else:
            sentences = page.summary(found, local(start) if begins else "the beginning", local(end), verified)
            if html is None:
                for line in page.words(found, sentences, checking.name_of):
                    say(line)
            else:
                title = "What left this site"
                _write(html, page.html(found, title, sentences, good, checking.name_of))
                say(f"Written: {html}. {verified}")
    raise typer.Exit(Exit.DONE if good else Exit.FAILED)


def show(
    since: SinceOption = None,
    person: Annotated[str | None, typer.Option("--person", help="Subject, e-mail, part of a name.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", metavar="GLOB", help="Only about such tools.")] = None,
    server: Annotated[str | None, typer.Option("--server", help="Only about this server.")] = None,
    exchange: Annotated[str | None, typer.Option("--exchange", help="Only about this exchange.")] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was not let through.")] = False,
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="At most so many, the newest.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    dir: DirOption = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show records: decisions, what left, what was masked, and what happened on site."""
    with problems(json):
        from penstock_agent.ledger import reading
        from penstock_agent.ledger.showing import Filter, line

        folder = folder_of(state_of(config, state_dir) if dir is None else None, dir)
        wanted = Filter(person, tool, server, exchange, denied)
        begins = moment_of(since, 0.0)

        def tell(each: Record) -> None:
            _tell(each, line(each), json)

        latest: deque[Record] = deque(maxlen=number)
        if not follow:
            latest.extend(each for each in reading.read(folder, begins) if wanted.takes(each))
            for each in latest:
                tell(each)
            return
        caught_up = False
        for found in reading.follow(folder, begins):
            if found is None:
                if not caught_up:
                    for each in latest:
                        tell(each)
                    caught_up = True
                sys.stdout.flush()
            elif wanted.takes(found):
                if caught_up:
                    tell(found)
                else:
                    latest.append(found)


class Format(StrEnum):
    """How records are printed for other programs."""

    JSONL = "jsonl"
    CEF = "cef"


def export(
    since: SinceOption = None,
    until: UntilOption = None,
    format: Annotated[
        Format, typer.Option("--format", help="jsonl has all of each record; cef is for a SIEM.")
    ] = Format.JSONL,
    dir: DirOption = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """Print all records on stdout, one a line, each with its caller."""
    with problems():
        from penstock import __version__
        from penstock_agent.ledger import cef
        from penstock_agent.ledger.reading import read

        folder = folder_of(state_of(config, state_dir) if dir is None else None, dir)
        for each in read(folder, moment_of(since, 0.0), moment_of(until, inf, end=True)):
            in_cef = format is Format.CEF
            _tell(each, cef.line(each, __version__) if in_cef else "", not in_cef)


def _tell(each: Record, line: str, as_json: bool) -> None:
    import msgspec

    try:
        sys.stdout.write((msgspec.json.encode(each.resolved()).decode() if as_json else line) + "\n")
    except BrokenPipeError:
        raise typer.Exit(Exit.DONE) from None


def state_of(config: ConfigOption, state_dir: StateDirOption) -> Path:
    """The state folder of this agent, also where the rest of its file cannot be read. Raises Problem."""
    return to_find_the_agent(config, state_dir)[0].state_dir


def folder_of(state: Path | None, dir: Path | None) -> Path:
    """Where the ledger is."""
    from penstock_agent.ledger.segments import FOLDER

    if dir is not None:
        return dir
    return (state or Path()) / FOLDER


def moment_of(text: str | None, default: float, *, end: bool = False) -> float:
    """Seconds since 1970, of --since and --until. Raises Problem."""
    from penstock_agent.ledger import moments

    if text is None:
        return default
    try:
        return moments.parse(text, time.time(), end=end)
    except (ValueError, OverflowError, OSError):
        raise usage(f"{text[:40]!r} is no moment. Write {moments.WRITTEN}.") from None


class _progress:
    """Says on stderr how far the verifier is, where that takes a while."""

    def __call__(self, done: int, total: int) -> None:
        if total > PROGRESS_ABOVE:
            typer.echo(f"verifying: {done >> 20} of {total >> 20} MiB", err=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Problem(f"{path} cannot be written: {error.strerror}.") from None


def _report_as_json(found: object, result: Result | None, start: str, end: str) -> dict[str, object]:
    import msgspec

    from penstock_agent.ledger import verify_main

    said = msgspec.to_builtins(found)
    total = msgspec.to_builtins(found.total)  # type: ignore[attr-defined]  # a report
    for name in ("person", "client", "tool", "approved_by"):
        del total[name]
    return {
        "since": start,
        "until": end,
        "total": total,
        **said,
        "verified": None if result is None else verify_main.as_json(result),
    }
