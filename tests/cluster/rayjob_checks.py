"""What can be wrong with a RayJob manifest: fields that KubeRay does not know, and what it would run all the same."""

import shlex
from collections.abc import Iterator
from itertools import pairwise

MOUNT = {"name": str, "mountPath": str}
RESOURCES = {"requests": dict, "limits": dict}
CONTAINER = {"name": str, "image": str, "envFrom": list, "resources": RESOURCES, "volumeMounts": [MOUNT]}
VOLUME = {"name": str, "persistentVolumeClaim": {"claimName": str}}
PLACE = {"nodeSelector": dict, "tolerations": list, "securityContext": {"fsGroup": int}}
POD = {"spec": {**PLACE, "volumes": [VOLUME], "containers": [CONTAINER]}}
GROUP = {"rayStartParams": dict, "template": POD}
WORKER_GROUP = {**GROUP, "groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}
AUTOSCALER = {"version": str, "upscalingMode": str, "idleTimeoutSeconds": int}
CLUSTER = {"rayVersion": str, "authOptions": {"mode": str}, "enableInTreeAutoscaling": bool}
JOB = {"entrypoint": str, "shutdownAfterJobFinishes": bool, "ttlSecondsAfterFinished": int}
MANIFEST = {  # ray.io/v1, of which only what is in use
    "apiVersion": str,
    "kind": str,
    "metadata": {"generateName": str},
    "spec": {
        **JOB,
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "rayClusterSpec": {
            **CLUSTER,
            "autoscalerOptions": AUTOSCALER,
            "headGroupSpec": GROUP,
            "workerGroupSpecs": [WORKER_GROUP],
        },
    },
}


def problems_of(manifest: dict, versions: dict[str, str]) -> list[str]:
    """One line for each thing that is wrong. `versions`: what constraints.txt pins, by name."""
    if wrong := [*_misfits(manifest, MANIFEST, "")]:
        return wrong
    cluster = manifest["spec"]["rayClusterSpec"]
    return [*_lifetime(manifest), *_groups(cluster), *_versions(cluster, versions), *_entrypoint(manifest)]


def _misfits(value, schema, path: str) -> Iterator[str]:
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            yield f"fields: {path} is no mapping"
            return
        for key, each in value.items():
            if key in schema:
                yield from _misfits(each, schema[key], f"{path}.{key}")
            else:
                yield f"fields: {path}.{key} is unknown"
    elif isinstance(schema, list):
        for index, each in enumerate(value):
            yield from _misfits(each, schema[0], f"{path}[{index}]")
    elif type(value) is not schema:
        yield f"fields: {path} is {value!r}, not of type {schema.__name__}"


def _lifetime(manifest: dict) -> Iterator[str]:
    spec = manifest["spec"]
    if (manifest["apiVersion"], manifest["kind"]) != ("ray.io/v1", "RayJob"):
        yield "lifetime: this is no RayJob"
    if not spec.get("shutdownAfterJobFinishes"):
        yield "lifetime: the cluster outlives its job"
    if "activeDeadlineSeconds" not in spec:
        yield "lifetime: a job that hangs is paid for ever"


def _groups(cluster: dict) -> Iterator[str]:
    if not cluster.get("enableInTreeAutoscaling"):
        yield "groups: nothing scales"
    if cluster.get("autoscalerOptions", {}).get("idleTimeoutSeconds", 60) > 900:
        yield "groups: idle nodes should go within minutes"
    if cluster.get("authOptions", {}).get("mode") != "token":
        yield "groups: no authentication"
    params = cluster["headGroupSpec"]["rayStartParams"]
    if params.get("num-cpus") != "0" or params.get("num-gpus") != "0" or _gpus(cluster["headGroupSpec"]):
        yield "groups: the head takes rollouts"
    for group in cluster["workerGroupSpecs"]:
        if not group.get("replicas", 0) == group["minReplicas"] == 0 < group["maxReplicas"]:
            yield f"groups: {group['groupName']} does not begin with no worker"
        if _gpus(group) < 1:
            yield f"groups: {group['groupName']} has no GPU"
        if not group["template"]["spec"].get("nodeSelector"):
            yield f"groups: {group['groupName']} does not ask for spot machines"


def _versions(cluster: dict, versions: dict[str, str]) -> Iterator[str]:
    if cluster["rayVersion"] != versions["ray"]:
        yield f"versions: rayVersion is {cluster['rayVersion']}, constraints.txt says {versions['ray']}"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            if not container["image"].endswith(f"-ray{versions['ray']}"):
                yield f"versions: {container['image']} does not end in -ray{versions['ray']}"


def _entrypoint(manifest: dict) -> Iterator[str]:
    words = shlex.split(manifest["spec"]["entrypoint"])
    given = dict(pairwise(words))
    if words[:3] != ["python", "-m", "jobs.search"]:
        yield "entrypoint: not python -m jobs.search"
    if "://" not in given.get("--checkpoint-to", ""):
        yield "entrypoint: a search that is cut short is lost with its cluster"
    mounts = _mounts(manifest["spec"]["rayClusterSpec"]["headGroupSpec"])
    if not any(given.get("--out", "").startswith(f"{mount}/") for mount in mounts):
        yield "entrypoint: the results are lost with the cluster"
    room = sum(group["maxReplicas"] * _gpus(group) for group in manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"])
    if not 0 < int(given.get("--num-workers", 0)) <= room:
        yield f"entrypoint: --num-workers is not within the {room} GPUs that may come"


def _mounts(group: dict) -> list[str]:
    """Paths of volumes that are claimed."""
    pod = group["template"]["spec"]
    claimed = {volume["name"] for volume in pod.get("volumes", []) if "persistentVolumeClaim" in volume}
    mounts = [mount for container in pod["containers"] for mount in container.get("volumeMounts", [])]
    return [mount["mountPath"] for mount in mounts if mount["name"] in claimed]


def _gpus(group: dict) -> int:
    limits = [container["resources"].get("limits", {}) for container in group["template"]["spec"]["containers"]]
    return sum(int(each.get("nvidia.com/gpu", 0)) for each in limits)
