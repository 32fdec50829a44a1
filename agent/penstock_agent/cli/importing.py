"""``penstock-agent import``: takes servers from the files of other MCP hosts on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say, usage
from penstock_agent.cli.found import Candidate, as_json, show, tell
from penstock_agent.cli.trying import on_terminal, reload_running, show_trial, try_out
from penstock_agent.cli.variables import read_variables, store_secrets
from penstock_agent.problem import Exit, printable

if TYPE_CHECKING:
    from penstock_agent.adding.documents import Entry
    from penstock_agent.adding.hosts import Source
    from penstock_agent.adding.placeholders import World
    from penstock_agent.adding.tables import Value
    from penstock_agent.config import Settings
    from penstock_agent.server_settings import ServerSettings

BACKUP = ".before-import"


def import_(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE…]", help="Files of other hosts; without one, those that are found."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Take all that can be taken and are in use there.")
    ] = False,
    take: Annotated[
        list[str] | None, typer.Option("--take", metavar="NAME", help="Take this one. May be repeated.")
    ] = None,
    values: Annotated[
        Path | None, typer.Option("--values", metavar="FILE", help="NAME=VALUE lines for placeholders.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also take those that do not start.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is there and would be written.")
    ] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Take servers from the mcpServers files of other MCP hosts into agent.toml. Exposes nothing.

    Each that you take is started once to see what it needs. Secrets go into files of the state folder.
    """
    with problems(json):
        from penstock_agent.adding import secretfiles
        from penstock_agent.config import Options, load

        settings = load(Options(config, state_dir))
        given = read_variables(values) if values else {}
        found, looked, unread = _gather(settings, files or [], given)
        if not json:
            show(found, looked, unread)
        chosen = _chosen(found, everything, take or [], json)
        if chosen is None:
            if json:
                emit({"found": [as_json(each) for each in found], "unread": unread, "taken": []})
                raise typer.Exit(Exit.USAGE if found else Exit.DONE)
            raise typer.Exit(Exit.DONE)
        left = _fill(settings, chosen, given, json)
        made: list[Path] = []
        try:
            for each in chosen:
                _lines(settings, each, made, dry_run)
            if not dry_run:
                _find_out(settings, chosen, made, force, json)
            taken = [each for each in chosen if not each.barred]
            if taken and not dry_run:
                _write(settings, taken)
        except BaseException:
            secretfiles.discard(settings.state_dir, made)
            raise
        reloaded = bool(taken) and not dry_run and reload_running(settings)
        left += [each for each in chosen if each.barred]
        if json:
            emit(
                {
                    "found": [as_json(each) for each in found],
                    "unread": unread,
                    "taken": [as_json(each) for each in taken],
                    "left": [as_json(each) for each in left],
                    "written": bool(taken) and not dry_run,
                    "reloaded": reloaded,
                }
            )
        else:
            tell(settings, taken, left, dry_run, reloaded)
    raise typer.Exit(Exit.FAILED if left else Exit.DONE)


def _gather(
    settings: Settings, files: Sequence[Path], given: Mapping[str, str]
) -> tuple[list[Candidate], list[str], list[str]]:
    """What was found, where was looked, and what could not be read."""
    from penstock_agent.adding import convert, documents, hosts

    sources = [hosts.of_file(path) for path in files] or list(hosts.find(hosts.homes(), Path.cwd()))
    found: list[Candidate] = []
    looked: list[str] = []
    unread: list[str] = []
    known: dict[object, str] = {
        _likeness(_was(settings, name, server), server.url, server.env): name
        for name, server in settings.servers.items()
    }
    names = set(settings.servers)
    for source in sources:
        try:
            document = documents.read(hosts.read(source), toml=source.path.suffix == ".toml")
        except (hosts.CannotRead, documents.BadDocument) as e:
            text = str(e) if isinstance(e, hosts.CannotRead) else f"{source.path}: {e}."
            if files:
                raise usage(text) from None
            unread.append(text)
            continue
        looked.append(f"{source.host} ({source.path})")
        for entry in document.entries:
            proposal = convert.convert(entry, _world(settings, source, entry, document.inputs, given))
            like = _likeness(
                (*filter(None, [proposal.image]), *proposal.command), proposal.url or None, proposal.env
            )
            # Two with different values are two, such as one for each account.
            exactly = (like, tuple(proposal.env.values()), tuple(proposal.headers.items()))
            same = None if proposal.refused else known.get(like) or known.get(exactly)
            name = convert.free_name(proposal.name, names) if same is None else same
            each = Candidate(proposal, source, entry, document.inputs, name)
            if same is not None:
                each.present = f"agent.toml or another file has the same already, as {same}"
            else:
                names.add(name)
                if not proposal.refused:
                    known[exactly] = name
            found.append(each)
    return found, looked, unread


