"""What every command shares: options, printing, and how a :class:`Problem` becomes an exit status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from penstock_agent.problem import Exit, Problem

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file (default: /etc/penstock-agent/agent.toml)."),
]
StateDirOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="FOLDER", help="State folder (default: /var/lib/penstock-agent)."),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@contextmanager
def problems(as_json: bool = False) -> Iterator[None]:
    """Tell a :class:`Problem` in its own words, on stderr or as JSON on stdout, and exit with its status."""
    try:
        yield
    except Problem as e:
        if as_json:
            emit({"error": {"text": str(e), "status": int(e.status)}})
        else:
            say_error(str(e))
        raise typer.Exit(int(e.status)) from None


def emit(value: Mapping[str, object]) -> None:
    """Print one JSON object."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def say(text: str = "") -> None:
    """Print for a person."""
    typer.echo(text)


def say_error(text: str) -> None:
    """Tell a person what did not work, each line with the program's name."""
    for line in text.splitlines():
        typer.echo(f"penstock-agent: {line}", err=True)


def usage(text: str) -> Problem:
    """A problem with how the command was called."""
    return Problem(text, Exit.USAGE)
