"""Checks of the Kubernetes example that need no cluster: schemas, and that its parts fit together."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.test_commands import accept_ray
from tests.test_docker import PROJECT

FOLDER = PROJECT / "docker" / "kubernetes"
KUBERNETES = "1.37"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    found
    for file in sorted(FOLDER.glob("*.yaml"))
    if file.name != "kustomization.yaml"
    for found in yaml.safe_load_all(file.read_text())
]
RAY = next(found for found in OBJECTS if found["kind"] == "RayCluster")
TEMPLATE = json.loads((FOLDER / "job-template.json").read_text())

TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
START = {"type": "object", "additionalProperties": TEXT}
POD = {"type": "object"}


def closed(required: str, **properties: object) -> dict[str, object]:
    """JSON schema of an object with these properties and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


RAY_CLUSTER = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=closed("name", name=TEXT),
    spec=closed(
        "rayVersion headGroupSpec workerGroupSpecs",
        rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        authOptions=closed("mode", mode={"enum": ["disabled", "token"]}, secretName=TEXT),
        enableInTreeAutoscaling={"type": "boolean"},
        autoscalerOptions=closed("", idleTimeoutSeconds=COUNT, resources=POD),
        headGroupSpec=closed(
            "rayStartParams template",
            serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
            rayStartParams=START,
            template=POD,
        ),
        workerGroupSpecs={
            "type": "array",
            "items": closed(
                "groupName rayStartParams template",
                groupName=TEXT,
                minReplicas=COUNT,
                maxReplicas=COUNT,
                rayStartParams=START,
                template=POD,
            ),
        },
    ),
)
"""The fields of KubeRay 1.6's RayCluster that the example uses: no package carries the operator's schema."""


@cache
def rendered_job() -> dict[str, Any]:
    """The job of a run, as Prefect's worker makes it from the template."""
    chosen = {name: field.get("default") for name, field in TEMPLATE["variables"]["properties"].items()}
    chosen |= {
        "name": "run", "env": [{"name": "PREFECT_API_URL", "value": "http://server"}],
        "labels": {"prefect.io/version": "3"}, "command": ["prefect", "flow-run", "execute"],
    }  # fmt: skip

    def render(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: render(part) for key, part in value.items()}
        if isinstance(value, list):
            return [render(part) for part in value]
        if isinstance(value, str) and (whole := re.fullmatch(r"\{\{ (\w+) \}\}", value)):
            return chosen[whole[1]]
        if isinstance(value, str):
            return re.sub(r"\{\{ (\w+) \}\}", lambda found: str(chosen[found[1]]), value)
        return value

    job: dict[str, Any] = render(TEMPLATE["job_configuration"]["job_manifest"])
    return job


