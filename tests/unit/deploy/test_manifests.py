"""The manifests for KubeRay: sizes, ports, volumes and labels fit each other, in both variants, and KubeRay's schema takes them."""

from __future__ import annotations

import copy
import itertools
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KUBERAY = ROOT / "deploy" / "kuberay"
#: KubeRay's own definitions: `make test-deploy` puts a checkout there.
DEFINITIONS = Path(os.environ.get("KUBERAY_CRDS", ROOT / "build/kuberay/ray-operator/config/crd/bases"))
GIB = 1 << 30
VARIANTS = ("host", "pvc")


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((KUBERAY / name).read_text(encoding="utf-8")))


def cluster(variant: str) -> Any:
    """The RayCluster, patched as kustomize would."""
    found = documents("raycluster.yaml")[0]
    if variant == "pvc":
        for patch in yaml.safe_load((KUBERAY / "pvc/kustomization.yaml").read_text(encoding="utf-8"))["patches"]:
            for change in yaml.safe_load(patch["patch"]):
                assert "replace" == change["op"]
                *way, last = [int(p) if p.isdigit() else p for p in change["path"].strip("/").split("/")]
                place = found
                for part in way:
                    place = place[part]
                place[last] = copy.deepcopy(change["value"])
    return found


def groups(variant: str) -> list[Any]:
    """The head's and the workers' parts."""
    spec = cluster(variant)["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def size(text: str) -> int:
    assert text.endswith("Gi")
    return int(text[:-2]) * GIB


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_object_store_has_its_room(variant: str) -> None:
    """In shared memory, which counts against the memory of the pod."""
    for group in groups(variant):
        pod = group["template"]["spec"]
        memory = pod["containers"][0]["resources"]["limits"]["memory"]
        shared = next(v["emptyDir"] for v in pod["volumes"] if v["name"] == "shared-memory")
        assert "Memory" == shared["medium"]
        store = int(group["rayStartParams"]["object-store-memory"])
        assert store + GIB <= size(shared["sizeLimit"]) + 1 <= size(memory)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_mounted_is_there(variant: str) -> None:
    """Shared memory and the disk, in every pod, and the disk tier's directory lies on the disk."""
    entry = documents("start-cache.yaml")[0]["spec"]["entrypoint"]
    disk = re.search(r"--disk (/[^:]+):", entry)
    assert disk
    for group in groups(variant):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert {"/dev/shm": "shared-memory", "/mnt/nvme": "disk"} == mounts
        assert {"shared-memory", "disk"} == volumes
        assert disk[1] in mounts


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_container_can_become_more_than_it_is(variant: str) -> None:
    """None but the one that owns the disk runs as root, and that one may change owners, nothing else."""
    for group in groups(variant):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for container in [*pod["initContainers"], *pod["containers"]]:
            rights = container["securityContext"]
            assert ["ALL"] == rights["capabilities"]["drop"]
            assert not rights["allowPrivilegeEscalation"]
            if container["name"] == "own-disk":
                assert ["CHOWN"] == rights["capabilities"]["add"]
            else:
                assert {"runAsUser", "add"}.isdisjoint({*rights, *rights["capabilities"]})


def test_services_and_monitor_find_their_pods() -> None:
    """By the labels that KubeRay gives, at ports that the pods have."""
    name = cluster("host")["metadata"]["name"]
    ports = [
        {port["name"]: port["containerPort"] for port in group["template"]["spec"]["containers"][0]["ports"]}
        for group in groups("host")
    ]
    dashboard, metrics = documents("services.yaml")
    assert {"ray.io/cluster": name, "ray.io/node-type": "head"} == dashboard["spec"]["selector"]
    assert {"ray.io/cluster": name} == metrics["spec"]["selector"]
    (port,) = dashboard["spec"]["ports"]
    assert ports[0][port["targetPort"]] == port["port"] == 8268
    (port,) = metrics["spec"]["ports"]
    assert str(port["port"]) == metrics["metadata"]["annotations"]["prometheus.io/port"]
    (monitor,) = documents("podmonitor.yaml")
    (scraped,) = monitor["spec"]["podMetricsEndpoints"]
    assert {"ray.io/cluster": name} == monitor["spec"]["selector"]["matchLabels"]
    for group, known in zip(groups("host"), ports, strict=True):
        assert known[port["targetPort"]] == known[scraped["port"]] == port["port"]
        assert group["rayStartParams"]["metrics-export-port"] == str(port["port"])
    (job,) = documents("start-cache.yaml")
    assert {"ray.io/cluster": name} == job["spec"]["clusterSelector"]
    assert f"--name {dashboard['metadata']['name']}" in job["spec"]["entrypoint"]


def closed(schema: Any) -> Any:
    """A definition's schema that refuses fields it does not know, as Kubernetes does when it is asked to be strict."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if isinstance(found.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in found:
        found.setdefault("additionalProperties", False)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_kuberay_takes_them(variant: str) -> None:
    """Every field is one of KubeRay's definitions, of the right type."""
    if not DEFINITIONS.is_dir():
        pytest.skip("KubeRay's definitions are not here: `make test-deploy` fetches them")
    (job,) = documents("start-cache.yaml")
    for file, document in (("rayclusters", cluster(variant)), ("rayjobs", job)):
        text = (DEFINITIONS / f"ray.io_{file}.yaml").read_text(encoding="utf-8")
        definition = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        versions = {v["name"]: v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"]}
        schema = closed(versions[document["apiVersion"].partition("/")[2]])
        errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
        assert [] == [f"{error.json_path}: {error.message[:200]}" for error in itertools.islice(errors, 5)]
