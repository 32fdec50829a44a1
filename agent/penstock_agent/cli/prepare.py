"""``penstock-agent servers prepare``: fetches a server's package once: it then starts without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    say_error,
    usage,
)
from penstock_agent.cli.servers import NameArgument
from penstock_agent.cli.trying import as_json, not_reviewed, reload_running, say_next, show_trial, try_out
from penstock_agent.problem import Exit, printable

if TYPE_CHECKING:
    from penstock_agent.adding.fetch import Prepared
    from penstock_agent.adding.packages import Wanted
    from penstock_agent.adding.trial import Trial
    from penstock_agent.config import Settings
    from penstock_agent.server_settings import ServerSettings


def prepare(
    name: NameArgument,
    upgrade: Annotated[
        bool,
        typer.Option("--upgrade", help="Fetch again what was prepared: the newest that the command allows."),
    ] = False,
    scripts: Annotated[
        bool, typer.Option("--scripts", help="Let packages run programs of theirs while they are installed.")
    ] = False,
    no_test: Annotated[bool, typer.Option("--no-test", help="Do not start it before it is written.")] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch what a server would fetch at its start once, at a fixed version, and have it start from that: the
    package of an npx or uvx server, the image of one in a container.

    It needs the network now, and none afterwards. agent.toml changes only when all of it is there and starts.
    """
    with problems(json):
        from penstock_agent import asuser, state
        from penstock_agent.adding import install
        from penstock_agent.config import Options, load

        settings = load(Options(config, state_dir))
        server = settings.server(name)
        if server.image is not None:
            _fetch_image(settings, name, server, server.image, not no_test, json)
        known = install.record_of(settings.state_dir, name, server.command)
        if known is not None and not upgrade:
            if json:
                emit(
                    {"server": name, "changed": False, "version": known.version, "integrity": known.integrity}
                )
            else:
                say(f"{name} is prepared: {known.name} {known.version}. Newer: --upgrade")
            return
        was = list(server.command) if known is None else known.was
        wanted = _wanted(name, server, was)
        state.prepare(settings.state_dir)
        if not json:
            say(f"fetching {printable(', '.join(wanted.packages), 200)} from {wanted.registry} ...")
        made = _install(settings, name, wanted, was, scripts, quiet=json)
        keep = [list(server.command)]
        try:
            same = known is not None and (known.version, known.integrity) == (made.version, made.integrity)
            found, offline = (None, True) if same or no_test else _try(settings, name, server, made, json)
            if not same and (found is None or found.works):
                _write(settings, name, made, offline)
                keep.append(made.command)
        finally:
            asuser.call(lambda: _tidy(settings, name, keep), settings.state_dir)
        changed = made.command in keep
        if json:
            emit(
                {
                    "server": name,
                    "changed": changed,
                    "package": made.name,
                    "version": made.version,
                    "before": None if known is None else known.version,
                    "integrity": made.integrity,
                    "packages": made.packages,
                    "scripts_not_run": made.scripts,
                    "command": made.command,
                    "test": found and as_json(found),
                }
            )
        else:
            _tell(name, known, made, found, same)
        if changed:
            reloaded = reload_running(settings.reload())
            if not json:
                say(
                    f"Written to {settings.config_file}."
                    + (" The running agent has read it." if reloaded else "")
                )
                say_next(name, found, settings.reload().server(name))
    raise typer.Exit(Exit.DONE if changed or same else Exit.FAILED)


