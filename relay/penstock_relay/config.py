"""The relay's settings, frozen once read: what there is, and what cannot be meant together."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from cryptography import x509
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from penstock_relay import egress
from penstock_relay.address import Address, Network
from penstock_relay.oauth import organisation
from penstock_relay.oauth.introspection import Endpoint
from penstock_relay.oauth.issuer_settings import Issuers
from penstock_relay.oauth.organisation import Lives, Organisation, SecondFactor
from penstock_relay.oauth.upstream.settings import Group, UpstreamSettings
from penstock_relay.setting_values import (
    AddressSetting,
    ClientPattern,
    DatabaseUrl,
    Duration,
    NetworksSetting,
    PublicUrl,
    TunnelUrl,
)

ENV_PREFIX: Final = "PENSTOCK_RELAY_"


class ConfigError(Exception):
    """The configuration cannot be used; the text says which setting, why, and what to do (status 2)."""


class CallersSettings(BaseModel):
    """Who may call MCP endpoints at all."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    egress: tuple[str, ...] = ()
    """Networks, names of vendors whose networks are shipped, and ``file:`` with an absolute path."""

    client_ca_file: Path | None = None
    """PEM of the CAs whose client certificates, which the proxy has seen, let callers of any network in."""

    client_names: tuple[str, ...] = ()
    """DNS names of which such a certificate has one."""

    client_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "Client-Cert"
    """Where the proxy writes the certificate: as in RFC 9440, or as percent-encoded PEM."""

    @field_validator("egress")
    @classmethod
    def _each(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(egress.check, entries))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.client_ca_file is None) != (not self.client_names):
            raise ValueError("client_ca_file and client_names belong together")
        if not self.egress and self.client_ca_file is None:
            raise ValueError("nobody could call: list networks in egress, or set client_ca_file")
        return self


