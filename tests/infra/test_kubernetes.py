"""The Kubernetes objects: what selects matches, nothing runs as root, everything has limits and probes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.memory_folder import MEMORY
from serving.settings import Settings
from tests.serving.real_server import ROOT
from tideline import catalog
from tideline.contracts import TidelineError

FOLDER = ROOT / "infra" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    found for name in KUSTOMIZATION["resources"] for found in yaml.safe_load_all((FOLDER / name).read_text())
]
ALERT_ADDRESSES = {spec.variable for spec in map(catalog.get_channel, catalog.names("channels")) if spec.variable}


def find(kind: str, name: str = "") -> dict[str, Any]:
    return next(o for o in OBJECTS if o["kind"] == kind and name in ("", o["metadata"]["name"]))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, pod template) of everything that runs."""
    for found in OBJECTS:
        if found["kind"] == "Deployment":
            yield found["metadata"]["name"], found["spec"]["template"]
        if found["kind"] == "CronJob":
            yield found["metadata"]["name"], found["spec"]["jobTemplate"]["spec"]["template"]


@pytest.mark.parametrize("found", OBJECTS, ids=lambda o: f"{o['kind']}-{o['metadata']['name']}")
def test_kubernetes_own_schema_knows_every_field(found: dict[str, Any]) -> None:
    kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_refuses_a_misspelt_field() -> None:
    wrong = {**find("Service"), "spec": {**find("Service")["spec"], "portz": []}}
    with pytest.raises(kubernetes_validate.ValidationError, match="portz"):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_all_kinds_are_there_and_no_secret_is_among_them() -> None:
    kinds = {found["kind"] for found in OBJECTS}
    assert kinds == {
        "Namespace", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Deployment", "Service",
        "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "CronJob",
    }  # fmt: skip
    files = {place.name for place in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files - set(KUSTOMIZATION["resources"]) == {"secret.example.yaml"}


@pytest.mark.parametrize(("name", "pod"), list(pods()), ids=lambda value: value if isinstance(value, str) else "")
def test_pods_run_as_nobody_special_within_limits(name: str, pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["serviceAccountName"] == find("ServiceAccount")["metadata"]["name"]
    assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][kind])
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert container["image"] in {image["name"] for image in KUSTOMIZATION["images"]}
        assert not any(image["newTag"] == "latest" for image in KUSTOMIZATION["images"])


def test_what_selects_matches_the_server() -> None:
    deployment = find("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert find("Service")["spec"]["selector"].items() <= labels.items()
    assert find("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    policy = find("NetworkPolicy", "tideline-serving")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    target = find("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]
    egress = find("NetworkPolicy", "tideline-egress")["spec"]["podSelector"]["matchLabels"]
    (added,) = KUSTOMIZATION["labels"]
    assert egress.items() <= added["pairs"].items() and added["includeTemplates"]
    monitor = dict(pods())["tideline-monitor"]["metadata"]["labels"]
    assert not find("Service")["spec"]["selector"].items() <= monitor.items()


def test_probes_ports_and_settings_agree() -> None:
    spec = find("Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (port,) = container["ports"]
    settings = find("ConfigMap")["data"]
    assert str(port["containerPort"]) == settings["TIDELINE_SERVING_PORT"]
    assert find("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in paths.values()} == {port["name"]}
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startup": "/readyz", "readiness": "/readyz", "liveness": "/livez",
    }  # fmt: skip
    ingress = find("NetworkPolicy", "tideline-serving")["spec"]["ingress"][0]
    assert ingress["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
    known = {f.metadata["variable"] for f in fields(Settings)}
    assert {key for key in settings if key.startswith("TIDELINE_")} <= known
    read = Settings.from_environment(settings)
    assert read.journal and not read.open
    assert spec["terminationGracePeriodSeconds"] > 5 + read.timeout + 1
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(read.home), str(read.journal_folder)} <= mounts
    assert settings["BENTOML_HOME"].startswith(f"{MEMORY}/") and "/tmp" in mounts


def test_secrets_are_referred_to_by_the_names_of_the_example() -> None:
    example = yaml.safe_load((FOLDER / "secret.example.yaml").read_text())
    name = example["metadata"]["name"]
    (container,) = find("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"secretRef": {"name": name}} in container["envFrom"]
    (monitor,) = dict(pods())["tideline-monitor"]["spec"]["containers"]
    refs = [e["valueFrom"]["secretKeyRef"] for e in monitor["env"] if "secretKeyRef" in e["valueFrom"]]
    assert {ref["name"] for ref in refs} == {name} and {ref["key"] for ref in refs} == example["stringData"].keys()
    assert {ref["key"]: ref.get("optional", False) for ref in refs} == {
        "TIDELINE_STORE_URL": False, **dict.fromkeys(ALERT_ADDRESSES, True),
    }  # fmt: skip
    assert example["metadata"]["namespace"] == KUSTOMIZATION["namespace"] == find("Namespace")["metadata"]["name"]


def test_service_links_would_be_settings_that_the_server_does_not_know() -> None:
    linked = f"{find('Service')['metadata']['name']}-service-host".replace("-", "_").upper()
    with pytest.raises(TidelineError, match=linked):
        Settings.from_environment({**find("ConfigMap")["data"], linked: "10.0.0.1"})


def test_alerts_may_leave_from_where_they_are_told() -> None:
    labels = dict(pods())["tideline-monitor"]["metadata"]["labels"]
    policy = find("NetworkPolicy", "tideline-alerts")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["egress"][0]["ports"] == [{"protocol": "TCP", "port": 443}]
