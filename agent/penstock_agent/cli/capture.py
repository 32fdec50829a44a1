"""``penstock-agent capture``: the key for captured payload, and what can be read with it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say, usage
from penstock_agent.cli.ledger import folder_of, state_of
from penstock_agent.problem import Exit, Problem, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from penstock_agent.capture.opened import Found, Opened

SHOWN = 1 << 20
"""Characters of a piece that are shown."""
_FITS = {True: "as in the ledger", False: "NOT AS IN THE LEDGER", None: "no hash in the ledger"}


def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key is written.")],
    json: JsonOption = False,
) -> None:
    """Make a key for captured payload. Do it on another machine than the agent's, and keep FILE there."""
    with problems(json):
        from penstock_agent.capture import sealed
        from penstock_agent.files import write_atomic

        if file.exists():
            raise usage(
                f"{file} exists. Name a file that does not: what is sealed to a key that is gone is lost."
            )
        private, public = sealed.generate()
        try:
            write_atomic(file, private.encode() + b"\n", 0o600)
        except OSError as e:
            raise Problem(f"{file} cannot be written: {e.strerror}.") from None
        if json:
            emit({"file": str(file), "recipient": public})
        else:
            say(f"Written: {file}. Keep it away from the agent's machine. For its agent.toml:")
            say(f'[capture]\nrecipient = "{public}"')


def open_(
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The private key.")],
    exchange: Annotated[
        str | None, typer.Option("--exchange", metavar="KEY", help="Show what this one said, whole.")
    ] = None,
    dir: Annotated[
        Path | None, typer.Option("--dir", metavar="FOLDER", help="A copy of the folder capture.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", metavar="FOLDER", help="A copy of the ledger, to compare.")
    ] = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """List what was captured, and compare it with the ledger. With --exchange: show it.

    Exit status 1 when something was changed, cannot be read, or is not what the ledger says.
    """
    with problems(json):
        from penstock_agent.capture import opened
        from penstock_agent.capture.capture import FOLDER
        from penstock_agent.ledger import reading

        private = _key(key)
        state = state_of(config, state_dir) if dir is None or ledger is None else None
        folder = dir or (state or Path()) / FOLDER
        try:
            found = opened.Found(folder)
        except OSError as e:
            raise _unreadable(folder, e) from None
        if exchange is None:
            known = {one.piece.exchange for one in _pieces(found, private, folder) if one.piece is not None}
        else:
            known = {exchange}
        said = opened.Ledgered(reading.read(folder_of(state, ledger)), frozenset(known))
        good, number = True, 0
        if json:
            typer.echo('{\n  "pieces": [', nl=False)
        for one in _pieces(found, private, folder):
            if one.piece is not None and one.piece.exchange not in known:
                continue
            fits = None if one.piece is None else said.fits(one.piece, one.data)
            good = good and one.piece is not None and fits is not False
            if json:
                _emit_next(_as_json(one, fits, exchange is not None), number)
            else:
                _tell(one, fits, exchange is not None)
            number += 1
        if json:
            end = "\n  ]" if number else "]"
            typer.echo(f'{end},\n  "good": {"true" if good else "false"}\n}}')
        elif not number:
            say("Nothing is there.")
    raise typer.Exit(Exit.DONE if good else Exit.FAILED)


def _pieces(found: Found, key: X25519PrivateKey, folder: Path) -> Iterator[Opened]:
    """One at a time: there may be more than fits into memory. Raises Problem."""
    try:
        yield from found.read(key)
    except OSError as e:
        raise _unreadable(folder, e) from None


def _unreadable(folder: Path, error: OSError) -> Problem:
    return Problem(f"{folder} cannot be read: {error.strerror}. Run it as root, or on a copy.")


def _emit_next(value: Mapping[str, object], number: int) -> None:
    """Print one more member of a list that has begun, as ``emit`` prints it whole."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    typer.echo(f"{',' if number else ''}\n    " + text.replace("\n", "\n    "), nl=False)


def _key(path: Path) -> X25519PrivateKey:
    from penstock_agent.capture import sealed

    try:
        return sealed.private(path.read_text(encoding="ascii"))
    except OSError as e:
        raise usage(f"{path} cannot be read: {e.strerror}.") from None
    except ValueError:
        raise usage(f"{path} is no private key of penstock-agent capture keygen.") from None


def _tell(one: Opened, fits: bool | None, whole: bool) -> None:
    from penstock_agent.ledger.record import moment

    piece = one.piece
    if piece is None:
        say(f"{one.file}: CANNOT BE READ: {printable(one.problem, 200)}.")
        return
    at, what = moment(piece.at).decode(), "request" if piece.way == "in" else f"answer from {piece.offset}"
    say(f"{at} {printable(piece.exchange, 100)} {what}, {len(one.data)} bytes, {_FITS[fits]}")
    if whole:
        say(printable(one.data.decode("utf-8", "replace"), SHOWN))


def _as_json(one: Opened, fits: bool | None, whole: bool) -> dict[str, object]:
    piece = one.piece
    if piece is None:
        return {"file": one.file, "problem": one.problem}
    said: dict[str, object] = {
        "file": one.file,
        "at": piece.at,
        "exchange": piece.exchange,
        "way": piece.way,
        "offset": piece.offset,
        "bytes": len(one.data),
        "in_ledger": fits,
    }
    return {**said, "data": base64.b64encode(one.data).decode()} if whole else said
