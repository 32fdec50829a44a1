"""What the commands share: options, output, and the one place where an error becomes a line and a status."""

import asyncio
import functools
import os
import pwd
import re
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from penstock_relay.audit import Actor
    from penstock_relay.config import Settings
    from penstock_relay.store import Store

P = ParamSpec("P")
T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings, as TOML (default: PENSTOCK_RELAY_CONFIG, or /etc/penstock-relay/relay.toml).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])")


class Failed(Exception):
    """The command failed; the text says why and what to do (status 1)."""


class Usage(Exception):
    """The command was given what it cannot take; the text says what and why (status 2)."""


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Ends every error of ``command`` in one line on stderr and a status, never in a stack trace."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            raise
        except Exception as error:
            status, text = _explained(error)
            explain(f"penstock-relay: {text}")
            raise typer.Exit(status) from None

    return run


def _explained(error: Exception) -> tuple[int, str]:
    # Imported here: that an error might come is no reason to load everything before it does.
    from sqlalchemy.exc import SQLAlchemyError

    from penstock.names import BadName
    from penstock.tls import BadTlsFile
    from penstock_relay.ca import CaError
    from penstock_relay.config import ConfigError
    from penstock_relay.sealed import SealError
    from penstock_relay.store import StoreError

    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Usage | BadName | ConfigError | SealError):
        return 2, str(error)
    if isinstance(error, Failed | BadTlsFile | CaError | StoreError):
        return 1, str(error)
    if isinstance(error, SQLAlchemyError):
        # The driver's words only: the rest of the text holds the statement and its parameters.
        return 1, f"The store failed: {getattr(error, 'orig', None) or type(error).__name__}. Try again."
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return 1, f"{where}{error.strerror or type(error).__name__}."
    # No text of an error that nobody foresaw: it may hold what was being worked on.
    return 1, f"Stopped by an unexpected {type(error).__name__}. Please report it."


def settings_of(ctx: typer.Context, config: Path | None) -> "Settings":
    """The settings of a command; its own ``--config`` wins over the one before it. Raises ConfigError."""
    from penstock_relay.settings_file import load

    before = ctx.find_root().params.get("config")
    return load(config or (Path(before) if before else None))


def urls(settings: "Settings", site: str, server: str | None) -> str:
    """Where assistants find a server, or those of a site (None), as a sentence."""
    from penstock_relay import listening

    running = None if settings.public_url is not None else listening.read(settings.state_dir)
    origin = settings.public_url or (running.public_url if running is not None else "PUBLIC_URL")
    if server is not None:
        return f"Its URL is {origin}/{site}/{server}/mcp."
    return f"Each has its URL, {origin}/{site}/SERVER/mcp; all of them together have {origin}/{site}/mcp."


def wants_json(ctx: typer.Context, here: bool) -> bool:
    """Whether ``--json`` was given to the command (``here``) or before it."""
    return here or bool(ctx.find_root().params.get("json"))


def with_store(settings: "Settings", work: Callable[["Store"], Coroutine[object, object, T]]) -> T:
    """Runs ``work`` on the store of ``settings``, opened for it alone, as who runs us. Raises StoreError."""
    from penstock_relay.store import Store

    async def run() -> T:
        async with await Store.open(settings.database) as store:
            return await work(store.by(operator()))

    return asyncio.run(run())


def operator() -> "Actor":
    """Who runs this command, for the audit log."""
    from penstock_relay import audit

    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container need not have a name for its user
        name = str(uid)
    return audit.command(uid, name, socket.gethostname(), os.environ.get("SUDO_USER"))


def seconds(text: str, *, what: str, most: str) -> int:
    """The length of ``90d``, ``12h``, ``30m`` or ``45s`` in seconds. Raises Usage, also above ``most``."""
    match, limit = _DURATION.fullmatch(text), _DURATION.fullmatch(most)
    if match is None or limit is None:
        raise Usage(f"{what} {text!r} is not a length of time: write 45s, 30m, 12h or 7d.")
    value = int(match[1]) * _UNITS[match[2]]
    if value > int(limit[1]) * _UNITS[limit[2]]:
        raise Usage(f"{what} {text} is too long: at most {most}.")
    return value


def moment(seconds_since_epoch: float) -> str:
    """A time for people and scripts alike: ISO 8601, UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds_since_epoch), UTC).isoformat().replace("+00:00", "Z")


def say(text: str) -> None:
    """The result, on stdout."""
    typer.echo(text)


def say_json(value: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    """The result, as one JSON document on stdout."""
    import msgspec

    typer.echo(msgspec.json.encode(value).decode())


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The result, as columns on stdout."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    for row in [header, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def explain(text: str) -> None:
    """Words for a person, on stderr: scripts take stdout as it is."""
    typer.echo(text, err=True)
