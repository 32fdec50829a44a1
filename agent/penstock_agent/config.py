"""Settings: ``agent.toml``, overridden by ``PENSTOCK_AGENT_*``, overridden by the command line.

What this version does not know, or knows but does not enforce, is refused: a line in the file that
restricts nothing would be worse than no line.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
)
from pydantic_core import ErrorDetails

from penstock.names import BadName, parse_name
from penstock_agent import policy_settings
from penstock_agent.callers.settings import CallerSettings, absolute
from penstock_agent.capture.settings import CaptureSettings
from penstock_agent.dialer import proxy as proxies
from penstock_agent.gate.redaction.settings import RedactSettings
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.server_settings import LimitSettings, ServerSettings, ToolAnnotations, ToolSettings
from penstock_agent.settings_file import ConfigError, read_text
from penstock_agent.site.settings import SiteSettings
from penstock_agent.tolerance import Tolerance

DEFAULT_CONFIG = Path("/etc/penstock-agent/agent.toml")
DEFAULT_STATE_DIR = Path("/var/lib/penstock-agent")
ENVIRON_PREFIX = "PENSTOCK_AGENT_"

# Keys of the documented surface that do nothing yet: accepting one would promise what is not there.
_NOT_ENFORCED = {
    "effect": "no call is retried or held for collection yet",
}


def _number(value: object) -> object:
    # Pydantic would take true for 1; the environment has only text.
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _hook(command: tuple[str, ...]) -> tuple[str, ...]:
    if command and not command[0].startswith("/"):
        raise ValueError('must name a program by its whole path; write ["/path/program", "argument", ...]')
    if any("\0" in text for text in command):
        raise ValueError("contains a NUL byte, which no process can be given")
    return command


class _File(BaseModel):
    """What may stand in ``agent.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state_dir: Annotated[Path, AfterValidator(absolute)] = DEFAULT_STATE_DIR
    runtime_dir: Annotated[Path, AfterValidator(absolute)] | None = None
    proxy: (
        Annotated[StrictStr, AfterValidator(lambda p: p if p == proxies.DIRECT else proxies.check(p))] | None
    ) = None
    ca_file: Annotated[Path, AfterValidator(absolute)] | None = None
    call_timeout: Annotated[float, BeforeValidator(_number), Field(ge=1, le=3600)] = 120.0
    max_children: Annotated[int, BeforeValidator(_number), Field(ge=1, le=1024)] = 64
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: Seconds after which an event stream without its answer is closed for the client to poll; 0 for never.
    close_stream_after: Annotated[float, BeforeValidator(_number), Field(ge=0, le=3600)] = 0.0
    #: A program, with its arguments, that is told what happens here, as JSON on its standard input.
    on_event: Annotated[tuple[StrictStr, ...], AfterValidator(_hook)] = ()
    caller: CallerSettings | None = None
    capture: CaptureSettings | None = None
    ledger: LedgerSettings = LedgerSettings()
    tolerance: Tolerance = Tolerance()
    site: SiteSettings = SiteSettings()
    taint: policy_settings.TaintSettings = policy_settings.TaintSettings()
    servers: dict[str, ServerSettings] = {}