def _likeness(command: Sequence[str], url: str | None, env: Mapping[str, str]) -> object:
    """What two descriptions of the same server have in common, where one has its secrets elsewhere."""
    return tuple(command), url, frozenset(env)


def _was(settings: Settings, name: str, server: ServerSettings) -> Sequence[str]:
    """Its command before it was prepared."""
    from penstock_agent.adding import install

    found = install.record_of(settings.state_dir, name, server.command)
    return server.words if found is None else found.was


def _world(
    settings: Settings,
    source: Source,
    entry: Entry,
    inputs: Mapping[str, tuple[str, bool]],
    given: Mapping[str, str],
) -> World:
    from penstock_agent import state
    from penstock_agent.adding.placeholders import World

    project = entry.project or (str(source.project) if source.project else "")
    service = os.geteuid() == 0 and state.service_user() is not None
    return World(str(source.home), project, os.path.exists, inputs, given, service, _fixed(settings))


def _fixed(settings: Settings) -> Callable[[str], str]:
    """Says the digests of images that the agent's user has."""
    from penstock_agent import asuser
    from penstock_agent.children.containers import podman

    def fixed(image: str) -> str:
        def look() -> bytes:
            try:
                return podman.fixed(image, os.environ).encode()
            except podman.PodmanError:
                return b""

        return (asuser.call(look, settings.state_dir) if settings.state_dir.exists() else look()).decode()

    return fixed


def _chosen(
    found: Sequence[Candidate], everything: bool, take: Sequence[str], json: bool
) -> list[Candidate] | None:
    free = [each for each in found if not each.barred]
    if take:
        by_name = {each.name: each for each in found} | {each.proposal.original: each for each in found}
        for name in take:
            if name not in by_name:
                raise usage(f"No server named {name!r} was found. Nothing was changed.")
            if why := by_name[name].barred:
                raise usage(f"{name} cannot be taken: {why}. Nothing was changed.")
        return list({id(by_name[name]): by_name[name] for name in take}.values())
    if everything:
        return [each for each in free if not each.proposal.disabled]
    if json or not free:
        return None
    if not on_terminal():
        raise usage("Nothing was changed. Say which to take: --take NAME, or --all for those marked [x].")
    return _asked_which(found)


def _asked_which(found: Sequence[Candidate]) -> list[Candidate] | None:
    while True:
        answer = input("Take which? Numbers (1 3), [a]ll marked [x], or nothing: ").replace(",", " ").split()
        if not answer:
            say("Nothing was changed.")
            return None
        if answer == ["a"]:
            return [each for each in found if not each.barred and not each.proposal.disabled]
        if all(word.isdigit() and 1 <= int(word) <= len(found) for word in answer):
            chosen = [found[int(word) - 1] for word in dict.fromkeys(answer)]
            barred = [each.name for each in chosen if each.barred]
            if not barred:
                return chosen
            say(f"These cannot be taken: {', '.join(barred)}.")
        else:
            say("Numbers from the list, please.")


