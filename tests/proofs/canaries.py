"""Looks for canaries in bytes, in each of the forms in which programs write text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from tests.e2e.test_canary import forms


def shapes(secret: str) -> set[bytes]:
    """As it is, in hexadecimal, in base64 at any place, escaped, percent-encoded, reversed, cut in two."""
    data = secret.encode()
    found = set(forms(data).values())
    found |= {"".join(f"\\u{ord(letter):04x}" for letter in secret).encode()}
    found |= {data[::-1], data.upper(), base64.b64encode(data[::-1])[:-4], data.hex().encode()[::-1]}
    half = len(data) // 2  # 64 bits are still not there by chance
    return found | {data[:half], data[half:]}


def seen(secrets: Mapping[str, str], places: Iterable[bytes]) -> set[str]:
    """Names of those that are somewhere, in any form."""
    everything = b"\0".join(places)
    return {name for name, secret in secrets.items() if any(shape in everything for shape in shapes(secret))}
