"""What is looked for in the answers of which items, and what happens to what is found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Protocol

from penstock_agent.gate.expose import Item, Pattern
from penstock_agent.gate.redaction.custom import Custom
from penstock_agent.gate.redaction.detectors import DETECTORS, Detector
from penstock_agent.gate.redaction.pointers import Tree

MAX_PLANS: Final = 256
"""Combinations of rules of one server that are kept ready."""


class Action(StrEnum):
    """What happens when something is found; of several, the last of these."""

    MASK = "mask"
    ASK = "ask"
    BLOCK = "block"


STRICTEST: Final = tuple(Action)


@dataclass(frozen=True, slots=True)
class Rule:
    """``tools`` None: for everything that the server says."""

    tools: tuple[Pattern, ...] | None = None
    find: tuple[str, ...] = ()
    patterns: tuple[Custom, ...] = ()
    fields: tuple[tuple[str, ...], ...] = ()
    action: Action = Action.MASK

    def applies(self, item: Item | None, name: str | None) -> bool:
        """Whether to what the server says about this item. Whose words belong to no item that is known,
        or to one whose name is not, they may be those of any.
        """
        if self.tools is None or item is None:
            return True
        return any(one.kind is item and (name is None or one.touches(name)) for one in self.tools)


@dataclass(frozen=True, slots=True)
class Plan:
    """Several rules as one."""

    detectors: tuple[Detector, ...]
    customs: tuple[Custom, ...]
    fields: Tree[str] | None
    """The pointers, each with its action."""
    actions: dict[str, Action]
    """What to do, by the name of what was found."""
    default: Action
    """What to do with what cannot be looked through."""
    masking: Plan | None = None
    """What of it is taken out even where somebody on site lets the rest leave; None for nothing."""

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> Plan:
        actions: dict[str, Action] = {}
        customs: dict[tuple[str, str], Custom] = {}
        for rule in rules:
            for custom in rule.patterns:
                customs[custom.name, custom.pattern] = custom
            for name in (*rule.find, *(custom.name for custom in rule.patterns)):
                actions[name] = strictest((actions.get(name, rule.action), rule.action))
        pointers = [(steps, rule.action.value) for rule in rules for steps in rule.fields]
        plan = cls._made(actions, customs.values(), pointers, strictest(rule.action for rule in rules))
        if plan.default is Action.MASK:
            return plan
        stricter = {steps for steps, action in pointers if action != Action.MASK}
        masking = cls._made(
            {name: action for name, action in actions.items() if action is Action.MASK},
            [one for one in customs.values() if actions[one.name] is Action.MASK],
            [(steps, action) for steps, action in pointers if steps not in stricter],
            Action.MASK,
        )
        return replace(plan, masking=masking) if masking.actions or masking.fields else plan

    @classmethod
    def _made(
        cls,
        actions: dict[str, Action],
        customs: Iterable[Custom],
        pointers: Sequence[tuple[tuple[str, ...], str]],
        default: Action,
    ) -> Plan:
        return cls(
            tuple(one for name, one in DETECTORS.items() if name in actions),
            tuple(customs),
            Tree.of(pointers) if pointers else None,
            actions,
            default,
        )

    def action(self, name: str) -> Action:
        return self.actions.get(name, Action.MASK)


def strictest(actions: Iterable[Action]) -> Action:
    return max(actions, key=STRICTEST.index)


class Redactor(Protocol):
    """What is looked for in what one server says."""

    def plan(self, item: Item | None, name: str | None, /) -> Plan | None:
        """For the answer about this item, or None for nothing. ``item`` None: it is not known which, and
        ``name`` None: which of its kind.
        """
        ...


@dataclass(slots=True)
class Rules:
    """Those of one server: a :class:`Redactor`."""

    rules: tuple[Rule, ...]
    _plans: dict[tuple[bool, ...], Plan] = field(default_factory=dict, repr=False, compare=False)

    def plan(self, item: Item | None, name: str | None) -> Plan | None:
        return self.chosen([rule.applies(item, name) for rule in self.rules])

    def chosen(self, which: Iterable[bool]) -> Plan | None:
        """The plan of some of the rules: one for each says whether."""
        key = tuple(which)
        if not any(key):
            return None
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            chosen = [rule for rule, taken in zip(self.rules, key, strict=True) if taken]
            found = self._plans[key] = Plan.of(chosen)
        return found