class Settings(BaseSettings):
    """Settings of the relay. Read them with :func:`~penstock_relay.settings_file.load`, which turns every
    problem into a sentence.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    public_url: PublicUrl = None
    """Origin that users paste into their assistants, without a path: ``https://mcp.example.com``.

    Plain http is accepted for loopback hosts only. Unset, it follows ``listen``, which then must be loopback.
    """

    listen: AddressSetting = Address("127.0.0.1", 8080)
    """Address of the public listener; port 0 picks one. It speaks HTTP: a reverse proxy terminates TLS."""

    trusted_proxies: NetworksSetting = None
    """Networks of the reverse proxies in front of the public listener, as ``["10.0.0.0/8", "fd00::/8"]``.

    From these the caller's address is taken out of ``X-Forwarded-For``, and limits count by it; nobody
    else's header is believed, and no other header of theirs. Empty: callers connect to the relay itself.
    Unset, callers who come from an address that is not public, or with that header, are limited together.
    """

    tunnel_listen: AddressSetting = Address("0.0.0.0", 8443)  # noqa: S104  the agents' way in
    """Address of the tunnel listener, where agents enrol and keep their links. Port 0 picks one."""

    tunnel_url: TunnelUrl = None
    """Origin that agents dial: ``wss://relay.example.com:443``. It goes into join strings.

    TLS ends in the relay itself, so anything before the tunnel listener passes TCP through untouched.
    Unset, it follows ``tunnel_listen``, which then must be loopback.
    """

    ops_listen: AddressSetting = Address("127.0.0.1", 9090)
    """Address of the ops listener: ``/healthz``, ``/readyz``, ``/metrics``. Port 0 picks one."""

    state_dir: Path = Path("/var/lib/penstock-relay")
    """Folder of the database, the certificate authority and ``listening.json``; created with mode 0700."""

    database_url: DatabaseUrl = None
    """SQLite URL of the store. Unset, it is ``relay.db`` in ``state_dir``."""

    oauth: bool = True
    """Whether the embedded authorization server runs: users log in at the relay and grant access to clients.

    Off, only personal access tokens and tokens of ``issuers`` open anything.
    """

    issuers: Issuers = ()
    """Authorization servers outside whose tokens are good here: tables ``[[issuers]]``."""
    callers: CallersSettings | None = None
    """Networks from which MCP endpoints may be called, as ``egress = ["anthropic", "203.0.113.0/24"]``.

    Others are refused before anything else about them counts. The pages of ``oauth`` stay open to all. It
    needs ``trusted_proxies``: without, nobody's address is known.
    """

    master_key_file: Path | None = None
    """File with the master key, which seals the relay's secrets in ``state_dir``: 32 random bytes as base64.

    Unset, they are kept plain, in private files.
    """

    ca_cert_file: Path | None = None
    """Certificate (PEM) of a CA that you keep, cert-manager's for example. Unset, the relay makes its own."""

    ca_key_file: Path | None = None
    """Private key (PEM) of ``ca_cert_file``."""

    upstream: UpstreamSettings | None = None
    """The company's identity provider, through which users log in: a table ``[upstream]``."""

    local_accounts: bool = True
    """Whether users may have accounts of this relay's own, with a password."""

    second_factor: SecondFactor = "optional"
    """Whether users with such an account may have a second factor, a code besides the password; or must."""

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
        """Raises ConfigError when ``serve`` would refuse to start. Call it before binding anything."""
        self.urls(self.listen, self.tunnel_listen)
        self.caller_networks()
        self.caller_anchors()
        self.introspection()
        if self.upstream is not None and not self.oauth:
            raise ConfigError("upstream is how users log in at the relay, and oauth = false forbids that.")
        self.upstream_secret()
        if self.upstream is None and not self.local_accounts:
            raise ConfigError(
                "local_accounts is false and there is no upstream, so nobody could log in. Set upstream, or "
                "oauth = false."
            )
        if self.second_factor == "required" and not (self.oauth and self.local_accounts):
            raise ConfigError(
                'second_factor = "required" is for logins with a password of the relay\'s own, and '
                f"{'local_accounts' if self.oauth else 'oauth'} = false leaves none. Remove it; an identity "
                "provider asks for its own second factors."
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
        return Organisation(self.allowed_clients, lives, self.later_tools, self.second_factor)

    def caller_anchors(self) -> list[x509.Certificate]:
        """CAs of callers' certificates, read now; none where they do not count. Raises ConfigError."""
        path = None if self.callers is None else self.callers.client_ca_file
        if path is None:
            return []
        if not self.trusted_proxies:
            raise ConfigError(
                "callers.client_ca_file needs trusted_proxies: the certificate of a caller is what a proxy "
                "says it is. Set trusted_proxies to the networks of your proxies."
            )
        try:
            return x509.load_pem_x509_certificates(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"callers.client_ca_file: cannot read {path}: {error.strerror}.") from None
        except ValueError:
            raise ConfigError(f"callers.client_ca_file: {path} holds no certificates (PEM).") from None

    def caller_networks(self) -> tuple[Network, ...] | None:
        """Where callers may come from, files read now; None: from everywhere. Raises ConfigError."""
        if self.callers is None:
            return None
        if self.trusted_proxies is None:
            raise ConfigError(
                "callers needs trusted_proxies: without, the address of every caller is that of the "
                "proxy in front of the relay. Set trusted_proxies to the networks of your proxies, or to [] "
                "if callers connect to the relay itself."
            )
        try:
            return egress.networks(self.callers.egress)
        except ValueError as error:
            raise ConfigError(f"callers.egress: {error}.") from None

    def introspection(self) -> dict[str, Endpoint]:
        """Where opaque tokens are asked about, by the URL of the issuer; secrets are read from their files.

        Raises ConfigError.
        """
        found = {}
        for table in self.issuers:
            if table.introspection is None:
                continue
            try:
                found[table.url] = table.introspection.endpoint()
            except (OSError, ValueError) as error:
                cause = error.strerror if isinstance(error, OSError) else str(error)
                raise ConfigError(
                    f"issuers: client_secret_file: {table.introspection.client_secret_file} cannot be read: "
                    f"{cause}. It must hold the client's secret, readable for the relay's user."
                ) from None
        return found

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.ca_cert_file is None) != (self.ca_key_file is None):
            missing = "ca_key_file" if self.ca_key_file is None else "ca_cert_file"
            raise ValueError(f"{missing} is not set; ca_cert_file and ca_key_file belong together: set both")
        return self