def _fetch_image(
    settings: Settings, name: str, server: ServerSettings, image: str, test: bool, json: bool
) -> NoReturn:
    """An image is fetched at its digest: there is nothing to write."""
    import os

    from penstock_agent import asuser, state
    from penstock_agent.children.containers import podman
    from penstock_agent.problem import Problem

    def run() -> bytes:
        try:
            podman.look(os.environ)
            if podman.has(image, os.environ):
                return b"here"
            podman.pull(image, os.environ)
        except podman.PodmanError as error:
            raise Problem(f"{name}: {error}") from None
        return b"fetched"

    state.prepare(settings.state_dir)
    if not json:
        say(f"fetching {image} ...")
    changed = asuser.call(run, settings.state_dir) == b"fetched"
    found = try_out(settings, name, server, quiet=json) if test else None
    if json:
        emit({"server": name, "changed": changed, "image": image, "test": found and as_json(found)})
    else:
        say("It is on this machine now." if changed else "It was on this machine.")
        if found is not None:
            show_trial(found)
    raise typer.Exit(Exit.DONE if found is None or found.works else Exit.FAILED)


def _wanted(name: str, server: ServerSettings, was: Sequence[str]) -> Wanted:
    from penstock_agent.adding.packages import NotPreparable, wanted

    if server.url is not None:
        raise usage(f"{name} has a url: it runs elsewhere, and there is nothing to fetch.")
    try:
        found = wanted(was)
    except NotPreparable as e:
        raise usage(f"{name} cannot be prepared: {e}.") from None
    if found is None:
        raise usage(
            f"The command of {name} fetches nothing when it starts (it is not npx, uvx, uv tool run or pipx "
            "run): there is nothing to prepare."
        )
    return found


def _install(
    settings: Settings, name: str, wanted: Wanted, was: Sequence[str], scripts: bool, *, quiet: bool
) -> Prepared:
    import msgspec

    from penstock_agent import asuser
    from penstock_agent.adding import install
    from penstock_agent.adding.fetch import Prepared

    def run() -> bytes:
        made = install.install(
            wanted,
            was,
            settings.state_dir,
            name,
            scripts=scripts,
            tell=(lambda _: None) if quiet else say_error,
        )
        return msgspec.msgpack.encode(made)

    return msgspec.msgpack.decode(asuser.call(run, settings.state_dir), type=Prepared)


def _try(
    settings: Settings, name: str, server: ServerSettings, made: Prepared, quiet: bool
) -> tuple[Trial, bool]:
    """How it starts from there, and whether it does so without the network that only import gave it."""
    imported = "network" in not_reviewed(settings).get(name, ())
    there = server.model_copy(update={"command": tuple(made.command)})
    found = try_out(
        settings, name, there.model_copy(update={"network": "none"}) if imported else there, quiet=quiet
    )
    if imported and not found.works:
        again = try_out(settings, name, there, quiet=quiet)
        if again.works:
            return again, False
    return found, True


def _write(settings: Settings, name: str, made: Prepared, offline: bool) -> None:
    import shlex

    from penstock_agent.adding import tables
    from penstock_agent.adding.secretwords import masked
    from penstock_agent.exposing import edit

    comment = f"{made.name} {made.version}, prepared; was: {shlex.join(masked(made.was))}"
    edit.change(
        settings,
        lambda text, path: tables.with_command(text, path, name, made.command, comment, offline=offline),
    )


def _tidy(settings: Settings, name: str, keep: Sequence[Sequence[str]]) -> bytes:
    from penstock_agent.adding import install

    install.tidy(settings.state_dir, name, [word for command in keep for word in command[:2]])
    return b""


def _tell(name: str, known: Prepared | None, made: Prepared, found: Trial | None, same: bool) -> None:
    if same:
        say(f"{made.name} {made.version} is the newest that the command allows. Nothing was changed.")
        return
    step = made.version if known is None else f"{known.version} -> {made.version}"
    say(f"{made.name} {step}, with {made.packages - 1} packages that it needs")
    if made.integrity:
        say(f"  integrity {made.integrity}")
    if made.scripts:
        say(
            f"  install scripts that were not run: {printable(', '.join(made.scripts), 300)}. "
            f"If it does not start without them: penstock-agent servers prepare {name} --scripts"
        )
    if found is not None:
        show_trial(found)
        if not found.works:
            say("Nothing was changed.")
