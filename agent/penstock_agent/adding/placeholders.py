"""Placeholders in other hosts' files, such as ``${env:X}`` and ``${input:x}``, and what they mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from penstock_agent.adding.secretwords import name_is_secret

_PLACEHOLDER: Final = re.compile(r"\$\{(?P<braced>[^{}]{1,200})\}|\$(?P<bare>[A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class World:
    """What is known beside the entry: ``project`` is what relative paths are relative to, if anything."""

    home: str
    project: str = ""
    exists: Callable[[str], bool] = lambda _: False
    inputs: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    #: Values that were given for placeholders, by variable or input.
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Whether the agent is a service here, which does not see people's homes.
    service: bool = False
    #: An image that is on this machine at its digest; empty for one that is not.
    fixed: Callable[[str], str] = lambda _: ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A placeholder that somebody must fill: ``name`` of the variable or input."""

    name: str
    description: str = ""
    secret: bool = False
    #: Where it stands: env NAME, header NAME, argument.
    where: str = ""


class Refused(Exception):
    """The server cannot be taken; the text says why, and what to write instead."""


class Filling:
    """Puts values in the places of placeholders, and keeps those that nobody knows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked: list[Asked] = []
        self.was_secret = False
        """Whether the last text held what VS Code calls a password."""

    def text(self, text: str, where: str, *, secret: bool = False, bare: bool = False) -> str:
        """``text``, filled as far as it can be. Raises :exc:`Refused`.

        ``bare``: also ``$NAME``, where it is the whole text (Gemini CLI)."""
        self.was_secret = False

        def value(found: re.Match[str]) -> str:
            name = found["braced"]
            if name is None:
                if not bare or found[0] != text:
                    return found[0]
                name = found["bare"]
            return self._value(name, found[0], where, secret)

        return _PLACEHOLDER.sub(value, text)

    def _value(self, name: str, whole: str, where: str, secret: bool) -> str:
        known = {
            "userHome": self._world.home,
            "HOME": self._world.home,
            "env:HOME": self._world.home,
            "pathSeparator": "/",
            "/": "/",
        }
        if self._world.project:
            known |= dict.fromkeys(("workspaceFolder", "CLAUDE_PROJECT_DIR", "cwd"), self._world.project)
            known["workspaceFolderBasename"] = PurePath(self._world.project).name
        if name in known:
            return known[name]
        kind, _, rest = name.partition(":")
        default = None
        description, password = "", False
        if kind == "input" and rest:
            variable = rest
            description, password = self._world.inputs.get(rest, ("", False))
        elif kind == "env" and rest:
            variable, _, after = rest.partition(":-")
            default = after or None
        else:
            variable, colon, after = name.partition(":-")
            default = after if colon else None
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", variable):
                raise Refused(
                    f"it holds the placeholder {whole[:60]!r} in {where}, which only that host can fill. "
                    "Write its value there first"
                )
        self.was_secret |= password or secret or name_is_secret(variable)
        if variable in self._world.values:
            return self._world.values[variable]
        if default is not None:
            return default
        if variable in ("workspaceFolder", "CLAUDE_PROJECT_DIR", "cwd", "workspaceFolderBasename", "file"):
            raise Refused(f"it is relative to a project ({whole} in {where}), and this file belongs to none")
        asked = Asked(variable, description, password or secret or name_is_secret(variable), where)
        if all(each.name != variable for each in self.asked):
            self.asked.append(asked)
        return whole
