"""``penstock-agent servers``: list, test, add, remove and accept the servers of agent.toml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    usage,
)
from penstock_agent.cli.trying import (
    as_json,
    ask_status,
    not_reviewed,
    on_terminal,
    reload_running,
    say_next,
    show_trial,
    try_out,
)
from penstock_agent.cli.variables import hide_secrets, pairs, read_variables
from penstock_agent.problem import Exit, printable

if TYPE_CHECKING:
    from penstock_agent import control
    from penstock_agent.adding.tables import Value
    from penstock_agent.config import Settings
    from penstock_agent.server_settings import ServerSettings

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The server's name in agent.toml.")]


def list_servers(
    config: ConfigOption = None, state_dir: StateDirOption = None, json: JsonOption = False
) -> None:
    """Show the servers of agent.toml: what they are, how they are confined, and what runs of them."""
    with problems(json):
        from penstock_agent.config import Options, load

        settings = load(Options(config, state_dir))
        running = ask_status(settings)
        known = {} if running is None else {each.name: each for each in running.servers}
        marked = not_reviewed(settings)
        rows = [
            {
                "name": name,
                "kind": "url" if server.url is not None else "command" if server.image is None else "image",
                "expose": list(server.expose),
                "isolation": None if server.url is not None else _isolation(server, known.get(name)),
                "network": None if server.url is not None else _network(server),
                "children": known[name].children if name in known else None,
                "prepared": _prepared(settings, name, server),
                "not_reviewed": marked.get(name, []),
            }
            for name, server in settings.servers.items()
        ]
        if json:
            emit({"servers": rows})
            return
        for row, server in zip(rows, settings.servers.values(), strict=True):
            say(_line(row, server))
        if not rows:
            say(
                f"There are no servers in {settings.config_file}. "
                "Take those of another host: penstock-agent import"
            )
        elif running is None:
            say("The agent does not run.")


def try_server(
    name: NameArgument,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Start a server once as the agent would, and say how far it comes. Exit status 1 when it fails."""
    with problems(json):
        from penstock_agent.config import Options, load

        settings = load(Options(config, state_dir))
        found = try_out(settings, name, settings.server(name))
        if json:
            emit(as_json(found))
        else:
            show_trial(found)
    raise typer.Exit(Exit.DONE if found.works else Exit.FAILED)


def add(
    name: NameArgument,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND [ARG…]", help="The program and its arguments.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="A server that runs already.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", metavar="IMAGE", help="At its digest, run by podman; the command is what it is given."
        ),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="A variable. May be repeated.")
    ] = None,
    env_file: Annotated[
        Path | None, typer.Option("--env-file", metavar="FILE", help="Variables, one NAME=VALUE a line.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="With --url. May be repeated.")
    ] = None,
    read: Annotated[
        list[Path] | None, typer.Option("--read", metavar="PATH", help="What it may see. May be repeated.")
    ] = None,
    write: Annotated[
        list[Path] | None,
        typer.Option("--write", metavar="PATH", help="What it may change. May be repeated."),
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="none|host", help="none without it.")
    ] = None,
    no_test: Annotated[bool, typer.Option("--no-test", help="Do not start it now.")] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Write a server into agent.toml, and test it.

    Values of --env that look like secrets go into files of the state folder. Nothing is exposed by this.
    """
    with problems(json):
        from penstock.names import BadName, parse_name
        from penstock_agent.adding import secretfiles, tables
        from penstock_agent.config import Options, load
        from penstock_agent.exposing import edit

        if (url is None) == (not command and image is None) or (url is not None and image is not None):
            raise usage("Give either -- COMMAND ARG… or --image IMAGE or --url URL.")
        if image is not None:
            _check_image(image)
        settings = load(Options(config, state_dir))
        try:
            parse_name(name, "server name")
        except BadName as e:
            raise usage(str(e)) from None
        if name in settings.servers:
            raise usage(
                f"There is a server named {name} already. Choose another name, or remove that one first."
            )
        values: dict[str, Value] = (
            {"image": image} if image is not None else {} if command else {"url": url or ""}
        )
        if command:
            values["command"] = command
        variables = {**(read_variables(env_file) if env_file else {}), **pairs(env, "--env")}
        made: list[Path] = []
        try:
            if variables:
                values["env"] = hide_secrets(settings, name, variables, made)
            if header:
                values["headers"] = hide_secrets(settings, name, pairs(header, "--header"), made, header=True)
            for key, paths in (("read", read), ("write", write)):
                if paths:
                    values[key] = [str(path.absolute()) for path in paths]
            if network:
                values["network"] = network
            changed = edit.change(
                settings, lambda text, path: tables.added(text, path, name, values), create=True
            )
        except BaseException:
            secretfiles.discard(settings.state_dir, made)
            raise
        if not json:
            say(f"Written to {settings.config_file}.")
            for path in made:
                say(f"A value that looks like a secret is in {path} (0600).")
        reloaded = reload_running(changed)
        found = None if no_test else try_out(changed, name, changed.server(name))
        if json:
            emit({"server": name, "written": True, "reloaded": reloaded, "test": found and as_json(found)})
        else:
            if found is not None:
                show_trial(found)
            say_next(name, found, changed.server(name))
    raise typer.Exit(Exit.FAILED if found is not None and not found.works else Exit.DONE)


def _check_image(image: str) -> None:
    from penstock_agent.children.containers import image as images

    try:
        images.check(image)
    except ValueError as error:
        raise usage(f"--image {printable(image, 200)} {error}.") from None


def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, though it exposes something.")] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Take a server out of agent.toml, with what was prepared for it and its secret files. Its data stays."""
    with problems(json):
        from penstock_agent import asuser
        from penstock_agent.adding import install, secretfiles, tables
        from penstock_agent.children.environment import server_folder
        from penstock_agent.config import Options, load
        from penstock_agent.exposing import edit

        settings = load(Options(config, state_dir))
        server = settings.server(name)
        if server.isolation == "unit":
            raise usage(
                f"{name} has units of its own, which would stay. Take them away first: "
                f"sudo penstock-agent servers harden {name} --undo"
            )
        if server.expose and not yes:
            exposed = f"{name} exposes {', '.join(server.expose)}."
            if json or not on_terminal():
                raise usage(f"{exposed} Whoever uses it loses it: say --yes to remove it all the same.")
            say(exposed)
            if input("Remove it? [y/N]: ").strip().lower() not in ("y", "yes"):
                say("Nothing was changed.")
                raise typer.Exit(Exit.DONE)
        changed = edit.change(settings, lambda text, path: tables.removed(text, path, name))
        reloaded = reload_running(changed)
        unused = set(server.secret_files) - {p for s in changed.servers.values() for p in s.secret_files}

        def discard() -> bytes:
            install.tidy(settings.state_dir, name, [])
            return b"\n".join(bytes(p) for p in secretfiles.discard(settings.state_dir, unused))

        gone = asuser.call(discard, settings.state_dir) if settings.state_dir.exists() else b""
        folder = server_folder(settings.state_dir, name)
        if json:
            emit(
                {"server": name, "removed": True, "reloaded": reloaded, "secrets": gone.decode().splitlines()}
            )
            return
        say(
            f"{name} is no longer in {settings.config_file}."
            + (" The running agent has read it." if reloaded else "")
        )
        if gone:
            say(f"Removed with it: {gone.decode().replace(chr(10), ', ')}")
        if folder.exists():
            say(f"Its own data is still in {folder}.")


