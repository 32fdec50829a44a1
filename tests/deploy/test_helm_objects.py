"""What the objects of the relay's chart say."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import cast

import yaml  # type: ignore[import-untyped]  # comes with kubernetes-validate; has no stubs of its own

from penstock import __version__
from penstock_relay.daemon import DRAIN
from tests.deploy.chart import (
    ACCEPTED,
    CHART,
    ROOT,
    Object,
    Value,
    at,
    case,
    container,
    items,
    mapping,
    objects,
    of_kind,
    parse,
    pod,
    rendered,
    service,
    the,
)


def test_listeners_of_the_configuration_are_the_ports_of_the_pod() -> None:
    settings = tomllib.loads(str(at(the("minimal", "ConfigMap"), "data", "relay.toml")))
    listening = {
        "public": settings["listen"],
        "tunnel": settings["tunnel_listen"],
        "ops": settings["ops_listen"],
    }
    ports = {
        str(port["name"]): f"0.0.0.0:{port['containerPort']}" for port in items(container("minimal"), "ports")
    }
    assert listening == ports


def test_image_and_chart_agree_where_the_relay_listens_and_keeps_its_state() -> None:
    settings = tomllib.loads(str(at(the("minimal", "ConfigMap"), "data", "relay.toml")))
    dockerfile = (ROOT / "relay/Dockerfile").read_text()
    environment = dict(re.findall(r"PENSTOCK_RELAY_([A-Z_]+)=(\S+)", dockerfile))
    assert environment
    # The image's environment goes before the chart's file, so it must say the same.
    assert environment == {name: settings[name.lower()] for name in environment}
    (mount,) = [m for m in items(container("minimal"), "volumeMounts") if m["name"] == "state"]
    assert mount["mountPath"] == settings["state_dir"]
    assert f"USER {mapping(pod('minimal'), 'securityContext')['runAsUser']}:" in dockerfile


def test_commands_run_in_the_pod_find_the_configuration() -> None:
    (variable,) = [e for e in items(container("minimal"), "env") if e["name"] == "PENSTOCK_RELAY_CONFIG"]
    (mount,) = [m for m in items(container("minimal"), "volumeMounts") if m["name"] == "config"]
    assert variable["value"] == f"{mount['mountPath']}/relay.toml"


def test_pod_meets_the_restricted_standard() -> None:
    context, security = (
        mapping(pod("minimal"), "securityContext"),
        mapping(container("minimal"), "securityContext"),
    )
    assert context["runAsNonRoot"] is True
    assert cast(int, context["runAsUser"]) >= 10_000
    assert at(context, "seccompProfile", "type") == "RuntimeDefault"
    assert security["allowPrivilegeEscalation"] is False
    assert at(security, "capabilities", "drop") == ["ALL"]
    assert security["readOnlyRootFilesystem"] is True
    assert {next(iter(set(volume) - {"name"})) for volume in items(pod("everything"), "volumes")} <= {
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
    }
    assert {next(iter(set(volume) - {"name"})) for volume in items(pod("secrets"), "volumes")} == {
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
        "secret",
    }
    assert not set(pod("minimal")) & {"hostNetwork", "hostPID", "hostIPC"}


def test_secrets_of_the_operator_are_where_the_configuration_looks() -> None:
    settings = tomllib.loads(str(at(the("secrets", "ConfigMap"), "data", "relay.toml")))
    volumes = {str(v["name"]): v for v in items(pod("secrets"), "volumes") if "secret" in v}
    found = {}
    for mount in items(container("secrets"), "volumeMounts"):
        if mount["name"] in volumes:
            assert mount["readOnly"] is True
            # A file that is mounted alone never changes, and a renewed CA would not be seen.
            assert "subPath" not in mount
            secret = mapping(volumes[str(mount["name"])], "secret")
            # The relay refuses secrets that everybody on its machine may read.
            assert cast(int, secret["defaultMode"]) & 0o007 == 0
            for item in items(secret, "items"):
                found[f"{mount['mountPath']}/{item['path']}"] = (secret["secretName"], item["key"])
    assert found == {
        settings["master_key_file"]: ("penstock-relay-master-key", "master.key"),
        settings["ca_cert_file"]: ("penstock-relay-ca", "tls.crt"),
        settings["ca_key_file"]: ("penstock-relay-ca", "tls.key"),
    }
    assert not settings["master_key_file"].startswith(settings["state_dir"])


def test_without_secrets_of_the_operator_none_is_mounted_or_named() -> None:
    settings = tomllib.loads(str(at(the("minimal", "ConfigMap"), "data", "relay.toml")))
    assert not {"master_key_file", "ca_cert_file", "ca_key_file"} & set(settings)
    assert not any("secret" in volume for volume in items(pod("minimal"), "volumes"))


def test_openshift_may_choose_the_user() -> None:
    context = mapping(pod("openshift"), "securityContext")
    assert context["runAsNonRoot"] is True
    assert not set(context) & {"runAsUser", "runAsGroup", "fsGroup"}


def test_relay_has_no_part_in_kubernetes() -> None:
    assert pod("minimal")["automountServiceAccountToken"] is False
    assert the("minimal", "ServiceAccount")["automountServiceAccountToken"] is False
    # A Service called penstock-relay would otherwise put PENSTOCK_RELAY_PORT into the environment.
    assert pod("minimal")["enableServiceLinks"] is False
    assert not of_kind(objects("everything"), "Role")


def test_alive_is_not_ready() -> None:
    probes = {
        name: mapping(container("minimal"), name, "httpGet") for name in ("livenessProbe", "readinessProbe")
    }
    assert probes == {
        "livenessProbe": {"path": "/healthz", "port": "ops"},
        "readinessProbe": {"path": "/readyz", "port": "ops"},
    }


def test_relay_gets_the_time_that_it_needs_to_stop() -> None:
    assert cast(int, pod("minimal")["terminationGracePeriodSeconds"]) >= DRAIN + 10


def test_new_configuration_means_a_new_pod(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(case("minimal").read_text() + "\nlogLevel: debug\n")
    path = ("spec", "template", "metadata", "annotations", "checksum/config")
    (changed,) = of_kind(parse(rendered(values)), "StatefulSet")
    assert at(the("minimal", "StatefulSet"), *path) not in (None, at(changed, *path))


def test_same_values_render_the_same_twice() -> None:
    # Nothing is drawn at random: the CA is on the volume, and an upgrade must not replace it.
    first = rendered(case("everything"))
    rendered.cache_clear()
    assert rendered(case("everything")) == first
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    assert not re.search(r"\b(gen[A-Z]\w+|rand[A-Z]\w+|lookup|now|uuidv4)\b", templates.replace("known", ""))
    assert not of_kind(objects("everything"), "Secret")


def test_new_chart_version_alone_does_not_restart_the_relay(tmp_path: Path) -> None:
    copy = tmp_path / "penstock-relay"
    shutil.copytree(CHART, copy)
    chart = copy / "Chart.yaml"
    chart.write_text(re.sub(r"^version: .*$", "version: 99.0.0", chart.read_text(), flags=re.MULTILINE))
    (changed,) = of_kind(parse(rendered(case("minimal"), chart=copy)), "StatefulSet")
    assert at(changed, "spec", "template") == at(the("minimal", "StatefulSet"), "spec", "template")


def test_budget_never_blocks_a_drain() -> None:
    spec = mapping(the("minimal", "PodDisruptionBudget"), "spec")
    assert spec["maxUnavailable"] == 1
    assert "minAvailable" not in spec
    assert not of_kind(objects("everything"), "PodDisruptionBudget")


def test_volume_with_the_ca_outlives_the_release_unless_told_otherwise() -> None:
    keep = ("metadata", "annotations", "helm.sh/resource-policy")
    assert at(the("minimal", "PersistentVolumeClaim"), *keep) == "keep"
    assert at(the("everything", "PersistentVolumeClaim"), *keep) is None
    assert not of_kind(objects("existing-claim"), "PersistentVolumeClaim")
    (volume,) = [v for v in items(pod("existing-claim"), "volumes") if v["name"] == "state"]
    assert at(volume, "persistentVolumeClaim", "claimName") == "relay-state"


def test_account_of_the_operator_is_used_and_not_made() -> None:
    assert not of_kind(objects("existing-claim"), "ServiceAccount")
    assert pod("existing-claim")["serviceAccountName"] == "relay"


def test_public_service_stays_inside_and_the_tunnel_does_not() -> None:
    assert at(service("minimal", "penstock-relay"), "spec", "type") == "ClusterIP"
    assert at(service("minimal", "-tunnel"), "spec", "type") == "LoadBalancer"


def test_nothing_ends_the_tls_of_the_tunnel() -> None:
    for values in ACCEPTED:
        found = parse(rendered(values))
        for ingress in of_kind(found, "Ingress"):
            assert "-tunnel" not in json.dumps(ingress)
        (tunnel,) = [
            s for s in of_kind(found, "Service") if str(at(s, "metadata", "name")).endswith("-tunnel")
        ]
        (port,) = items(tunnel, "spec", "ports")
        assert port["targetPort"] == "tunnel"
        assert "appProtocol" not in port


def test_load_balancer_is_narrowed_to_the_given_networks() -> None:
    spec = mapping(service("load-balancer", "-tunnel"), "spec")
    assert spec["loadBalancerSourceRanges"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert spec["externalTrafficPolicy"] == "Local"
    assert spec["loadBalancerClass"] == "service.k8s.aws/nlb"


def test_node_port_is_the_one_asked_for() -> None:
    assert at(service("node-port", "-tunnel"), "spec", "ports", 0, "nodePort") == 30443


def test_ingress_takes_its_host_from_the_public_url() -> None:
    spec = mapping(the("ingress", "Ingress"), "spec")
    assert at(spec, "rules", 0, "host") == "mcp.example.com"
    assert at(spec, "tls", 0, "hosts") == ["mcp.example.com"]
    # The host alone when it has a port: an Ingress knows no ports.
    assert at(the("same-host", "Ingress"), "spec", "rules", 0, "host") == "mcp.example.com"


def rules(name: str) -> dict[str, Value]:
    """Port -> its peers, None for everybody."""
    spec = mapping(the(name, "NetworkPolicy"), "spec")
    return {str(at(rule, "ports", 0, "port")): at(rule, "from") for rule in items(spec, "ingress")}


def test_network_policy_lets_in_whom_it_names() -> None:
    found = rules("network-policy")
    assert set(found) == {"public", "tunnel", "ops"}
    assert all(found.values())


def test_network_policy_without_peers_opens_the_ops_listener_to_nobody() -> None:
    assert rules("network-policy-open") == {"public": None, "tunnel": None}


def test_network_policy_lets_the_relay_ask_for_names_documents_and_what_the_operator_adds() -> None:
    spec = mapping(the("network-policy", "NetworkPolicy"), "spec")
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (names, documents, extra) = items(spec, "egress")
    assert {(port["port"], port["protocol"]) for port in items(names, "ports")} == {(53, "UDP"), (53, "TCP")}
    assert [(port["port"], port["protocol"]) for port in items(documents, "ports")] == [(443, "TCP")]
    assert at(documents, "to", 0, "ipBlock", "except", 0) == "10.0.0.0/8"
    assert at(extra, "to", 0, "ipBlock", "cidr") == "198.51.100.0/24"


def test_image_prefers_the_digest_and_the_global_registry() -> None:
    assert container("minimal")["image"] == "registry.example.com/penstock-relay:0.1.0"
    image = str(container("everything")["image"])
    assert image == "mirror.example.com/team/penstock-relay@sha256:" + 64 * "0"
    assert items(pod("everything"), "imagePullSecrets") == [{"name": "registry"}, {"name": "mirror"}]


def test_chart_and_program_have_one_version() -> None:
    chart = cast(Object, yaml.safe_load((CHART / "Chart.yaml").read_text()))
    assert chart["appVersion"] == __version__
