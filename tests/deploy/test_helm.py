"""The relay's chart: rendered by the real helm, checked against the real Kubernetes schemas."""

import shutil
import subprocess
from pathlib import Path
from typing import cast

import pytest
import yaml  # type: ignore[import-untyped]  # comes with kubernetes-validate; has no stubs of its own

from penstock_relay.settings_file import load
from tests.deploy.chart import (
    ACCEPTED,
    BIN,
    CHART,
    KUBERNETES,
    NAMESPACE,
    REFUSED,
    RELEASE,
    Object,
    at,
    case,
    helm,
    items,
    mapping,
    name_of,
    of_kind,
    parse,
    rendered,
)


def test_there_are_cases_of_both_kinds() -> None:
    assert len(ACCEPTED) >= 10
    assert len(REFUSED) >= 10


@pytest.mark.parametrize("values", ACCEPTED, ids=name_of)
def test_lint_finds_nothing(values: Path) -> None:
    done = helm("lint", "--strict", CHART, "-f", values)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_every_object_passes_the_schema_of_kubernetes(kubernetes: str, tmp_path: Path) -> None:
    files: list[Path] = []
    expected = 0
    for values in ACCEPTED:
        text = rendered(values, kubernetes)
        # Kinds that Kubernetes does not define itself stand only in extraObjects.
        own = [item for item in parse(text) if item["kind"] not in ("TLSRoute", "Certificate")]
        files.append(tmp_path / values.name)
        files[-1].write_text(yaml.safe_dump_all(own))
        expected += len(own)
    done = subprocess.run(
        [str(BIN / "kubernetes-validate"), "--strict", "-k", kubernetes, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    # One line for each object, and nothing that was only warned about.
    assert output.count(" passed for resource ") == expected == len(output.splitlines())


def test_schema_check_would_catch_an_unknown_field(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(rendered(case("minimal")).replace("enableServiceLinks:", "enableServiceLinkz:"))
    done = subprocess.run(
        [str(BIN / "kubernetes-validate"), "--strict", "-k", "1.32", str(broken)],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode != 0


@pytest.mark.parametrize("values", REFUSED, ids=name_of)
def test_refused_values_fail_with_the_promised_words(values: Path) -> None:
    promise = values.read_text().splitlines()[0].removeprefix("# Refused: ")
    done = helm("template", RELEASE, CHART, "-f", values)
    assert done.returncode != 0
    assert promise in done.stderr


@pytest.mark.parametrize("values", ACCEPTED, ids=name_of)
def test_objects_refer_to_things_that_exist(values: Path) -> None:
    found = parse(rendered(values))
    (stateful,) = of_kind(found, "StatefulSet")
    template = mapping(stateful, "spec", "template")
    labels = mapping(template, "metadata", "labels")
    (relay,) = items(template, "spec", "containers")
    ports = {port["name"] for port in items(relay, "ports")}
    volumes = {volume["name"] for volume in items(template, "spec", "volumes")}
    services = {str(at(s, "metadata", "name")): s for s in of_kind(found, "Service")}

    assert {mount["name"] for mount in items(relay, "volumeMounts")} <= volumes
    assert at(stateful, "spec", "serviceName") in services
    assert len(services) == 2
    selectors = [mapping(s, "spec", "selector") for s in services.values()]
    selectors += [mapping(stateful, "spec", "selector", "matchLabels")]
    for kind, path in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        selectors += [mapping(item, "spec", path, "matchLabels") for item in of_kind(found, kind)]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    for one in services.values():
        assert {port["targetPort"] for port in items(one, "spec", "ports")} <= ports
    for ingress in of_kind(found, "Ingress"):
        backend = mapping(ingress, "spec", "rules", 0, "http", "paths", 0, "backend", "service")
        names = {port["name"] for port in items(services[str(backend["name"])], "spec", "ports")}
        assert at(backend, "port", "name") in names
    for volume in items(template, "spec", "volumes"):
        if config := at(volume, "configMap", "name"):
            assert config in {at(item, "metadata", "name") for item in of_kind(found, "ConfigMap")}
    for item in found:
        if item["kind"] != "TLSRoute" and not str(at(item, "metadata", "name")).endswith("-extra"):
            assert at(item, "metadata", "namespace") == NAMESPACE


@pytest.mark.parametrize("values", ACCEPTED, ids=name_of)
def test_relay_takes_the_configuration_that_the_chart_writes(
    values: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config,) = [
        item for item in of_kind(parse(rendered(values)), "ConfigMap") if at(item, "data", "relay.toml")
    ]
    file = tmp_path / "relay.toml"
    # The one secret that the relay reads to check its settings; in a pod it is a volume.
    (tmp_path / "secret").write_text("s3cret")
    file.write_text(str(at(config, "data", "relay.toml")).replace("/etc/upstream", str(tmp_path)))
    monkeypatch.setenv("PENSTOCK_RELAY_CONFIG", str(file))
    settings = load()
    settings.check()
    wanted = mapping(cast(Object, yaml.safe_load(values.read_text())))
    assert settings.public_url == wanted["publicUrl"]
    assert settings.tunnel_url == wanted["tunnelUrl"]
    assert mapping(wanted, "settings").keys() <= settings.model_fields_set


@pytest.fixture
def umbrella(tmp_path: Path) -> Path:
    chart = tmp_path / "umbrella"
    (chart / "templates").mkdir(parents=True)
    shutil.copytree(CHART, chart / "charts/penstock-relay")
    dependency = {"name": "penstock-relay", "version": "0.1.0", "condition": "penstock-relay.enabled"}
    (chart / "Chart.yaml").write_text(
        yaml.safe_dump(
            {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": [dependency]}
        )
    )
    return chart


def umbrella_values(tmp_path: Path, enabled: bool) -> Path:
    relay = {**cast(Object, yaml.safe_load(case("minimal").read_text())), "enabled": enabled}
    shared = {"imageRegistry": "mirror.example.com", "somebodyElses": {"key": 1}}
    values = tmp_path / "umbrella-values.yaml"
    values.write_text(yaml.safe_dump({"global": shared, "penstock-relay": relay}))
    return values


def test_chart_works_below_another_one(umbrella: Path, tmp_path: Path) -> None:
    found = parse(rendered(umbrella_values(tmp_path, enabled=True), chart=umbrella))
    (stateful,) = of_kind(found, "StatefulSet")
    image = at(stateful, "spec", "template", "spec", "containers", 0, "image")
    assert image == "mirror.example.com/registry.example.com/penstock-relay:0.1.0"


def test_chart_can_be_switched_off_below_another_one(umbrella: Path, tmp_path: Path) -> None:
    assert parse(rendered(umbrella_values(tmp_path, enabled=False), chart=umbrella)) == []
