"""Networks that callers come from: those that vendors of assistants publish, or that the operator lists.

`egress.json` has what is shipped, each with its source and the day on which it was read. A vendor whose
networks change by the week is not in it: its list comes as a file, in the form in which it is published.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from penstock_relay.address import Network

FILE: Final = "file:"
MAX_FILE: Final = 1024 * 1024

_SHIPPED: Final = Path(__file__).with_name("egress.json")
_ELSEWHERE: Final = {
    "openai": "OpenAI changes its networks often, so none are shipped: save "
    "https://openai.com/chatgpt-connectors.json, and write file: and its path instead"
}


@cache
def shipped() -> dict[str, tuple[Network, ...]]:
    """The networks that come with this version, by vendor."""
    listed: dict[str, dict[str, list[str]]] = json.loads(_SHIPPED.read_text(encoding="utf-8"))
    return {name: tuple(map(ipaddress.ip_network, entry["networks"])) for name, entry in listed.items()}


def assistants(listed: Sequence[Network] | None) -> tuple[Network, ...]:
    """Networks where one address stands for many users: those shipped, and those that the operator lists."""
    return (*(listed or ()), *(network for each in shipped().values() for network in each))


def check(entry: str) -> str:
    """`entry`, if it may stand in the configuration; its file is not looked at. Raises ValueError."""
    if entry in shipped() or (entry.startswith(FILE) and Path(entry.removeprefix(FILE)).is_absolute()):
        return entry
    if entry in _ELSEWHERE:
        raise ValueError(_ELSEWHERE[entry])
    try:
        return str(_network(entry))
    except ValueError as error:
        if "/" in entry:
            raise ValueError(f"{entry!r}: {error}") from None
        names = ", ".join(shipped())
        raise ValueError(
            f"{entry!r} is neither a network, nor file: and an absolute path, nor one of: {names}"
        ) from None


def networks(entries: Sequence[str]) -> tuple[Network, ...]:
    """All networks of `entries`, whose files are read now. Raises ValueError with a sentence."""
    found: list[Network] = []
    for entry in entries:
        if entry in shipped():
            found += shipped()[entry]
        elif entry.startswith(FILE):
            found += _read(Path(entry.removeprefix(FILE)))
        else:
            found.append(_network(entry))
    return tuple(found)


def _read(path: Path) -> list[Network]:
    """A network a line, with # before remarks; or JSON as OpenAI and others publish it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"{path} is longer than {MAX_FILE} bytes")
        text = data.decode()
        texts = _published(json.loads(text)) if text.lstrip().startswith("{") else _lines(text)
        found = [_network(each) for each in texts]
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (RecursionError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError(f"{path} is neither JSON nor lines of text") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not found:
        raise ValueError(f"{path} lists no network: nobody could call")
    return found


def _published(value: object) -> list[str]:
    prefixes = value.get("prefixes") if isinstance(value, dict) else None
    found = []
    for prefix in prefixes if isinstance(prefixes, list) else ():
        each = prefix.get("ipv4Prefix", prefix.get("ipv6Prefix")) if isinstance(prefix, dict) else None
        if not isinstance(each, str):
            raise ValueError("an entry of prefixes has neither ipv4Prefix nor ipv6Prefix")
        found.append(each)
    return found


def _lines(text: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _network(text: str) -> Network:
    try:
        found = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a network, for example 203.0.113.0/24") from None
    if found.prefixlen == 0:
        raise ValueError(f"{text!r} is everybody: leave the setting out instead")
    return found