# Settings that one variable can carry.
_SCALARS = tuple(
    name
    for name in _File.model_fields
    if name not in ("caller", "capture", "ledger", "on_event", "servers", "site", "taint", "tolerance")
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about where the settings are."""

    config: Path | None = None
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings of this agent. Times are seconds."""

    config_file: Path
    state_dir: Path
    #: Where ``control.sock`` lies.
    runtime_dir: Path
    #: The ``proxy`` setting: an address, ``"none"``, or None for HTTPS_PROXY and NO_PROXY.
    proxy: str | None = field(repr=False)
    #: Trust anchors of the relay's tunnel certificate, when it is not issued by the relay's own CA.
    ca_file: Path | None
    call_timeout: float
    max_children: int
    log_level: str
    close_stream_after: float
    on_event: tuple[str, ...]
    caller: CallerSettings | None
    capture: CaptureSettings | None
    ledger: LedgerSettings
    tolerance: Tolerance
    site: SiteSettings
    taint: policy_settings.TaintSettings
    servers: Mapping[str, ServerSettings]
    #: Setting -> where its value came from: "default", a file, a variable or an option.
    sources: Mapping[str, str] = field(repr=False)
    options: Options = field(repr=False, default_factory=Options)

    @property
    def private(self) -> tuple[Path, ...]:
        """What no server may see, whatever else is granted: state, settings, control socket and secrets."""
        named = [
            *(path for server in self.servers.values() for path in server.secret_files),
            *([self.caller.challenge_key_file] if self.caller and self.caller.challenge_key_file else []),
        ]
        return (self.state_dir, self.runtime_dir, self.config_file, *named)

    @property
    def changing(self) -> tuple[Path, ...]:
        """What servers may write, and so where one of them could put a link to lead another astray."""
        return tuple(path for server in self.servers.values() for path in server.write)

    def reload(self) -> Settings:
        """Read everything again, as it was read the first time. Raises :exc:`ConfigError`."""
        return load(self.options)

    def proxy_for(self, url: str) -> str | None:
        """The CONNECT proxy towards ``url``, None for none. :exc:`ConfigError` for a bad HTTPS_PROXY."""
        try:
            return proxies.proxy_for(url, self.proxy)
        except ValueError as e:
            raise ConfigError(f"{e}.") from None

    def server(self, name: str) -> ServerSettings:
        """The settings of one server. Raises :exc:`ConfigError` naming those that exist."""
        try:
            return self.servers[name]
        except KeyError:
            known = ", ".join(sorted(self.servers)) or "none"
            raise ConfigError(
                f"{self.config_file} has no server named {name!r} (configured: {known}). "
                f"Add a [servers.{name}] table with its command or url."
            ) from None


def load(options: Options = Options(), environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises :exc:`ConfigError` with every reason at once."""
    env = os.environ if environ is None else environ
    config, named = _config_path(options, env)
    text = read_text(config, must_exist=named)
    return parse("" if text is None else text, config, options, env)


def parse(text: str, config: Path, options: Options, env: Mapping[str, str]) -> Settings:
    """Settings from the ``text`` of the file ``config``. Raises :exc:`ConfigError`."""
    try:
        table: dict[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{config}: not valid TOML: {e}.") from None
    problems = list(_not_enforced(table, config))
    sources = {name: str(config) if name in table else "default" for name in _SCALARS}
    for name, value in env.items():
        key = name.removeprefix(ENVIRON_PREFIX).lower()
        if not name.startswith(ENVIRON_PREFIX) or key == "config":
            continue
        if key not in _SCALARS:
            known = ", ".join(f"{ENVIRON_PREFIX}{k.upper()}" for k in ("config", *_SCALARS))
            problems.append(f"environment: {name} is unknown; known here: {known}.")
            continue
        table[key], sources[key] = value, name
    if options.state_dir is not None:
        table["state_dir"], sources["state_dir"] = str(options.state_dir.absolute()), "--state-dir"
    try:
        file = _File.model_validate(table)
    except ValidationError as e:
        problems += [_sentence(error, config, sources) for error in e.errors(include_url=False)]
        file = None
    problems += _bad_names(table, config)
    if file is not None and file.caller is None:
        problems += [
            f'{config}: servers.{name}.trust: "caller" needs to know whose word counts. Add a [caller] table '
            "with issuer, audience and keys_file."
            for name, server in file.servers.items()
            if server.trust == "caller"
        ]
    if "taint" in table and file is not None and not any(one.sensitive for one in file.servers.values()):
        problems.append(
            f"{config}: taint: does nothing, because no server has anything sensitive. Say what, as in "
            'sensitive = ["tool:read_*"] in the table of a server, or remove the table.'
        )
    if file is not None:
        believed = [name for name, server in file.servers.items() if server.trust == "relay"]
        problems += [f"{config}: site.{each}" for each in file.site.objections(file.servers, believed)]
    if problems or file is None:
        raise ConfigError("\n".join(problems))
    runtime_dir = file.runtime_dir
    if runtime_dir is None:
        # systemd may name several, separated by colons; the unit has one.
        given = env.get("RUNTIME_DIRECTORY", "").split(":")[0]
        runtime_dir = Path(given) if given else file.state_dir
        sources["runtime_dir"] = "RUNTIME_DIRECTORY" if given else "state_dir"
    return Settings(
        config_file=config,
        state_dir=file.state_dir,
        runtime_dir=runtime_dir,
        proxy=file.proxy,
        ca_file=file.ca_file,
        call_timeout=file.call_timeout,
        max_children=file.max_children,
        log_level=file.log_level,
        close_stream_after=file.close_stream_after,
        on_event=file.on_event,
        caller=file.caller,
        capture=file.capture,
        ledger=file.ledger,
        tolerance=file.tolerance,
        site=file.site,
        taint=file.taint,
        servers=MappingProxyType(dict(file.servers)),
        sources=MappingProxyType(sources),
        options=options,
    )


def _config_path(options: Options, env: Mapping[str, str]) -> tuple[Path, bool]:
    if options.config is not None:
        return options.config.absolute(), True
    given = env.get(f"{ENVIRON_PREFIX}CONFIG")
    if given:
        return Path(given).absolute(), True
    return DEFAULT_CONFIG, False


def _not_enforced(table: dict[str, object], config: Path) -> Iterable[str]:
    """Take the settings out of ``table`` that this version does not enforce, and say so for each."""
    servers = table.get("servers")
    for name, server in servers.items() if isinstance(servers, dict) else ():
        if not isinstance(server, dict):
            continue
        where = f"{config}: servers.{name}"
        for key, why in _NOT_ENFORCED.items():
            if key in server:
                del server[key]
                yield f"{where}.{key}: this version does not enforce it ({why}). Remove the line."


def _bad_names(table: Mapping[str, object], config: Path) -> Iterable[str]:
    servers = table.get("servers")
    for name in servers if isinstance(servers, dict) else ():
        try:
            parse_name(name, "server name")
        except BadName as e:
            yield f"{config}: servers.{name}: {e}"


_TOML_WORDS = {
    "tuple_type": "should be a list",
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "string_type": "should be a string",
}


def _sentence(error: ErrorDetails, config: Path, sources: Mapping[str, str]) -> str:
    """One pydantic error in words: where it stands, what is wrong or allowed. Never the value itself."""
    path = [str(part) for part in error["loc"] if part != "[key]"]
    source = sources.get(path[0], "")
    where = source if source and source not in ("default", str(config)) else f"{config}: {'.'.join(path)}"
    if error["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {
            "servers": ServerSettings,
            "caller": CallerSettings,
            "capture": CaptureSettings,
            "ledger": LedgerSettings,
            "site": SiteSettings,
            "taint": policy_settings.TaintSettings,
            "tolerance": Tolerance,
        }
        model = models.get(path[0], _File) if len(path) > 1 else _File
        if path[0] == "servers" and path[2:3] == ["redact"]:
            model = RedactSettings
        if path[0] == "servers" and path[2:3] == ["limits"]:
            model = LimitSettings
        if path[0] == "servers" and path[2:3] == ["rules"]:
            model = policy_settings.unknown_key(path)
        if model is ServerSettings and path[2] == "tools" and len(path) > 4:
            model = ToolSettings if len(path) == 5 else ToolAnnotations
        return f"{where}: unknown key. Known here: {', '.join(model.model_fields)}."
    if error["type"] == "missing":
        return f"{where}: missing."
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}."
    message = _TOML_WORDS.get(error["type"]) or error["msg"].removeprefix("Input ")
    return f"{where}: {message}."
