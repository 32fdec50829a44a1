"""The relay's settings: TOML, overridden by ``PENSTOCK_RELAY_*``; frozen once read.

A setting that is unknown, or that this version would not enforce, is refused: a relay that silently
ignores a line of its configuration is a relay that is not configured as its operator believes.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from penstock_relay.address import Address, public_origin, tunnel_origin
from penstock_relay.oauth import organisation
from penstock_relay.oauth.issuer_settings import Issuers
from penstock_relay.oauth.organisation import Lives, Organisation
from penstock_relay.oauth.upstream.settings import Group, UpstreamSettings

ENV_PREFIX: Final = "PENSTOCK_RELAY_"
CONFIG_VARIABLE: Final = "PENSTOCK_RELAY_CONFIG"
DEFAULT_CONFIG: Final = Path("/etc/penstock-relay/relay.toml")
"""Read when it is there and no other file is named."""

_NO_TLS: Final = "The public listener of this version speaks HTTP: let a reverse proxy terminate TLS."

# Settings of the documented surface that this version could not honour.
NOT_ENFORCED: Final[Mapping[str, str]] = {
    "console_listen": "This version has no console; remove the setting.",
    "nats_url": "This version runs as one replica; remove the setting and run a single relay.",
    "master_key_file": "This version does not encrypt its store; remove the setting, keep state_dir private.",
    "tls_cert": _NO_TLS,
    "tls_key": _NO_TLS,
    "trusted_proxies": "This version believes no X-Forwarded-For; remove the setting.",
}

# Kubernetes gives every pod variables for each Service of its namespace, so that a Service called
# penstock-relay looks like settings of ours. They are not, and they are not typing mistakes either.
_SERVICE_LINK: Final = re.compile(
    r"([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


class ConfigError(Exception):
    """The configuration cannot be used; the text says which setting, why, and what to do (status 2)."""


def _address(value: object) -> object:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError('write it as text: "host:port"')
    return Address.parse(value)


def _public_url(value: object) -> object:
    return public_origin(value) if isinstance(value, str) else value


def _tunnel_url(value: object) -> object:
    return tunnel_origin(value) if isinstance(value, str) else value


def _database_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    # The text of the URL is kept out of the message: a URL of another engine may carry a password.
    scheme, found, rest = value.partition("://")
    if not found or scheme not in ("sqlite", "sqlite+aiosqlite"):
        raise ValueError("this version stores in SQLite only: use sqlite:////absolute/path, or unset it")
    if not rest.startswith("//") or "?" in rest:
        raise ValueError("an SQLite URL names a file by its absolute path: sqlite:////absolute/path")
    return f"sqlite+aiosqlite://{rest}"


def _duration(value: str) -> str:
    organisation.seconds(value)
    return value


def _client_pattern(value: str) -> str:
    if organisation.bad_pattern(value):
        raise ValueError(
            "an entry is the id of a client as it stands, or a host in small letters, of which parts may be *"
        )
    return value


Duration = Annotated[str, AfterValidator(_duration)]
ClientPattern = Annotated[str, AfterValidator(_client_pattern)]
AsText = PlainSerializer(str, return_type=str)
AddressSetting = Annotated[Address, NoDecode, BeforeValidator(_address), AsText]


class Settings(BaseSettings):
    """Settings of the relay. Read them with :func:`load`, which turns every problem into a sentence."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    public_url: Annotated[str | None, BeforeValidator(_public_url)] = None
    """Origin that users paste into their assistants, without a path: ``https://mcp.example.com``.

    Plain http is accepted for loopback hosts only. Unset, it follows ``listen``, which then must be loopback.
    """

    listen: AddressSetting = Address("127.0.0.1", 8080)
    """Address of the public listener; port 0 picks one. It speaks HTTP: a reverse proxy terminates TLS."""

    tunnel_listen: AddressSetting = Address("0.0.0.0", 8443)  # noqa: S104  the agents' way in
    """Address of the tunnel listener, where agents enrol and keep their links. Port 0 picks one."""

    tunnel_url: Annotated[str | None, BeforeValidator(_tunnel_url)] = None
    """Origin that agents dial: ``wss://relay.example.com:443``. It goes into join strings.

    TLS ends in the relay itself, so anything before the tunnel listener passes TCP through untouched.
    Unset, it follows ``tunnel_listen``, which then must be loopback.
    """

    ops_listen: AddressSetting = Address("127.0.0.1", 9090)
    """Address of the ops listener: ``/healthz``, ``/readyz``, ``/metrics``. Port 0 picks one."""

    state_dir: Path = Path("/var/lib/penstock-relay")
    """Folder of the database, the certificate authority and ``listening.json``; created with mode 0700."""

    database_url: Annotated[str | None, BeforeValidator(_database_url)] = None
    """SQLite URL of the store. Unset, it is ``relay.db`` in ``state_dir``."""

    oauth: bool = True
    """Whether the embedded authorization server runs: users log in at the relay and grant access to clients.

    Off, only personal access tokens and tokens of ``issuers`` open anything.
    """

    issuers: Issuers = ()
    """Authorization servers outside whose tokens are good here: tables ``[[issuers]]``."""

    upstream: UpstreamSettings | None = None
    """The company's identity provider, through which users log in: a table ``[upstream]``."""

    local_accounts: bool = True
    """Whether users may have accounts of this relay's own, with a password."""

    admin_groups: tuple[Group, ...] = ()
    """Groups of the identity provider whose members are relay administrators."""

    allowed_clients: tuple[ClientPattern, ...] | None = None
    """Clients that users may connect, by id or by host. Unset: all."""

    access_life: Duration = "1h"
    """How long an access token is good."""

    refresh_idle: Duration = "30d"
    """A grant ends when it was not refreshed for so long."""

    max_grant_life: Duration = "180d"
    """And every grant ends after so long."""

    later_tools: bool = True
    """Whether users may allow tools that a site adds later."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what the file said; no .env file and no secrets folder."""
        return env_settings, init_settings

    @property
    def database(self) -> str:
        """The store's URL for SQLAlchemy's async engine."""
        return self.database_url or f"sqlite+aiosqlite:///{self.state_dir.absolute() / 'relay.db'}"

    def urls(self, listen: Address, tunnel_listen: Address) -> tuple[str, str]:
        """``public_url`` and ``tunnel_url`` for the addresses that the listeners really got.

        Raises ConfigError where one is unset and cannot be inferred.
        """
        return self.public_url_at(listen), self.tunnel_url_at(tunnel_listen)

    def public_url_at(self, listen: Address) -> str:
        """``public_url``, or the URL of the loopback address ``listen``. Raises ConfigError."""
        if self.public_url is not None:
            return self.public_url
        if not self.listen.loopback:
            raise ConfigError(
                f"public_url is not set and listen ({self.listen}) is not a loopback address, so it cannot "
                "be inferred. Set public_url to the origin that users paste, for example https://mcp.example.com."
            )
        return f"http://{Address(self.listen.host, listen.port)}"

    def tunnel_url_at(self, tunnel_listen: Address) -> str:
        """``tunnel_url``, or the URL of the loopback address ``tunnel_listen``. Raises ConfigError."""
        if self.tunnel_url is not None:
            return self.tunnel_url
        if not self.tunnel_listen.loopback:
            raise ConfigError(
                f"tunnel_url is not set and tunnel_listen ({self.tunnel_listen}) is not a loopback address, "
                "so it cannot be inferred. Set tunnel_url to what agents dial, for example "
                "wss://relay.example.com:443."
            )
        return f"wss://{Address(self.tunnel_listen.host, tunnel_listen.port)}"

    def check(self) -> None:
        """Raises ConfigError when ``serve`` could not know its own URLs, or settings contradict each other.

        Call it before binding anything.
        """
        self.urls(self.listen, self.tunnel_listen)
        if self.upstream is not None and not self.oauth:
            raise ConfigError("upstream is how users log in at the relay, and oauth = false forbids that.")
        self.upstream_secret()
        if self.upstream is None and not self.local_accounts:
            raise ConfigError(
                "local_accounts is false and there is no upstream, so nobody could log in. Set upstream, or "
                "oauth = false."
            )
        lives = self.organisation.lives
        if not lives.access_s <= lives.idle_s <= lives.absolute_s:
            raise ConfigError(
                f"access_life ({self.access_life}) must not be longer than refresh_idle ({self.refresh_idle})"
                f", nor that than max_grant_life ({self.max_grant_life})."
            )
        if lives.access_s > organisation.MAX_ACCESS_S:
            raise ConfigError("access_life must not be longer than 24h: a client renews it by itself.")

    def upstream_secret(self) -> str | None:
        """What the relay proves itself with at the identity provider, read now. Raises ConfigError."""
        try:
            return None if self.upstream is None else self.upstream.secret()
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(
                f"upstream: client_secret_file cannot be read: {cause}. It must hold the client's secret, "
                "readable for the relay's user."
            ) from None

    @property
    def organisation(self) -> Organisation:
        """What the organisation allows its users."""
        lives = Lives(*map(organisation.seconds, (self.access_life, self.refresh_idle, self.max_grant_life)))
        return Organisation(self.allowed_clients, lives, self.later_tools)


