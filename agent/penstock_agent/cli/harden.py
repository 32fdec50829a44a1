"""``penstock-agent servers harden``: gives a server units of its own, and a user with them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say
from penstock_agent.cli.servers import NameArgument
from penstock_agent.cli.trying import as_json, reload_running, show_trial, try_out
from penstock_agent.problem import Exit, Problem

if TYPE_CHECKING:
    from penstock_agent.config import Settings


def harden(
    name: NameArgument,
    print_: Annotated[bool, typer.Option("--print", help="Print the units, and change nothing.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the units away again.")] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Have systemd run a server: a user, a sandbox and limits of its own, and an instance for each session.

    Writes two units, enables the socket, sets isolation = "unit" and tests the server. Needs root.
    Again after every change of the server's command, env, network, read, write or limits.
    """
    with problems(json):
        from penstock_agent.config import Options, load
        from penstock_agent.hardening import installing

        settings = load(Options(config, state_dir))
        server = settings.server(name)
        if undo:
            _undo(settings, name, dry_run, json)
            return
        files = installing.units(settings, name, server, installing.systemctl)
        if print_:
            if json:
                emit({"server": name, "units": files})
            else:
                for file, text in files.items():
                    say(f"# {installing.UNITS / file}\n{text}")
            return
        steps = _steps(settings, name, list(files))
        if dry_run:
            _show_steps(name, steps, json)
            return
        _needs_root(name)
        installing.install(settings, name, files, installing.systemctl)
        changed = _set(settings, name, "unit")
        reloaded = reload_running(changed)
        if not json:
            for file in files:
                say(f"Written: {installing.UNITS / file}")
            say(f'{name} has isolation = "unit" in {settings.config_file}.')
        found = try_out(changed, name, changed.server(name))
        if json:
            emit({"server": name, "units": sorted(files), "reloaded": reloaded, "test": as_json(found)})
        else:
            show_trial(found)
            if not found.works:
                say(f"To have it as it was: penstock-agent servers harden {name} --undo")
    raise typer.Exit(Exit.DONE if found.works else Exit.FAILED)


def _undo(settings: Settings, name: str, dry_run: bool, json: bool) -> None:
    from penstock_agent.children.units.spec import unit
    from penstock_agent.hardening import installing

    if dry_run:
        names = [f"{unit(name)}.socket", f"{unit(name)}@.service"]
        steps = [
            f"remove the line isolation of [servers.{name}] from {settings.config_file}",
            f"systemctl disable --now {names[0]}",
            *(f"remove {installing.UNITS / file}" for file in names),
            "systemctl daemon-reload",
        ]
        _show_steps(name, steps, json)
        return
    _needs_root(name)
    # First the agent, so that it does not connect to what is being taken away.
    changed = _set(settings, name, None)
    reloaded = reload_running(changed)
    gone = installing.remove(settings, name, installing.systemctl)
    if json:
        emit({"server": name, "removed": [str(path) for path in gone], "reloaded": reloaded})
        return
    for path in gone:
        say(f"Removed: {path}")
    say(f"{name} is a process of the agent again. What it has stored is still in /var/lib/{unit(name)}.")


def _set(settings: Settings, name: str, level: str | None) -> Settings:
    from penstock_agent.adding import tables
    from penstock_agent.exposing import edit

    if level is None and settings.server(name).isolation != "unit":
        return settings
    return edit.change(settings, lambda text, path: tables.with_isolation(text, path, name, level))


def _steps(settings: Settings, name: str, files: list[str]) -> list[str]:
    from penstock_agent.children.units.spec import token_file, unit
    from penstock_agent.hardening import installing

    return [
        f"write {token_file(settings.state_dir, name)}",
        *(f"write {installing.UNITS / file}" for file in files),
        "systemctl daemon-reload",
        f"systemctl enable {unit(name)}.socket",
        f"systemctl restart {unit(name)}.socket",
        f'write isolation = "unit" to [servers.{name}] of {settings.config_file}',
        f"start {name} once, to test it",
    ]


def _show_steps(name: str, steps: list[str], json: bool) -> None:
    if json:
        emit({"server": name, "steps": steps})
        return
    for step in steps:
        say(f"would {step}" if not step.startswith("systemctl") else f"would run: {step}")


def _needs_root(name: str) -> None:
    if os.geteuid() != 0:
        raise Problem(
            f"Units are root's to write. Run: sudo penstock-agent servers harden {name}\n"
            f"To see them first: penstock-agent servers harden {name} --print"
        )
