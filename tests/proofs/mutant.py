"""A plugin of pytest that changes one module of Penstock as it is imported: ``-p tests.proofs.mutant``.

What is changed stands in the environment, as JSON: module, text, and what is there in its place. Files stay
as they are. It is an error if the text is not there exactly once, or the module has been imported already.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

VARIABLE = "PENSTOCK_PROOF_MUTANT"


class Mutated(SourceFileLoader):
    old = new = ""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        if source.count(self.old) != 1:
            raise SystemExit(f"{fullname} does not have that text once: {self.old}")
        code: CodeType = self.source_to_code(source.replace(self.old, self.new).encode(), self.path)
        return code


class Finder(MetaPathFinder):
    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            raise SystemExit(f"there is no {fullname}")
        spec.loader = Mutated(fullname, spec.origin)
        return spec


if VARIABLE in os.environ:
    module, Mutated.old, Mutated.new = json.loads(os.environ[VARIABLE])
    if module in sys.modules:
        raise SystemExit(f"{module} has been imported already")
    sys.meta_path.insert(0, Finder(module))
