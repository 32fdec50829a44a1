"""A server of another host as a table of agent.toml. Pure, but for what ``World`` tells of the disk."""

from __future__ import annotations

import os.path
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Final

from penstock.names import MAX_NAME, RESERVED
from penstock_agent.adding import containers
from penstock_agent.adding.documents import Entry
from penstock_agent.adding.packages import runner
from penstock_agent.adding.placeholders import Asked, Filling, Refused, World
from penstock_agent.adding.secretwords import form_is_secret, is_secret, masked, name_is_secret
from penstock_agent.remote import address
from penstock_agent.remote.headers import BadHeader, Header

_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9-]{0,30}) (?P<rest>\S.*)")
#: The script that these are given first is a part of the command, which a child may read anyway.
_INTERPRETERS: Final = re.compile(r"(?:python|pypy|node|nodejs|deno|bun|perl|ruby|php|bash|sh)[0-9.]*")
#: Folders that hold much else than what one server is for.
BROAD: Final = frozenset({"/", "/etc", "/home", "/root", "/var", "/run", "/tmp", "/proc", "/sys", "/dev"})  # noqa: S108


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be written. ``env`` and ``headers`` hold values, secrets among them: never shown."""

    name: str
    original: str
    command: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = field(default="", repr=False)
    sse: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Names in ``env`` and ``headers`` whose values go into files.
    secret: frozenset[str] = frozenset()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    #: Of a container: ``command`` is what its image is given.
    image: str = ""
    mounts: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[Asked, ...] = ()
    #: Why it cannot be taken, and what to write instead; empty when it can.
    refused: str = ""
    notes: tuple[str, ...] = ()
    disabled: bool = False
    #: Words of ``command`` that hold what somebody typed as a secret.
    private: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def words(self) -> list[str]:
        """The command as it may be shown."""
        shown = zip(self.command, masked(self.command), strict=True)
        return ["…" if word in self.private else mask for word, mask in shown]

    @property
    def shown(self) -> str:
        """What it is, in one line without secrets."""
        if self.url:
            origin = address.show(self.url)
            return origin if self.url.rstrip("/") == origin else f"{origin}/…"
        return " ".join([self.image, *self.words] if self.image else self.words)

    @property
    def fetches(self) -> str:
        """What fetches its package at each start; empty for none."""
        return "" if self.image else runner(self.command)


def convert(entry: Entry, world: World) -> Proposal:
    """Never raises: what cannot be taken says why."""
    base = Proposal(name_of(entry.name), entry.name, disabled=entry.disabled)
    notes = ["it stands there twice; the last one counts"] if entry.twice else []
    try:
        made = _convert(base, entry.table, world, notes)
    except Refused as refused:
        return replace(base, refused=str(refused), notes=tuple(notes))
    return replace(made, notes=tuple(notes))


def name_of(name: str) -> str:
    """A name that a server may have here."""
    found = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())[:MAX_NAME].strip(
        "-"
    )
    return f"{found[: MAX_NAME - 4]}-mcp" if found in RESERVED else found or "server"


def free_name(name: str, taken: Collection[str]) -> str:
    """``name``, or one with a number that nobody has."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name[: MAX_NAME - len(str(number)) - 1].rstrip('-')}-{number}"
    return found


def _convert(base: Proposal, table: Mapping[str, object], world: World, notes: list[str]) -> Proposal:
    fill = Filling(world)
    url = next(
        (value for key in ("url", "httpUrl", "serverUrl") if isinstance(value := table.get(key), str)), ""
    )
    command = table.get("command")
    if isinstance(command, dict):  # Zed, before 2025-06
        table = {**table, **command, "command": command.get("path")}
        command = table.get("command")
    if isinstance(command, str) and command.strip():
        return _process(base, command, table, world, fill, notes)
    if isinstance(command, list) and command:
        words = _strings(command, "command")
        return _process(base, words[0], {**table, "args": words[1:]}, world, fill, notes)
    if url:
        return _remote(base, url, table, fill, notes)
    raise Refused(
        "it has neither a command nor a url: an extension of that host starts it. Find its command, then: "
        f"penstock-agent servers add {base.name} -- COMMAND"
    )