def pod_templates() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and template of every pod."""
    for found in [*OBJECTS, rendered_job()]:
        name = found["metadata"].get("name", "run")
        if found["kind"] in ("Deployment", "Job"):
            yield name, found["spec"]["template"]
    spec = RAY["spec"]
    yield "head", spec["headGroupSpec"]["template"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


PODS = dict(pod_templates())


def containers(name: str) -> list[dict[str, Any]]:
    spec = PODS[name]["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def test_objects_satisfy_the_schemas_of_kubernetes() -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    objects = [found for found in OBJECTS if found["kind"] != "RayCluster"]
    objects.append(rendered_job())
    wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "ray"}}
    objects += [wrapped | {"template": PODS[name]} for name in ("head", "cores", "gpus")]
    for found in objects:
        schemas.validate(found, KUBERNETES, strict=True)
    with pytest.raises(schemas.ValidationError):
        schemas.validate(wrapped | {"template": {"spec": {"container": []}}}, KUBERNETES, strict=True)


def test_the_ray_cluster_has_the_fields_of_kuberay() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.validate(RAY, RAY_CLUSTER)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_confined(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 1000  # the image's user
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    # The autoscaler beside the head and the worker that starts jobs talk to Kubernetes; nothing else does.
    assert (spec.get("automountServiceAccountToken") is False) == (name not in ("head", "prefect-worker"))
    for container in containers(name):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert "memory" in container["resources"]["limits"]
        assert re.fullmatch(r"\S+:(?!latest)\S+", container["image"])
        for variable in container.get("env", []):
            assert not re.search(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY)$", variable["name"])


def test_secrets_are_those_that_the_instructions_make() -> None:
    text = (FOLDER / "kustomization.yaml").read_text()
    made = dict(re.findall(r"create secret generic (\S+) --from-\w+=([^=\s]+)", text))
    used = {
        volume["secret"]["secretName"]
        for template in PODS.values()
        for volume in template["spec"].get("volumes", [])
        if "secret" in volume
    } | {RAY["spec"]["authOptions"]["secretName"]}
    assert used == set(made)
    assert made["ray-token"] == "auth_token"  # KubeRay reads this key
    volumes = {
        mount["mountPath"]: name
        for template in PODS.values()
        for container in template["spec"]["containers"]
        for mount in container.get("volumeMounts", [])
        for name in [
            volume["secret"]["secretName"]
            for volume in template["spec"]["volumes"]
            if volume["name"] == mount["name"] and "secret" in volume
        ]
    }
    named = {value for value in settings().values() if value.startswith("/run/secrets/")}
    assert {Path(value).parent.as_posix() for value in named} == set(volumes)
    assert all(made[volumes[Path(value).parent.as_posix()]] == Path(value).name for value in named)


def settings() -> dict[str, str]:
    data: dict[str, str] = next(found for found in OBJECTS if found["metadata"]["name"] == "settings")["data"]
    return data


def test_pods_refer_to_what_is_there() -> None:
    claims = {found["metadata"]["name"] for found in OBJECTS if found["kind"] == "PersistentVolumeClaim"}
    maps = {"settings", *(entry["name"] for entry in KUSTOMIZATION["configMapGenerator"])}
    for template in PODS.values():
        volumes = template["spec"].get("volumes", [])
        for volume in volumes:
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
            assert volume.get("configMap", {}).get("name") in {None, *maps}
        for container in template["spec"]["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= {
                volume["name"] for volume in volumes
            }
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("configMapKeyRef"):
                    assert reference["key"] in settings()


def test_a_run_joins_the_ray_cluster_with_its_own_node() -> None:
    (run,) = containers("run")
    assert run["command"][-1] == f"{RAY['metadata']['name']}-head-svc:6379"  # the name that KubeRay gives
    scripts = [word for word in run["command"] if word.endswith(".py")]
    assert all((PROJECT / script.removeprefix("/opt/dsanet/")).is_file() for script in scripts)
    assert run["args"] == ["prefect", "flow-run", "execute"]
    assert {"configMapRef": {"name": "settings"}} in run["envFrom"]


def test_the_head_takes_no_tasks_and_options_are_those_of_ray() -> None:
    spec = RAY["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        accept_ray(["start", *(f"--{name}={value}" for name, value in group["rayStartParams"].items())])
        for probe in ("readinessProbe", "livenessProbe"):
            command = " ".join(group["template"]["spec"]["containers"][0][probe]["exec"]["command"])
            accept_ray(command.replace("sh -c exec ", "").replace('"', "").split()[1:])


def test_versions_are_those_of_the_image() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (PROJECT / "constraints.txt").read_text(), re.MULTILINE))
    assert RAY["spec"]["rayVersion"] == pinned["ray"]
    (worker,) = containers("prefect-worker")
    assert re.fullmatch(rf"prefecthq/prefect:{pinned['prefect']}-python[\d.]+-kubernetes", worker["image"])


def test_the_work_pool_is_that_of_the_deployments() -> None:
    pool = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["definitions"]["work_pool"]["name"]
    (worker,) = containers("prefect-worker")
    assert worker["args"][worker["args"].index("--pool") + 1] == pool
    create, deploy = containers("deploy")
    assert create["args"][:4] == ["prefect", "work-pool", "create", pool]
    assert deploy["args"] == ["prefect", "--no-prompt", "deploy", "--all"]
    from prefect.cli._app import _app

    _app.parse_args(create["args"][1:], exit_on_error=False, print_error=False)


def test_every_placeholder_of_the_job_is_a_variable_and_the_reverse() -> None:
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(TEMPLATE["job_configuration"])))
    assert used == set(TEMPLATE["variables"]["properties"])
    namespace = TEMPLATE["variables"]["properties"]["namespace"]["default"]
    (worker,) = containers("prefect-worker")
    watched = {entry["name"]: entry.get("value") for entry in worker["env"]}
    assert KUSTOMIZATION["namespace"] == namespace
    assert watched["PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES"] == namespace


def test_the_kustomization_has_every_file() -> None:
    files = {file.name for file in FOLDER.iterdir()} - {"kustomization.yaml"}
    named = {*KUSTOMIZATION["resources"], *KUSTOMIZATION["configMapGenerator"][0]["files"]}
    assert files == named


def test_kubectl_builds_it_with_the_images_of_a_registry() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    built = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    found = list(yaml.safe_load_all(built.stdout))
    assert {entry["metadata"]["namespace"] for entry in found} == {KUSTOMIZATION["namespace"]}
    ours = {f"{image['newName']}:{image['newTag']}" for image in KUSTOMIZATION["images"]}
    images = set(re.findall(r"image: (\S*dsanet\S*)", built.stdout))
    assert images == ours
    assert TEMPLATE["variables"]["properties"]["image"]["default"] in ours
