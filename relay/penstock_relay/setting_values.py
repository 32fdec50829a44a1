"""How single settings of the relay are written: addresses, URLs, networks, durations, patterns of clients."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer
from pydantic_settings import NoDecode

from penstock_relay.address import Address, Network, public_origin, tunnel_origin
from penstock_relay.oauth import organisation


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


def _networks(value: object) -> object:
    if isinstance(value, str):  # as the environment has it, where a variable without a value says nothing
        if not value.strip():
            return None
        value = [] if value.strip() == "none" else [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple):
        return value
    return tuple(_network(each) for each in value)


def _network(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('write networks as text: ["10.0.0.0/8"]')
    try:
        found = ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a network, for example 10.0.0.0/8 or fd00::/8") from None
    if found.prefixlen == 0:
        raise ValueError(f"{value!r} is everybody: whoever is trusted may name any address as the caller's")
    return found


AsText = PlainSerializer(str, return_type=str)
AsTexts = PlainSerializer(lambda value: None if value is None else list(map(str, value)))
NetworksSetting = Annotated[tuple[Network, ...] | None, NoDecode, BeforeValidator(_networks), AsTexts]
AddressSetting = Annotated[Address, NoDecode, BeforeValidator(_address), AsText]
PublicUrl = Annotated[str | None, BeforeValidator(_public_url)]
TunnelUrl = Annotated[str | None, BeforeValidator(_tunnel_url)]
DatabaseUrl = Annotated[str | None, BeforeValidator(_database_url)]