def _remote(
    base: Proposal, url: str, table: Mapping[str, object], fill: Filling, notes: list[str]
) -> Proposal:
    filled = fill.text(url, "url")
    if not fill.asked:
        try:
            address.check(filled)
        except ValueError as error:
            raise Refused(f"its url {error}") from None
    headers: dict[str, str] = {}
    given = dict(_texts(table.get("headers"), "headers")) | dict(
        _texts(table.get("http_headers"), "http_headers")
    )
    for name, variable in _texts(table.get("env_http_headers"), "env_http_headers"):
        given[name] = f"${{{variable}}}"
    token = table.get("bearer_token_env_var")
    if isinstance(token, str) and token:
        given["Authorization"] = f"Bearer ${{{token}}}"
    secret = set()
    for name, value in given.items():
        before = len(fill.asked)
        headers[name] = fill.text(value, f"header {name}", secret=True)
        if len(fill.asked) > before or is_secret(name, headers[name]):
            secret.add(name)
        try:
            Header.parse(name, "file:/x" if name in secret else headers[name])
        except BadHeader as error:
            raise Refused(f"its header {name[:100]!r} {error}") from None
    kind = table.get("type") or table.get("transport")
    sse = kind == "sse" or ("httpUrl" not in table and address.looks_like_sse(filled) and kind is None)
    if any(form_is_secret(part) for part in re.split(r"[/?&=]", filled.partition("://")[2])):
        notes.append("its url looks as if it held a secret, which then stands in agent.toml")
    if "oauth" in table:
        notes.append("it logs in there with OAuth, which the agent does not do: it needs a token in a header")
    return replace(
        base, url=filled, sse=sse, headers=headers, secret=frozenset(secret), asked=tuple(fill.asked)
    )


def _process(
    base: Proposal,
    program: str,
    table: Mapping[str, object],
    world: World,
    fill: Filling,
    notes: list[str],
) -> Proposal:
    words = [program, *_strings(table.get("args", []), "args")]
    if containers.is_container(program):
        return _contained(base, words, table, world, fill, notes)
    if PurePath(program).name.lower() in ("cmd", "cmd.exe", "powershell", "powershell.exe", "wsl", "wsl.exe"):
        raise Refused(
            "its command is one of Windows. Write what it starts: "
            f"penstock-agent servers add {base.name} -- COMMAND"
        )
    cwd = table.get("cwd")
    folder = world.project
    if isinstance(cwd, str):
        folder = _path(fill.text(cwd, "cwd"), world.home, world.project)
        notes.append(
            "it has a cwd there; here a server has a folder of its own, so relative paths are written out"
        )
    folder = folder if folder.startswith("/") else ""
    filled: list[str] = []
    private: set[str] = set()
    for number, word in enumerate(words):
        filled.append(_word(fill.text(word, "argument"), world, folder, first=number == 0))
        if fill.was_secret:
            private.add(filled[-1])
    command = tuple(filled)
    if any("\0" in word for word in command):
        raise Refused("its command holds a NUL byte")
    if not command[0].startswith("/") and "/" in command[0]:
        raise Refused(
            f"its command is the relative path {command[0][:100]!r}, relative to nobody knows what. Write: "
            f"penstock-agent servers add {base.name} -- /absolute/path"
        )
    env, secret = _environment(table, fill, notes)
    for name, value in env.items():
        if value.startswith("~/"):
            env[name] = _path(value, world.home, folder)
    if private or masked(command) != list(command):
        notes.append(
            "an argument looks like a secret: everybody on this machine can see it in the list of processes. "
            "If the server takes it from a variable, write it there"
        )
    interpreter = _INTERPRETERS.fullmatch(PurePath(command[0]).name)
    data = command[2:] if interpreter and command[1:] and not command[1].startswith("-") else command[1:]
    read = tuple(dict.fromkeys(_places([*data, *(v for k, v in env.items() if k not in secret)], world)))
    broad = [place for place in read if place in BROAD or place == world.home]
    if broad:
        notes.append(
            f"it names {', '.join(broad)}, which holds much else: name the folders in read that are meant"
        )
    homes = [word for word in (*command, *read) if word.startswith(("/home/", "/root/"))]
    if world.service and homes:
        notes.append(
            f"the service does not see {homes[0]}: homes are hidden from it (ProtectHome). Move it, or see "
            "systemd/README.md"
        )
    return replace(
        base,
        command=command,
        env=env,
        secret=frozenset(secret),
        asked=tuple(fill.asked),
        read=tuple(place for place in read if place not in broad),
        private=frozenset(private),
    )


