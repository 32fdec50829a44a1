"""Who imports whom, read from the sources without running them, and what is wrong with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Sources = Mapping[str, str]
"""Name of each module -> its source. A package's own module has the package's name."""


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    """Who imports."""
    target: str
    """What: a module of ours by its full name, anything else as it is written."""
    line: int
    for_types: bool
    """Below ``if TYPE_CHECKING``: it is not there when the program runs."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@dataclass(frozen=True, slots=True)
class Floor:
    name: str
    modules: tuple[str, ...]
    """Full names; ``a.b.*`` is the package ``a.b`` with everything in it."""


def read(package_folders: Sequence[Path]) -> dict[str, str]:
    """The sources of packages, each given by its folder."""
    found = {}
    for folder in package_folders:
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = file.read_text(encoding="utf-8")
    return found


def matches(module: str, patterns: Sequence[str]) -> bool:
    return any(
        module == pattern or (pattern.endswith(".*") and f"{module}.".startswith(pattern.removesuffix("*")))
        for pattern in patterns
    )


def imports(sources: Sources) -> list[Import]:
    """Every import of every module, wherever in the file it stands."""
    return list(dict.fromkeys(found for module in sources for found in _of_module(module, sources)))


def _of_module(module: str, sources: Sources) -> Iterator[Import]:
    is_package = any(other.startswith(f"{module}.") for other in sources)
    for said in _statements(sources[module]):
        above = module.split(".")
        above = above[: len(above) - said.level + is_package] if said.level else []
        for base, name in said.pairs:
            package = ".".join([*above, *([base] if base else [])])
            # `from package import name` means the module package.name where there is one.
            target = f"{package}.{name}" if name and f"{package}.{name}" in sources else package
            yield Import(module, target, said.line, said.for_types)


@dataclass(frozen=True, slots=True)
class _Statement:
    line: int
    level: int
    """Leading dots."""
    pairs: tuple[tuple[str, str], ...]
    """What stands after `from` or `import`, and what is taken from it."""
    for_types: bool


@cache
def _statements(source: str) -> list[_Statement]:
    tree = ast.parse(source)
    types_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            level, pairs = 0, [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            level, pairs = node.level, [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        found.append(_Statement(node.lineno, level, tuple(pairs), id(node) in types_only))
    return found


def upward(sources: Sources, floors: Sequence[Floor]) -> list[str]:
    """Modules that stand on no floor or on several, and imports from a floor above one's own."""
    height: dict[str, int] = {}
    wrong = []
    for module in sources:
        on = [number for number, floor in enumerate(floors) if matches(module, floor.modules)]
        if len(on) == 1:
            height[module] = on[0]
        else:
            wrong.append(f"{module} stands on {len(on)} floors: give it one")
    return wrong + [
        f"{found}: {floors[height[found.module]].name} may not know {floors[height[found.target]].name}"
        for found in imports(sources)
        if found.module in height and height.get(found.target, -1) > height[found.module]
    ]


def impure(sources: Sources, pure: Sequence[str], forbidden: Sequence[str]) -> list[str]:
    """Pure modules that import what is forbidden, or a module of ours that is not pure itself.

    Packages that enclose a module are not looked at, although importing the module runs them too.
    """
    wrong = [f"{pattern} is not there" for pattern in pure if not any(matches(m, [pattern]) for m in sources)]
    for found in imports(sources):
        if not matches(found.module, pure):
            continue
        if found.target.split(".")[0] in forbidden:
            wrong.append(f"{found}: it is pure")
        elif found.target in sources and not matches(found.target, pure):
            wrong.append(f"{found}, which is not pure")
    return wrong


def cycle(sources: Sources) -> list[str]:
    """Modules that import each other in a circle when the program runs, or nothing."""
    graph: dict[str, set[str]] = {module: set() for module in sources}
    for found in imports(sources):
        if found.target in sources and not found.for_types:
            graph[found.module].add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # graphlib goes from what is imported to who imports it.
        return [str(module) for module in reversed(error.args[1])]
    return []
