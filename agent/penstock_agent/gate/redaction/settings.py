"""The tables ``[[servers.NAME.redact]]`` of ``agent.toml``."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, model_validator

from penstock_agent.gate.expose import parse_pattern
from penstock_agent.gate.redaction.custom import compile_pattern
from penstock_agent.gate.redaction.detectors import DETECTORS, FIELD
from penstock_agent.gate.redaction.outgoing import UNREAD
from penstock_agent.gate.redaction.pointers import parse
from penstock_agent.gate.redaction.rules import Action, Rule, Rules
from penstock_agent.gate.regex import BadRegex

MAX_RULES: Final = 32
MAX_PATTERNS: Final = 16
"""Patterns of one rule; each is looked for in every text."""
MAX_FIELDS: Final = 256

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
Word = Literal["mask", "block", "ask"]


def _known(name: str) -> str:
    if name not in DETECTORS:
        raise ValueError(
            f"is nothing that can be found. Known here: {', '.join(DETECTORS)}; write a pattern for others"
        )
    return name


def _tool(text: str) -> str:
    parse_pattern(text)
    return text


def _pointer(text: str) -> str:
    parse(text)
    return text


def _patterns(patterns: dict[str, str]) -> dict[str, str]:
    for name, pattern in patterns.items():
        if _NAME.fullmatch(name) is None:
            raise ValueError(
                f"{name[:40]!r} is no name for a pattern: write a to z, 0 to 9, - and _; callers read it"
            )
        if name in DETECTORS or name in (FIELD, UNREAD):
            raise ValueError(f"{name!r} has a meaning already; give the pattern another name")
        try:
            compile_pattern(name, pattern)
        except BadRegex as e:
            raise ValueError(f"{name}: {e}") from None
    return patterns


class RedactSettings(BaseModel):
    """What is looked for in what a server answers, and what happens to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Whose answers, as in ``expose``. Without it: everything that the server says.
    tools: tuple[Annotated[StrictStr, AfterValidator(_tool)], ...] | None = None
    #: What is found by its looks.
    find: tuple[Annotated[StrictStr, AfterValidator(_known)], ...] = ()
    #: NAME = "regular expression" (RE2).
    patterns: Annotated[
        dict[StrictStr, StrictStr], Field(max_length=MAX_PATTERNS), AfterValidator(_patterns)
    ] = {}
    #: JSON pointers into ``structuredContent``, and into text that is JSON; ``*`` is any member or item.
    fields: Annotated[
        tuple[Annotated[StrictStr, AfterValidator(_pointer)], ...], Field(max_length=MAX_FIELDS)
    ] = ()
    #: Take it out, let nothing of the answer out, or have somebody on site decide.
    action: Word = "mask"

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.find and not self.patterns and not self.fields:
            known = ", ".join(f'"{name}"' for name in DETECTORS)
            raise ValueError(f"looks for nothing; write find = [{known}], or patterns, or fields")
        if self.tools is not None and not self.tools:
            raise ValueError(
                "has an empty list of tools, so it does nothing; leave tools out for all of them"
            )
        return self

    def in_words(self) -> str:
        """One line for who checks the configuration."""
        parts = [", ".join(self.find)] if self.find else []
        parts += [f"{name} /{pattern}/" for name, pattern in self.patterns.items()]
        parts += self.fields
        where = "everything" if self.tools is None else ", ".join(self.tools)
        return f"{self.action}: {', '.join(parts)}   (in {where})"

    def rule(self) -> Rule:
        return Rule(
            None if self.tools is None else tuple(map(parse_pattern, self.tools)),
            self.find,
            tuple(compile_pattern(name, pattern) for name, pattern in self.patterns.items()),
            tuple(map(parse, self.fields)),
            Action(self.action),
        )


def rules(tables: tuple[RedactSettings, ...]) -> Rules | None:
    """What a server's tables say; None when there are none."""
    return Rules(tuple(table.rule() for table in tables)) if tables else None