def _contained(
    base: Proposal,
    words: Sequence[str],
    table: Mapping[str, object],
    world: World,
    fill: Filling,
    notes: list[str],
) -> Proposal:
    line = containers.parse([fill.text(word, "argument") for word in words])
    given = dict(_texts(table.get("env"), "env"))
    # What stands in the words was filled with them; the rest is docker's own environment.
    declared = {
        name: given.get(name, f"${{{name}}}") if value is None else value for name, value in line.env.items()
    }
    env, secret = _environment({"env": declared}, fill, notes)
    image = containers.image_of(line, base.name, world.fixed)
    moved: dict[str, str] = {}
    places: list[list[str]] = []
    for kind in (line.read, line.write):
        found = []
        for place in kind:
            path = _path(place, world.home, world.project)
            if not path.startswith("/"):
                raise Refused(f"it shows {place[:100]!r} to a container, relative to nobody knows what")
            if path in BROAD or path == world.home:
                notes.append(f"it shows {path} to its container, which holds much else: name what is meant")
            if line.mounts[place] != path:
                moved[path] = line.mounts[place]
            found.append(path)
        places.append(found)
    if line.dropped:
        notes.append(f"not taken over: {', '.join(line.dropped)}")
    return replace(
        base,
        image=image,
        command=tuple(line.command),
        env=env,
        secret=frozenset(secret),
        asked=tuple(fill.asked),
        read=tuple(places[0]),
        write=tuple(places[1]),
        mounts=moved,
    )


def _environment(
    table: Mapping[str, object], fill: Filling, notes: list[str]
) -> tuple[dict[str, str], set[str]]:
    given = dict(_texts(table.get("env"), "env"))
    passed = table.get("env_vars")  # Codex: names of variables of its own environment
    for each in passed if isinstance(passed, list) else ():
        name = each.get("name") if isinstance(each, dict) else each
        if isinstance(name, str):
            given.setdefault(name, f"${{{name}}}")
    env: dict[str, str] = {}
    secret: set[str] = set()
    for name, value in given.items():
        if not name or "=" in name or "\0" in name + value:
            raise Refused(f"its env names {name[:100]!r}, which no process can be given")
        before = len(fill.asked)
        env[name] = fill.text(value, f"env {name}", secret=name_is_secret(name), bare=True)
        if is_secret(name, env[name]) or fill.was_secret or any(each.secret for each in fill.asked[before:]):
            secret.add(name)
        elif re.match(r"(?:file:/(?!/)|cred:)", env[name]):
            secret.add(name)  # here it would mean a file
    if isinstance(table.get("envFile"), str):
        notes.append(
            "it reads more variables from an envFile there. Add those that it needs to env: "
            "penstock-agent servers add … --env-file FILE"
        )
    return env, secret


def _word(word: str, world: World, folder: str, *, first: bool) -> str:
    """An argument, with what it means by ~ and by relative paths written out."""
    option, equals, value = word.partition("=")
    if equals and option.startswith("-") and value.startswith("~/"):
        return f"{option}={_path(value, world.home, folder)}"
    if word == "~" or word.startswith("~/"):
        return _path(word, world.home, folder)
    if not folder or word.startswith(("-", "/", "@")) or "://" in word:
        return word
    there = _path(word, world.home, folder)
    relative = word.startswith(("./", "../")) or (first and "/" in word)
    return there if relative or (not first and world.exists(there)) else word


def _path(text: str, home: str, folder: str) -> str:
    if text == "~" or text.startswith("~/"):
        return os.path.normpath(home + text[1:])
    return os.path.normpath(os.path.join(folder, text)) if folder else text


def _places(words: Sequence[str], world: World) -> Iterator[str]:
    """Absolute paths among arguments and variables that exist."""
    for word in words:
        option, equals, value = word.partition("=")
        path = value if equals and option.startswith("-") else word
        if path.startswith("/") and "\0" not in path and world.exists(path := os.path.normpath(path)):
            yield path


def _strings(value: object, what: str) -> list[str]:
    if not isinstance(value, list):
        raise Refused(f"its {what} is not a list")
    if not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in value):
        raise Refused(f"its {what} holds something that is not text")
    return [str(each) for each in value]


def _texts(value: object, what: str) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if not isinstance(value, dict):
        raise Refused(f"its {what} is not an object")
    for name, each in value.items():
        if isinstance(each, bool):
            yield str(name), str(each).lower()
        elif isinstance(each, str | int | float):
            yield str(name), str(each)
        elif each is not None:
            raise Refused(f"its {what} holds something that is not text, for {str(name)[:100]!r}")


def in_file(value: str, *, header: bool) -> tuple[str, str]:
    """A secret as ``(what stands before the reference, what goes into the file)``."""
    found = _SCHEME.fullmatch(value.strip()) if header else None
    return (f"{found['scheme']} ", found["rest"]) if found else ("", value)
