"""One ``[servers.NAME]`` table of ``agent.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from penstock_agent import sizes
from penstock_agent.callers.settings import absolute
from penstock_agent.children.confinement.limits import Limits
from penstock_agent.children.confinement.plan import Level
from penstock_agent.children.containers import image as images
from penstock_agent.children.containers.run import HOME, unmountable
from penstock_agent.children.demand import SETTING_MAX
from penstock_agent.children.references import file_of
from penstock_agent.children.units import reach
from penstock_agent.gate.redaction.settings import MAX_RULES, RedactSettings
from penstock_agent.policy_settings import Profile, Rules
from penstock_agent.remote import address
from penstock_agent.remote.headers import MAX_HEADERS, Header

#: What says how a process is started, and what says how to talk to a server that runs already.
_OF_COMMAND = ("env", "network", "isolation", "read", "write", "mounts", "limits", "warm")
_OF_URL = ("headers", "ca_file", "transport")


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains a NUL byte, which no process can be given")
    return text


def _program(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command or not command[0].strip():
        raise ValueError('names no program; write command = ["program", "argument", ...]')
    return command


def _variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError("is not a name of an environment variable")
    return name


def _pattern(text: str) -> str:
    # Imported here because the gate's parser is the one authority on patterns.
    from penstock_agent.gate.expose import parse_pattern

    parse_pattern(text)
    return text


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        try:
            Header.parse(name, value)
        except ValueError as e:
            raise ValueError(f"{name[:100]!r} {e}") from None
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("names a header twice, which differ only in capitals")
    return headers


def _network(value: object) -> object:
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        reach.parse(value)
        return tuple(value)
    return _one_of(value, "none", "host")


def _isolation(value: object) -> object:
    return _one_of(value, *Level)


def _one_of(value: object, *words: str) -> object:
    if value not in words:
        raise ValueError("should be " + " or ".join(f'"{word}"' for word in words))
    return value


def _place(path: Path) -> Path:
    if "\0" in str(path) or ".." in path.parts:
        raise ValueError('must be an absolute path without ".."')
    return absolute(path)


def _inside(path: Path) -> Path:
    if _place(path) in (Path("/"), Path(HOME), Path("/tmp"), Path("/var/tmp"), Path("/proc"), Path("/sys")):  # noqa: S108
        raise ValueError("is taken in a container; choose a folder of its own, such as /data")
    return path


_Place = Annotated[Path, AfterValidator(_place)]
_Size = Annotated[StrictInt, BeforeValidator(sizes.read), Field(ge=1 << 20, le=1 << 50)]
_DEFAULT = Limits()


class LimitSettings(BaseModel):
    """``[servers.NAME.limits]``: what its children may use up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Bytes that a process may have of its own: a number, or "2GiB".
    memory: _Size | None = _DEFAULT.memory
    #: Processes and threads of a child.
    processes: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = _DEFAULT.processes
    #: Open files of a process.
    files: Annotated[StrictInt, Field(ge=16, le=1_000_000)] | None = _DEFAULT.files
    #: Seconds of a processor that a process may use in its life.
    cpu_seconds: Annotated[StrictInt, Field(ge=1)] | None = _DEFAULT.cpu_seconds
    #: Bytes that a file may grow to.
    file_size: _Size | None = _DEFAULT.file_size

    def limits(self) -> Limits:
        """The same as a value."""
        return Limits(**self.model_dump())


class ToolAnnotations(BaseModel):
    """What the site says that a tool does; what it does not say is left to the server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: StrictStr | None = None
    readOnlyHint: StrictBool | None = None
    destructiveHint: StrictBool | None = None
    idempotentHint: StrictBool | None = None
    openWorldHint: StrictBool | None = None


class ToolSettings(BaseModel):
    """One ``[servers.NAME.tools.TOOL]`` table: what callers see in the place of the server's own words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: StrictStr | None = None
    description: StrictStr | None = None
    annotations: ToolAnnotations = ToolAnnotations()

    def hints(self) -> dict[str, bool | str]:
        """The annotations that the site gives."""
        return self.annotations.model_dump(exclude_none=True)


