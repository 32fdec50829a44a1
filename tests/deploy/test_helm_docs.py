"""What people read of the relay's chart: the notes after an install, and the table of values."""

import json
import re
import shutil
from pathlib import Path
from typing import cast

import yaml  # type: ignore[import-untyped]  # comes with kubernetes-validate; has no stubs of its own

from tests.deploy.chart import (
    CHART,
    NAMESPACE,
    Object,
    at,
    case,
    mapping,
    of_kind,
    parse,
    rendered,
    the,
)


def notes(values: Path, tmp_path: Path) -> str:
    """NOTES.txt as `helm install` prints it: without a cluster helm shows it only as part of an object."""
    copy = tmp_path / "notes"
    shutil.copytree(CHART, copy)
    text = (copy / "templates/NOTES.txt").read_text()
    (copy / "templates/_notes.tpl").write_text('{{- define "notes" -}}\n' + text + "{{- end -}}\n")
    (copy / "templates/notes.yaml").write_text('kind: Notes\ntext: {{ include "notes" . | toJson }}\n')
    (only,) = of_kind(parse(rendered(values, chart=copy)), "Notes")
    return str(only["text"])


def test_notes_give_the_exact_commands(tmp_path: Path) -> None:
    text = notes(case("minimal"), tmp_path)
    pod_name = f"{at(the('minimal', 'StatefulSet'), 'metadata', 'name')}-0"
    assert "https://mcp.example.com" in text
    assert f"kubectl exec -n {NAMESPACE} {pod_name} -c relay -- penstock-relay site add NAME" in text
    assert "WARNING" not in text


def test_notes_warn_of_a_port_that_nobody_listens_on(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        case("minimal").read_text().replace("tunnel.example.com:443", "tunnel.example.com:8443")
    )
    assert "agents will dial port 8443" in notes(values, tmp_path)


def described_values() -> dict[str, str]:
    """Path of each value that values.yaml describes -> its description."""
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    words: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if text.startswith("# --"):
            words = [text.removeprefix("# -- ")]
        elif text.startswith("#"):
            words = [*words, text.removeprefix("#").strip()] if words else []
        elif match := re.match(r"([A-Za-z]+):", text):
            parents = [(n, name) for n, name in parents if n < indent] + [(indent, match[1])]
            if words:
                found[".".join(name for _, name in parents)] = " ".join(words)
            words = []
    return found


def test_readme_has_a_row_for_every_value_and_no_other() -> None:
    readme = (CHART / "README.md").read_text()
    rows = re.findall(r"^\| `([A-Za-z.]+)` \|", readme, re.MULTILINE)
    assert rows == list(described_values())


def test_every_value_is_described_and_in_the_schema() -> None:
    schema = cast(Object, json.loads((CHART / "values.schema.json").read_text()))
    values = cast(Object, yaml.safe_load((CHART / "values.yaml").read_text()))
    described = described_values()
    for name, value in values.items():
        known = mapping(schema, "properties", name)
        assert known, name
        if name in described:
            continue
        for inner in mapping(value):
            assert f"{name}.{inner}" in described
            assert at(known, "properties", inner)
        assert set(mapping(known, "properties")) == set(mapping(value))
    assert set(mapping(schema, "properties")) == {*values, "enabled"}