def load(config: Path | None = None) -> Settings:
    """The settings of ``config``, or of the file that ``PENSTOCK_RELAY_CONFIG`` names, or of
    ``DEFAULT_CONFIG`` if it exists; each overridden by its ``PENSTOCK_RELAY_*`` variable. Raises ConfigError.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = config or (Path(named) if named else DEFAULT_CONFIG)
    content = _read(path, may_be_missing=config is None and not named)
    for key in content:
        _known(key, f"{path}: {key}")
    for variable in os.environ:
        name = variable.upper()
        if name.startswith(ENV_PREFIX) and name != CONFIG_VARIABLE:
            setting = name.removeprefix(ENV_PREFIX)
            if not _SERVICE_LINK.fullmatch(setting):
                _known(setting.lower(), variable)
    try:
        return Settings(**content)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentences(error))) from None


def _read(path: Path, *, may_be_missing: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except PermissionError:
        raise ConfigError(
            f"Cannot read the configuration {path}: Permission denied. Run as root or as the relay's user, "
            "or name another file with --config."
        ) from None
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError | NotADirectoryError):
            return {}
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None


def _known(key: str, shown: str) -> None:
    if key in NOT_ENFORCED:
        raise ConfigError(f"{shown} is not enforced by this version. {NOT_ENFORCED[key]}")
    if key not in Settings.model_fields:
        near = difflib.get_close_matches(key, Settings.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else "the settings are " + ", ".join(Settings.model_fields)
        raise ConfigError(f"{shown} is not a setting of the relay; {hint}")


def _sentences(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
