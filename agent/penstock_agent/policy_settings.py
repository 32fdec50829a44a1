"""``profile``, ``[[servers.NAME.rules]]`` and ``[taint]`` of ``agent.toml``: who may use what of a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from penstock_agent import sizes
from penstock_agent.gate.expose import Expose, Item, Pattern, parse_pattern
from penstock_agent.gate.policy import arguments as checks
from penstock_agent.gate.policy import paths
from penstock_agent.gate.policy.arguments import Condition, Scalar, Test
from penstock_agent.gate.policy.rules import Arguments, Budget, Policy, Rule
from penstock_agent.gate.policy.taint import Taint
from penstock_agent.gate.regex import Expression

MAX_RULES: Final = 1000
"""Rules of one server."""


def _entry(text: str) -> str:
    parse_pattern(text)
    return text


def _some(entries: tuple[str, ...]) -> tuple[str, ...]:
    if not entries:
        raise ValueError(
            "is empty, so the rule would concern nobody; name somebody, or remove the line for any"
        )
    return entries


def _item(text: str) -> str:
    if parse_pattern(text).kind not in (Item.TOOL, Item.PROMPT):
        raise ValueError("names no tool and no prompt, which alone have arguments")
    return text


def _place(text: str) -> str:
    checks.place(text)
    return text


def _expression(text: str) -> str:
    Expression(text)
    return text


def _folder(text: str) -> str:
    paths.folder(text)
    return text


def _finite(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError("must be a number")
    return value


def _comparable(value: object) -> object:
    return value if isinstance(value, bool | str) else _finite(value)


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


_Texts = Annotated[tuple[StrictStr, ...], AfterValidator(_some)]
_Entries = tuple[Annotated[StrictStr, AfterValidator(_entry)], ...]
_Number = Annotated[StrictInt | StrictFloat, BeforeValidator(_finite)]
_Scalar = Annotated[StrictBool | StrictStr | StrictInt | StrictFloat, BeforeValidator(_comparable)]
_Folders = Annotated[
    tuple[Annotated[StrictStr, AfterValidator(_folder)], ...], Field(min_length=1), BeforeValidator(_listed)
]
_Count = Annotated[StrictInt, Field(ge=1, le=1_000_000_000)]
_Bytes = Annotated[StrictInt, BeforeValidator(sizes.read), Field(ge=1, le=10**15)]
_MODEL: Final = ConfigDict(extra="forbid", frozen=True)


class BudgetSettings(BaseModel):
    """How much of each tool one person may use."""

    model_config = _MODEL

    calls_per_minute: _Count | None = None
    concurrent: _Count | None = None
    calls_per_day: _Count | None = None
    bytes_per_day: _Bytes | None = None
    max_result: _Bytes | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("limits nothing; write one of its settings, or remove the table")
        return self

    def budget(self) -> Budget:
        return Budget(**self.model_dump())


class ConditionSettings(BaseModel):
    """What one argument has to be; all that is written has to hold."""

    model_config = _MODEL

    equals: _Scalar | None = None
    one_of: Annotated[tuple[_Scalar, ...], Field(min_length=1)] | None = None
    prefix: Annotated[StrictStr, Field(min_length=1)] | None = None
    min: _Number | None = None
    max: _Number | None = None
    below: _Folders | None = None
    matches: Annotated[StrictStr, AfterValidator(_expression)] | None = None
    max_length: Annotated[StrictInt, Field(ge=0)] | None = None
    type: Literal["string", "number", "integer", "boolean", "array", "object", "null"] | None = None
    optional: StrictBool = False

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set - {"optional"}:
            raise ValueError("asks for nothing; write what the argument has to be, as in { one_of = [1, 2] }")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("has a min above its max, which no number keeps to")
        return self

    def condition(self, place: str) -> Condition:
        return Condition(place, checks.place(place), tuple(self._tests()), self.optional)

    def _tests(self) -> Iterable[Test]:
        if self.type is not None:
            yield checks.OfType(self.type)
        if self.equals is not None:
            yield checks.OneOf((_scalar(self.equals),))
        if self.one_of is not None:
            yield checks.OneOf(tuple(_scalar(each) for each in self.one_of))
        if self.prefix is not None:
            yield checks.Prefix((self.prefix,))
        if self.below is not None:
            yield checks.Below(tuple(paths.folder(each) for each in self.below))
        if self.min is not None or self.max is not None:
            yield checks.Range(*(None if each is None else _decimal(each) for each in (self.min, self.max)))
        if self.max_length is not None:
            yield checks.MaxLength(self.max_length)
        if self.matches is not None:
            yield checks.Matches(Expression(self.matches))


class RuleSettings(BaseModel):
    """One ``[[servers.NAME.rules]]`` table. ``issuers``, ``users``, ``groups`` and ``clients`` that are given
    have to hold together.
    """

    model_config = _MODEL

    #: For `policy explain` and the ledger.
    name: Annotated[StrictStr, Field(min_length=1, max_length=100, pattern=r'^[^"\x00-\x1f\x7f]+$')]
    #: Subjects or e-mail addresses, exact. Without it: any.
    users: _Texts | None = None
    groups: _Texts | None = None
    #: Ids of applications, with the globs of tools.
    clients: _Texts | None = None
    #: Who has to have said who the caller is, exact. Without it: any that the relay believes.
    issuers: _Texts | None = None
    allow: _Entries = ()
    deny: _Entries = ()
    #: By tool (or "prompt:NAME"), a glob or "*"; then by argument.
    arguments: dict[
        Annotated[StrictStr, AfterValidator(_item)],
        dict[Annotated[StrictStr, AfterValidator(_place)], ConditionSettings],
    ] = {}
    budget: BudgetSettings | None = None
    #: Whether somebody on site has to let each call pass.
    approve: Literal["always"] | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.allow and not self.deny:
            raise ValueError(
                f'{self.name!r} neither allows nor denies anything; write allow = ["tool:…"] or deny'
            )
        if not self.allow and (self.arguments or self.budget is not None):
            raise ValueError(
                f"{self.name!r} has arguments or a budget, which only narrow what a rule allows; add allow"
            )
        return self

    def rule(self) -> Rule:
        return Rule(
            self.name,
            None if self.users is None else frozenset(self.users),
            None if self.groups is None else frozenset(self.groups),
            None if self.clients is None else tuple(_client(each) for each in self.clients),
            None if self.issuers is None else frozenset(self.issuers),
            allow=Expose.parse(self.allow),
            deny=Expose.parse(self.deny),
            arguments=tuple(
                Arguments(parse_pattern(of), tuple(one.condition(place) for place, one in wanted.items()))
                for of, wanted in self.arguments.items()
            ),
            budget=None if self.budget is None else self.budget.budget(),
            approve=self.approve is not None,
        )


def unique(rules: tuple[RuleSettings, ...]) -> tuple[RuleSettings, ...]:
    """Raises ValueError for two of one name."""
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"has two rules with the name {name!r}; each needs one of its own")
    return rules


class TaintSettings(BaseModel):
    """``[taint]``: what follows for a person for whom something ``sensitive`` was read."""

    model_config = _MODEL

    #: What writes or reaches beyond the site is refused, or waits for somebody on site.
    after_sensitive: Literal["deny", "approve"] = "deny"
    #: Seconds.
    lasts: Annotated[StrictInt, Field(ge=60, le=30 * 86400)] = 3600

    def taint(self, sensitive: Mapping[str, tuple[str, ...]]) -> Taint | None:
        """``sensitive``: the lists of the servers. None where nothing is."""
        found = {server: Expose.parse(entries) for server, entries in sensitive.items() if entries}
        return Taint(found, self.after_sensitive == "approve", float(self.lasts)) if found else None


Rules = Annotated[tuple[RuleSettings, ...], Field(max_length=MAX_RULES), AfterValidator(unique)]
Profile = Literal["read_only"]


def policy(profile: Profile | None, rules: tuple[RuleSettings, ...]) -> Policy | None:
    """None where nothing is written: whoever the relay lets in may use all that is exposed."""
    if profile is None and not rules:
        return None
    return Policy(tuple(rule.rule() for rule in rules), profile == "read_only")


def in_words(rule: RuleSettings) -> str:
    """For a person, in one line."""
    who = [
        f"{what} {' or '.join(names)}"
        for what, names in (
            ("user", rule.users),
            ("group", rule.groups),
            ("application", rule.clients),
            ("issuer", rule.issuers),
        )
        if names is not None
    ]
    parts = [f"{' and '.join(who) or 'everybody'}:"]
    if rule.allow:
        parts.append(f"may use {', '.join(rule.allow)}")
    if rule.deny:
        parts.append(("and " if rule.allow else "") + f"never {', '.join(rule.deny)}")
    text = " ".join(parts)
    for of, wanted in rule.arguments.items():
        words = "; ".join(one.condition(place).words for place, one in wanted.items())
        text += f"; of {of}: {words}"
    if rule.budget is not None:
        shown = rule.budget.model_dump(exclude_none=True)
        text += f"; each person and tool: {', '.join(f'{name} = {value}' for name, value in shown.items())}"
    return text


def unknown_key(path: list[str]) -> type[BaseModel]:
    """Which table of a rule holds this key (``servers.NAME.rules.N.…``)."""
    inside = path[4:-1]
    if inside[:1] == ["budget"]:
        return BudgetSettings
    return ConditionSettings if len(inside) >= 3 and inside[0] == "arguments" else RuleSettings


def _client(text: str) -> Pattern:
    return parse_pattern(f"tool:{text}")


def _scalar(value: bool | str | int | float) -> Scalar:
    return value if isinstance(value, bool | str) else _decimal(value)


def _decimal(value: int | float) -> Decimal:
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))
