"""Command lines that fetch a package each time they start, and what they fetch. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Final

_NPM_NAME: Final = re.compile(r"(?:@[a-z0-9~][a-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*")
_NPM_VERSION: Final = re.compile(r"[A-Za-z0-9.^~<>=*|+ _-]{1,100}")
_PYPI: Final = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?P<extras>\[[A-Za-z0-9,._ -]+\])?"
    r"(?P<version>(?:[<>=!~]=?=?[A-Za-z0-9.*+!_-]+)(?:,[<>=!~]=?=?[A-Za-z0-9.*+!_-]+)*)?"
)
_VERSION: Final = re.compile(r"[A-Za-z0-9.+!_-]{1,64}")
_NOT_FIXED: Final = "it names no package of the registry"


class Registry(StrEnum):
    NPM = "npm"
    PYPI = "PyPI"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A package, the program in it that is meant (empty: its own), and what that program is given."""

    registry: Registry
    name: str
    #: As the registry's client takes it, without the name: ``@1.2``, ``==1.2``; empty for the newest.
    version: str = ""
    program: str = ""
    arguments: tuple[str, ...] = ()
    #: Further packages beside it.
    beside: tuple[str, ...] = ()
    #: Which Python; empty for the one at hand.
    python: str = ""

    @property
    def requirement(self) -> str:
        return self.name + self.version

    @property
    def packages(self) -> tuple[str, ...]:
        return (self.requirement, *self.beside)


class NotPreparable(ValueError):
    """The command fetches something, but not in a way that can be fixed to a version; the text says what."""


def runner(command: Sequence[str]) -> str:
    """What the command is that fetches a package at each start ("npx", "uv tool run"); empty for others."""
    words = (
        [PurePath(command[0]).name.removesuffix(".cmd").removesuffix(".exe"), *command[1:3]]
        if command
        else []
    )
    match words:
        case ["npx", *_]:
            return "npx"
        case ["uvx", *_]:
            return "uvx"
        case ["npm", "exec" | "x", *_]:
            return "npm exec"
        case ["uv", "tool", "run", *_]:
            return "uv tool run"
        case ["pipx", "run", *_]:
            return "pipx run"
        case ["bunx", *_]:
            return "bunx"
        case ["pnpm" | "yarn", "dlx", *_]:
            return f"{words[0]} dlx"
        case _:
            return ""


def wanted(command: Sequence[str]) -> Wanted | None:
    """What a command fetches; None when it fetches nothing. Raises :exc:`NotPreparable`."""
    kind = runner(command)
    rest = list(command[len(kind.split()) if " " in kind else 1 :])
    match kind:
        case "":
            return None
        case "npx" | "npm exec":
            return _npm(kind, rest)
        case "uvx" | "uv tool run":
            return _uvx(kind, rest)
        case "pipx run":
            return _pipx(rest)
        case _:
            raise NotPreparable(f"{kind} cannot be prepared; write the same with npx")


def _npm(kind: str, rest: list[str]) -> Wanted:
    packages: list[str] = []
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        match option:
            case "-y" | "--yes" | "-q" | "--quiet" | "--prefer-offline" | "--prefer-online" | "--silent":
                continue
            case "-p" | "--package":
                if not equals and not rest:
                    raise NotPreparable(f"{kind} {option} names no package")
                packages.append(value if equals else rest.pop(0))
            case "--":
                break
            case _:
                raise NotPreparable(f"the option {option} of {kind} is not understood here")
    if not rest:
        raise NotPreparable(f"{kind}: {_NOT_FIXED}")
    if packages:
        program, *arguments = rest
        name, version = _npm_package(packages[0])
        beside = tuple("".join(_npm_package(each)) for each in packages[1:])
        return Wanted(Registry.NPM, name, version, program, _after_dashes(arguments), beside)
    name, version = _npm_package(rest[0])
    return Wanted(Registry.NPM, name, version, "", _after_dashes(rest[1:]))


def _after_dashes(arguments: Sequence[str]) -> tuple[str, ...]:
    return tuple(arguments)


def _npm_package(text: str) -> tuple[str, str]:
    at = text.rfind("@")
    name, version = (text[:at], text[at:]) if at > 0 else (text, "")
    if not _NPM_NAME.fullmatch(name) or (version and not _NPM_VERSION.fullmatch(version[1:])):
        raise NotPreparable(
            f"{text[:100]!r} is not a package of the npm registry (folders, git and archives cannot be)"
        )
    return name, "" if version in ("@latest", "@") else version


def _uvx(kind: str, rest: list[str]) -> Wanted:
    source: str | None = None
    beside: list[str] = []
    python = ""
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        match option:
            case "--from" | "--with" | "--python" | "-p":
                if not equals:
                    if not rest:
                        raise NotPreparable(f"{kind} {option} says nothing")
                    value = rest.pop(0)
                if option == "--from":
                    source = value
                elif option == "--with":
                    beside += [each.strip() for each in value.split(",")]
                else:
                    python = value
            case "-q" | "--quiet" | "--refresh" | "--isolated" | "--offline":
                continue
            case _:
                raise NotPreparable(f"the option {option} of {kind} is not understood here")
    if not rest:
        raise NotPreparable(f"{kind}: {_NOT_FIXED}")
    program, *arguments = rest
    if source is None:
        name, version = _pypi_package(program)
        return Wanted(Registry.PYPI, name, version, "", tuple(arguments), _all_pypi(beside), python)
    name, version = _pypi_package(source)
    return Wanted(Registry.PYPI, name, version, program, tuple(arguments), _all_pypi(beside), python)


def _pipx(rest: list[str]) -> Wanted:
    source, python = "", ""
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        if option not in ("--spec", "--python", "--no-cache"):
            raise NotPreparable(f"the option {option} of pipx run is not understood here")
        if option == "--no-cache":
            continue
        if not equals:
            if not rest:
                raise NotPreparable(f"pipx run {option} says nothing")
            value = rest.pop(0)
        source, python = (value, python) if option == "--spec" else (source, value)
    if not rest:
        raise NotPreparable(f"pipx run: {_NOT_FIXED}")
    program, *arguments = rest
    name, version = _pypi_package(source or program)
    return Wanted(Registry.PYPI, name, version, program if source else "", tuple(arguments), (), python)


def _all_pypi(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple("".join(_pypi_package(text)) for text in texts if text)


def _pypi_package(text: str) -> tuple[str, str]:
    """Name with extras, and version; uvx also writes ``name@1.2`` and ``name@latest``."""
    name, at, version = text.partition("@")
    if at and _VERSION.fullmatch(version):
        text = name if version == "latest" else f"{name}=={version}"
    found = _PYPI.fullmatch(re.sub(r" *([<>=!~,]+) *", r"\1", text))
    if found is None:
        raise NotPreparable(
            f"{text[:100]!r} is not a package of PyPI (folders, git and URLs cannot be prepared)"
        )
    return found["name"] + (found["extras"] or ""), found["version"] or ""
