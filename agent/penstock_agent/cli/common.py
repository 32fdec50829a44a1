"""What every command shares: options, printing, and how a :class:`Problem` becomes an exit status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from penstock_agent.problem import Exit, Problem

if TYPE_CHECKING:
    from penstock_agent.config import Settings

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


def to_find_the_agent(config: Path | None, state_dir: Path | None) -> tuple[Settings, Problem | None]:
    """The settings; where they cannot be used, only where the agent is, and why.

    A running agent goes on with what it had when a mistake gets into its file: it must be possible to stop it
    then, too. Raises ConfigError for a file that another user could have written.
    """
    import os
    import tomllib
    from json import dumps

    from penstock_agent.config import DEFAULT_CONFIG, Options, load, parse
    from penstock_agent.settings_file import ConfigError, read_text

    options = Options(config, state_dir)
    try:
        return load(options), None
    except ConfigError as error:
        why = error
    named = config or os.environ.get("PENSTOCK_AGENT_CONFIG") or DEFAULT_CONFIG
    given = Path(named).absolute()
    text = read_text(given, must_exist=True) or ""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        table = {}
    kept = {name: value for name in ("state_dir", "runtime_dir") if isinstance(value := table.get(name), str)}
    lines = "\n".join(f"{name} = {dumps(value)}" for name, value in kept.items())
    return parse(lines, given, options, os.environ), why
