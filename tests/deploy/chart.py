"""The relay's chart as objects: the real helm renders it, and these functions find things in the result."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TypeAlias, cast

import yaml  # type: ignore[import-untyped]  # comes with kubernetes-validate; has no stubs of its own

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/penstock-relay"
BIN = Path(sys.executable).parent
RELEASE = "edge"
NAMESPACE = "tunnels"
#: Oldest of Chart.yaml, the one that CI speaks for, and the newest that kubernetes-validate knows.
KUBERNETES = ("1.25", "1.32", "1.37")
CASES = sorted((CHART / "ci").glob("*-values.yaml"))
ACCEPTED = [case for case in CASES if not case.name.startswith("refused-")]
REFUSED = [case for case in CASES if case.name.startswith("refused-")]

Value: TypeAlias = "str | int | bool | list[Value] | Object | None"
Object: TypeAlias = dict[str, "Value"]


def name_of(path: Path) -> str:
    return path.name.removesuffix("-values.yaml")


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "helm"), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


@cache
def rendered(values: Path, kubernetes: str = "1.32", chart: Path = CHART) -> str:
    done = helm("template", RELEASE, chart, "-n", NAMESPACE, "-f", values, "--kube-version", kubernetes)
    assert done.returncode == 0, done.stderr
    # helm warns on stderr about values that it could not merge.
    assert done.stderr == ""
    return done.stdout


def parse(text: str) -> list[Object]:
    return [cast(Object, document) for document in yaml.safe_load_all(text) if document is not None]


def case(name: str) -> Path:
    return CHART / "ci" / f"{name}-values.yaml"


def objects(name: str) -> list[Object]:
    return parse(rendered(case(name)))


def at(value: Value, *path: str | int) -> Value:
    """The member at ``path``; None when anything on the way is missing."""
    for part in path:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        else:
            return None
    return value


def items(value: Value, *path: str | int) -> list[Object]:
    found = at(value, *path)
    return [cast(Object, item) for item in found] if isinstance(found, list) else []


def mapping(value: Value, *path: str | int) -> Object:
    found = at(value, *path)
    return found if isinstance(found, dict) else {}


def of_kind(found: list[Object], kind: str) -> list[Object]:
    return [item for item in found if item["kind"] == kind]


def the(name: str, kind: str) -> Object:
    (only,) = of_kind(objects(name), kind)
    return only


def service(name: str, suffix: str) -> Object:
    (only,) = [
        s for s in of_kind(objects(name), "Service") if str(at(s, "metadata", "name")).endswith(suffix)
    ]
    return only


def pod(name: str) -> Object:
    return mapping(the(name, "StatefulSet"), "spec", "template", "spec")


def container(name: str) -> Object:
    (only,) = items(pod(name), "containers")
    return only
