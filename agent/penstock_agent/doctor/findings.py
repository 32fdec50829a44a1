"""What was found: a value for each thing that was looked at. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Grade(StrEnum):
    """How it is. ``warning``: it works, and somebody should know."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True):
    """Of one check. ``text`` says what is, and where it is not well the cause and the next step."""

    check: str
    grade: Grade
    text: str
    server: str = ""
    """The server that it is about; empty for what concerns all of them."""


def ok(check: str, text: str, server: str = "") -> Finding:
    """It is well."""
    return Finding(check, Grade.OK, text, server)


def warning(check: str, text: str, server: str = "") -> Finding:
    """It works, and somebody should know."""
    return Finding(check, Grade.WARNING, text, server)


def failed(check: str, text: str, server: str = "") -> Finding:
    """It does not work."""
    return Finding(check, Grade.FAILED, text, server)


def worst(found: Iterable[Finding]) -> Grade:
    """How all of it is."""
    grades = {each.grade for each in found}
    return next((each for each in (Grade.FAILED, Grade.WARNING) if each in grades), Grade.OK)
