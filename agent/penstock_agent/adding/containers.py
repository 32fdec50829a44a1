"""A line of ``docker run`` in another host's file, as settings: taken when each of its words is understood.
Pure. What every container here is anyway (without rights, removed at its end) is not looked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from penstock_agent.adding.placeholders import Refused
from penstock_agent.children.containers import image as images
from penstock_agent.children.containers.run import HOME

PROGRAMS: Final = frozenset({"docker", "podman", "nerdctl"})
_CLUSTER: Final = re.compile(r"-[itq]+")
#: Said by what a container is here, or of no matter: without a value, and with one.
_FLAGS: Final = frozenset(
    {"--interactive", "--rm", "--init", "--quiet", "--read-only", "--no-healthcheck", "--sig-proxy"}
)
_VALUES: Final = frozenset(
    {"--name", "--pull", "--label", "-l", "--platform", "--hostname", "-h", "--restart", "--log-driver",
     "--cap-drop", "--stop-timeout", "--cidfile"}
)  # fmt: skip
_TOLD: Final = frozenset({"--platform", "--restart", "--hostname", "-h"})
_ENV: Final = ("-e", "--env")
_VOLUME: Final = ("-v", "--volume")


@dataclass
class Line:
    """What it says. ``env``: None where the value is that of the host's own variable."""

    image: str = ""
    command: list[str] = field(default_factory=list)
    env: dict[str, str | None] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)
    mounts: dict[str, str] = field(default_factory=dict)
    #: Words that say how docker is to run it, and not what it needs.
    dropped: list[str] = field(default_factory=list)
    #: Asked for in words; None where it says nothing: docker's own network.
    network: str | None = None


def is_container(program: str) -> bool:
    """Whether a program is one of these."""
    return PurePath(program).name in PROGRAMS


def parse(words: Sequence[str]) -> Line:
    """``words``: with the program. Raises Refused with the word that is not understood."""
    rest = list(words[1:])
    if rest[:1] == ["container"]:
        rest.pop(0)
    if rest[:1] != ["run"]:
        raise Refused(
            f"it runs in a container, by {' '.join(words[:2])[:60]!r}; only docker run is taken over"
        )
    line = Line()
    options = iter(rest[1:])
    for word in options:
        if not word.startswith("-"):
            line.image = word
            line.command = list(options)
            return line
        _option(line, word, options)
    raise Refused("it runs in a container, and names no image")


def image_of(line: Line, name: str, fixed: Callable[[str], str]) -> str:
    """Its image at its digest. ``fixed``: says it of one that is on this machine. Raises Refused."""
    found = images.without_tag(line.image) if images.is_fixed(line.image) else fixed(line.image)
    try:
        return images.check(found or line.image)
    except ValueError as error:
        more = " ".join(["--", *line.command]) if line.command else ""
        raise Refused(
            f"it runs in a container, and its image {line.image[:200]} {error}. Then, with what it printed: "
            f"penstock-agent servers add {name} --image IMAGE@sha256:… {more[:200]}".rstrip()
        ) from None


def _option(line: Line, word: str, options: Iterator[str]) -> None:
    name, equals, value = word.partition("=")
    if _CLUSTER.fullmatch(word):
        if "t" in word:
            raise _not_understood(word, "a server speaks over its input and output, which a terminal changes")
        return
    if name in _FLAGS:
        if equals and value not in ("true", "1"):
            raise _not_understood(word)
        return
    # Of short options the value may stand right behind them.
    if not word.startswith("--") and len(name) > 2 and word[:2] in ("-e", "-v", "-u", "-w"):
        name, equals, value = word[:2], "=", word[2:]
    if not equals:
        value = next(options, "")
    if name in _VALUES:
        if name in _TOLD:
            line.dropped.append(f"{name} {value}")
        return
    if name in _ENV:
        variable, sign, content = value.partition("=")
        line.env[variable] = content if sign else None
    elif name in _VOLUME:
        _volume(line, value)
    elif name == "--mount":
        _mount(line, value)
    elif name in ("--network", "--net"):
        if value not in ("none", "host", "bridge", "default"):
            raise _not_understood(f"{name}={value}", "there are no networks of docker here")
        line.network = value
    else:
        raise _not_understood(word)


def _volume(line: Line, value: str) -> None:
    parts = value.split(":")
    if len(parts) not in (2, 3) or not _is_place(parts[0]):
        raise _not_understood(f"-v {value}", f"volumes are none here: what a server keeps lies in {HOME}")
    options = parts[2].split(",") if len(parts) == 3 else []
    if set(options) - {"ro", "rw", "z", "Z"}:
        raise _not_understood(f"-v {value}")
    _bind(line, parts[0], parts[1], writable="ro" not in options)


def _mount(line: Line, value: str) -> None:
    found: dict[str, str] = {}
    for part in value.split(","):
        key, equals, content = part.partition("=")
        found[key] = content if equals else "true"
    source = found.pop("src", None) or found.pop("source", "")
    target = found.pop("dst", None) or found.pop("target", None) or found.pop("destination", "")
    closed = {found.pop(key, "false") for key in ("ro", "readonly")}
    if (
        found.pop("type", "volume") != "bind"
        or found
        or not _is_place(source)
        or closed - {"true", "false", "1"}
    ):
        raise _not_understood(f"--mount {value}", f"only bind is; what a server keeps lies in {HOME}")
    _bind(line, source, target, writable=closed == {"false"})


def _bind(line: Line, source: str, target: str, *, writable: bool) -> None:
    if not target.startswith("/"):
        raise _not_understood(f"{source}:{target}")
    (line.write if writable else line.read).append(source)
    line.mounts[source] = target


def _is_place(text: str) -> bool:
    return text.startswith(("/", "~", ".", "$"))


def _not_understood(word: str, why: str = "") -> Refused:
    return Refused(
        f"it runs in a container, with {word[:100]!r}, which is not taken over{f': {why}' if why else ''}"
    )