def _fill(
    settings: Settings, chosen: list[Candidate], given: Mapping[str, str], json: bool
) -> list[Candidate]:
    """Ask for what placeholders stand for; those that remain open are taken out, and returned."""
    import getpass

    from penstock_agent.adding.convert import convert

    values = dict(given)
    left: list[Candidate] = []
    for each in list(chosen):
        if not each.proposal.asked:
            continue
        if not json and on_terminal():
            for asked in each.proposal.asked:
                if asked.name not in values:
                    about = f" ({printable(asked.description, 100)})" if asked.description else ""
                    question = f"{each.name}: {asked.name}{about}, for {asked.where}: "
                    answer = getpass.getpass(question) if asked.secret else input(question)
                    if answer:
                        values[asked.name] = answer
            world = _world(settings, each.source, each.entry, each.inputs, values)
            each.proposal = replace(convert(each.entry, world), name=each.proposal.name)
        if each.proposal.asked:
            names = ", ".join(asked.name for asked in each.proposal.asked)
            example = each.proposal.asked[0].name
            each.present = (
                f"it needs values for {names}. Write lines such as {example}=… into a file that "
                "only you can read, and add --values FILE"
            )
            chosen.remove(each)
            left.append(each)
    return left


def _lines(settings: Settings, each: Candidate, made: list[Path], dry_run: bool) -> None:
    """The table that would be written; stores secrets unless ``dry_run``."""
    proposal = each.proposal
    if proposal.refused:
        return
    values: dict[str, Value] = {"image": proposal.image} if proposal.image else {}
    if proposal.command:
        values["command"] = list(proposal.command)
    elif not proposal.image:
        values["url"] = proposal.url
    if proposal.sse:
        values["transport"] = "sse"
    for key, given in (("env", proposal.env), ("headers", proposal.headers)):
        if given:
            header = key == "headers"
            values[key] = (
                {name: "file:/…" if name in proposal.secret else value for name, value in given.items()}
                if dry_run
                else store_secrets(settings, each.name, given, proposal.secret, made, header=header)
            )
    if proposal.read:
        values["read"] = list(proposal.read)
        each.opened.append("read")
    if proposal.write:
        values["write"] = list(proposal.write)
        each.opened.append("write")
    if proposal.mounts:
        values["mounts"] = dict(proposal.mounts)
    each.values = values


def _find_out(
    settings: Settings, chosen: Sequence[Candidate], made: Sequence[Path], force: bool, json: bool
) -> None:
    """Start each once, without a network where that is possible; bar those that do not work."""
    from pydantic import ValidationError

    from penstock_agent.server_settings import ServerSettings

    for each in chosen:
        if each.barred:
            continue
        try:
            server = ServerSettings.model_validate(each.values)
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"][:1])) or "it"
            each.present = f"{place}: {first['msg'].removeprefix('Value error, ')}"
            continue
        if not json:
            say(f"{each.name}:")
        hosted = {**each.values, "network": "host"}
        fetches = each.proposal.fetches
        trial = try_out(
            settings, each.name, ServerSettings.model_validate(hosted) if fetches else server, quiet=json
        )
        if fetches:
            _open(each, hosted)
        elif not trial.works and server.url is None:
            again = try_out(settings, each.name, ServerSettings.model_validate(hosted), quiet=json)
            if again.works:
                trial = again
                _open(each, hosted)
        each.trial = trial
        if not json:
            show_trial(trial)
        if not trial.works and not force:
            each.present = "it does not start; --force takes it all the same"


def _open(each: Candidate, hosted: dict[str, Value]) -> None:
    each.values = hosted
    each.opened.append("network")


def _write(settings: Settings, taken: Sequence[Candidate]) -> None:
    from penstock_agent.adding import tables
    from penstock_agent.exposing import edit

    def edited(text: str, path: Path) -> str:
        for each in taken:
            comment = f"imported from {each.source.host}, {each.source.path}"
            text = tables.added(text, path, each.name, each.values, marked=each.opened, comment=comment)
        return text

    edit.change(settings, edited, create=True, backup=BACKUP)