class ServerSettings(BaseModel):
    """One ``[servers.NAME]`` table: an MCP server that is started here, or one of the local network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The program and its arguments, started without a shell. This or ``url``. With ``image``: what that is
    #: given, in the place of its own CMD; may be left out then.
    command: Annotated[
        tuple[Annotated[StrictStr, AfterValidator(_argument)], ...], AfterValidator(_program)
    ] = Field(default=(), validate_default=False)
    #: The image that is run in a container, at its digest.
    image: Annotated[StrictStr, AfterValidator(images.check)] | None = None
    #: What the child finds in its environment beside the few variables that every child gets.
    env: dict[
        Annotated[StrictStr, AfterValidator(_variable)], Annotated[StrictStr, AfterValidator(_argument)]
    ] = {}
    #: The address of a server that runs already, on the local network. This or ``command``.
    url: Annotated[StrictStr, AfterValidator(address.check)] | None = None
    #: Streamable HTTP or HTTP+SSE. Without it, a url that ends in /sse is of the latter.
    transport: Literal["http", "sse"] | None = None
    #: What the agent shows to the server; secrets as "file:/path" or "Bearer file:/path".
    headers: Annotated[
        dict[StrictStr, StrictStr], Field(max_length=MAX_HEADERS), AfterValidator(_headers)
    ] = {}
    #: Who may have issued the server's certificate; without it, those whom this machine trusts.
    ca_file: Annotated[Path, AfterValidator(absolute)] | None = None
    #: What callers may see and use: ``kind:glob`` or ``glob`` for tools. Nothing without it.
    expose: tuple[Annotated[StrictStr, AfterValidator(_pattern)], ...] = ()
    #: "read_only": of the tools only those that the server marks as read-only, whatever a rule says.
    profile: Profile | None = None
    #: Who may use what. Without any: everybody whom the relay lets in may use all that is exposed.
    rules: Rules = ()
    #: What of it nobody's model may carry out: who has used it may not write or reach out for a while.
    sensitive: tuple[Annotated[StrictStr, AfterValidator(_pattern)], ...] = ()
    #: What is taken out of its answers: tables [[servers.NAME.redact]].
    redact: Annotated[tuple[RedactSettings, ...], Field(max_length=MAX_RULES)] = ()
    #: What the site says of tools in the place of the server, by the tools' names.
    tools: dict[StrictStr, ToolSettings] = {}
    #: The child's network: none, that of the machine, or with isolation = "unit" only these addresses.
    network: Annotated[Literal["none", "host"] | tuple[StrictStr, ...], BeforeValidator(_network)] = "none"
    #: How far the child is confined. None: "landlock" where the kernel has it, else "process"; with an
    #: ``image`` "container".
    isolation: (
        Annotated[Literal["process", "landlock", "unit", "container"], BeforeValidator(_isolation)] | None
    ) = None
    #: What the child may see, and run, beside its own folder and what programs need of the machine.
    read: tuple[_Place, ...] = ()
    #: What it may change too.
    write: tuple[_Place, ...] = ()
    #: Where places of ``read`` and ``write`` lie in the container, if not where they lie here.
    mounts: dict[_Place, Annotated[Path, AfterValidator(_inside)]] = {}
    limits: LimitSettings = LimitSettings()
    #: Whose word about a caller's grant counts: the relay's, or only the company's identity provider's.
    trust: Literal["relay", "caller"] = "relay"
    #: Who shares a process of a server that speaks 2026-07-28: the requests of one caller, or all of them.
    process_per: Literal["caller", "server"] = "caller"

    #: How many processes are kept started for callers to come, as long as there are some. None: by its use.
    warm: Annotated[StrictInt, Field(ge=0, le=SETTING_MAX)] | None = None

    @property
    def level(self) -> Level | None:
        """What ``isolation`` says; None: the best that the agent can do itself."""
        if self.image is not None:
            return Level.CONTAINER
        return None if self.isolation is None else Level(self.isolation)

    @property
    def online(self) -> bool:
        """Whether it has any network."""
        return self.network != "none"

    @property
    def reach(self) -> reach.Reach | None:
        """The addresses that it is held to; None where it is to none in particular."""
        return None if isinstance(self.network, str) else reach.parse(self.network)

    @property
    def words(self) -> tuple[str, ...]:
        """What is started, as somebody would write it: the command, with the image before it."""
        return self.command if self.image is None else (self.image, *self.command)

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """The files that ``env`` and ``headers`` name."""
        found = [file_of(value) for value in self.env.values()]
        found += [Header(name, value).file for name, value in self.headers.items()]
        return tuple(path for path in found if path is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.url is None and not self.command and self.image is None:
            raise ValueError(
                'names no server; write command = ["program", "argument", ...], url = "http://host:port/mcp" '
                'or image = "registry/name@sha256:..."'
            )
        for key in ("command", "image"):
            if self.url is not None and getattr(self, key):
                raise ValueError(
                    f"has {'an' if key == 'image' else 'a'} {key} and a url; keep the one that is meant"
                )
        kind = "a url" if self.url is not None else "a command" if self.image is None else "an image"
        for key in _OF_COMMAND if self.url is not None else _OF_URL:
            if key in self.model_fields_set:
                raise ValueError(f"has {key}, which does nothing for a server with {kind}; remove it")
        for key in ("read", "write"):
            if self.isolation == "process" and key in self.model_fields_set:
                raise ValueError(
                    f'has {key}, which isolation = "process" does not enforce; write "landlock", or remove it'
                )
        if self.ca_file is not None and self.url is not None and address.is_plain(self.url):
            raise ValueError("has ca_file, which does nothing for a url with http; write https, or remove it")
        if not isinstance(self.network, str) and self.isolation != "unit":
            raise ValueError(
                'has addresses in network, which only isolation = "unit" enforces: write that beside it, '
                'then: sudo penstock-agent servers harden NAME. Or write "none", or "host" for the network '
                "of this machine"
            )
        self._check_container()
        return self

    def _check_container(self) -> None:
        if self.image is None:
            if self.isolation == "container":
                raise ValueError(
                    'has isolation = "container" and no image; write image = "registry/name@sha256:..." in '
                    "its place, or remove it"
                )
            if self.mounts:
                raise ValueError("has mounts, which does nothing without an image; remove it")
            return
        if self.isolation not in (None, "container"):
            raise ValueError(
                f'has an image, which runs in a container, and isolation = "{self.isolation}"; remove that'
            )
        for place in self.mounts:
            if place not in self.read and place not in self.write:
                raise ValueError(
                    f"has mounts for {place}, which neither read nor write names; add it to one of them"
                )
        targets = [self.mounts.get(place, place) for place in dict.fromkeys((*self.read, *self.write))]
        if len({*targets, Path(HOME)}) != len(targets) + 1:
            raise ValueError(
                f"has two places that lie at the same one in its container, or at {HOME}; see mounts"
            )
        for path in (*self.read, *self.write, *targets):
            if unmountable(path):
                raise ValueError(
                    f"names {str(path)!r}, which has a comma, a quote or a backslash in it and cannot be "
                    "shown in a container; give the place another name"
                )