def accept(
    name: NameArgument,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Accept what import wrote for a server: config check lists it no longer."""
    with problems(json):
        from penstock_agent.adding import tables
        from penstock_agent.config import Options, load
        from penstock_agent.exposing import edit

        settings = load(Options(config, state_dir))
        server = settings.server(name)
        keys = not_reviewed(settings).get(name, [])
        if keys:
            edit.change(settings, lambda text, path: tables.accepted(text, path, name))
        lines = [f"{key} = {tables.written(_value(server, key))}" for key in keys]
        if json:
            emit({"server": name, "accepted": keys})
            return
        for line in lines:
            say(f"accepted: {line}")
        if not keys:
            say(f"Nothing of {name} waits to be accepted.")


def _value(server: ServerSettings, key: str) -> Value:
    value: object = getattr(server, key)
    return [str(each) for each in value] if isinstance(value, tuple) else str(value)


def _prepared(settings: Settings, name: str, server: ServerSettings) -> str | None:
    from penstock_agent.adding import install

    found = install.record_of(settings.state_dir, name, server.command)
    return None if found is None else f"{found.name} {found.version}"


def _network(server: ServerSettings) -> str:
    return server.network if isinstance(server.network, str) else ", ".join(server.network)


def _isolation(server: ServerSettings, known: control.ServerStatus | None) -> str:
    from penstock_agent.children.confinement import kernel
    from penstock_agent.children.confinement.plan import CannotConfine
    from penstock_agent.servers import confinement

    if known is not None and known.isolation:
        return known.isolation.partition(" ")[0]
    try:
        return confinement(server, ()).words(kernel.look())[0].partition(" ")[0]
    except CannotConfine:
        return "cannot be had"


def _line(row: Mapping[str, object], server: ServerSettings) -> str:
    from penstock_agent.adding.secretwords import masked
    from penstock_agent.remote import address

    count = len(server.expose)
    parts = ["exposes nothing" if not count else f"exposes {count} {'entry' if count == 1 else 'entries'}"]
    if server.url is None:
        parts.append(f"isolation {row['isolation']}, network {row['network']}")
    if row["children"] is not None:
        what = "children run" if server.url is None else "conversations open"
        parts.append(f"{row['children']} {what}")
    if row["prepared"]:
        parts.append(f"prepared: {printable(str(row['prepared']), 100)}")
    if row["not_reviewed"]:
        parts.append(f"not reviewed: {', '.join(map(str, row['not_reviewed'] or ()))}")  # type: ignore[call-overload]
    shown = " ".join(masked(server.words)) if server.url is None else address.show(server.url)
    return f"{row['name']}: {row['kind']} {printable(shown, 100)}\n    {'; '.join(parts)}"
