"""What looks like a secret, by the name of what holds it or by its form. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

_NAME: Final = re.compile(
    r"token|secret|passw|pwd|passphrase|credential|cookie|private|auth|bearer|session|signature|"
    r"(?:^|[-_.])(?:key|pat|pass|dsn)(?:$|[-_.])|apikey|accesskey|(?:^|[-_.])key$|[a-z]key$",
    re.IGNORECASE,
)
_FORM: Final = re.compile(
    r"(?:sk|pk|rk|ghp|gho|ghu|ghs|ghr|glpat|xox[abprs]|npm|pypi|hf|dop|shpat|sntrys|lin_api|figd|tvly|ntn|secret)"
    r"[-_]\S{8,}|github_pat_\S+|AKIA[0-9A-Z]{12,}|AIza\S{20,}|eyJ[\w-]{8,}\.[\w-]+\.\S*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"
)
#: Nobody's word, and no path: letters and digits mixed, and long.
_RANDOM: Final = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])[A-Za-z0-9+/=_.-]{32,}")


def name_is_secret(name: str) -> bool:
    """Whether what is called so usually holds a secret."""
    return _NAME.search(name) is not None


def is_secret(name: str, value: str) -> bool:
    """Whether ``value``, held by a variable, header or option called ``name``, looks like a secret."""
    return bool(value) and (name_is_secret(name) or form_is_secret(value))


def form_is_secret(value: str) -> bool:
    """Whether it looks like a secret whatever it is called."""
    text = value.strip()
    if _FORM.search(text):
        return True
    if _has_password(text):
        return True
    return _RANDOM.fullmatch(text) is not None and not text.startswith(("/", "./", "../", "@"))


def masked(arguments: Iterable[str]) -> list[str]:
    """A command line as it may be shown: what looks like a secret is left out."""
    shown: list[str] = []
    option = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if option and not argument.startswith("-") and name_is_secret(option):
            shown.append("…")
        elif equals and is_secret(name, value) and (name.startswith("-") or "/" not in name):
            shown.append(f"{name}=…")
        else:
            shown.append("…" if form_is_secret(argument) else argument)
        option = argument if argument.startswith("-") and not equals else ""
    return shown


def _has_password(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.scheme and parts.password)
    except ValueError:
        return False
