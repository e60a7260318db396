"""deploy/rayjob.yaml: right as it is, and every mistake looked for is found."""

import copy
import shlex
from pathlib import Path

import pytest
import yaml
from rayjob_checks import problems_of

ROOT = Path(__file__).parents[2]
VERSIONS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)


def load():
    return yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())


def test_nothing_is_wrong_with_the_manifest():
    assert problems_of(load(), VERSIONS) == []


def test_the_image_is_built_on_the_pinned_ray_from_what_is_there():
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()
    assert f"FROM rayproject/ray:{VERSIONS['ray']}-py311-gpu" in lines
    copied = [word for line in lines if line.startswith("COPY") for word in shlex.split(line)[2:-1]]
    assert {"sadt_ray", "actors", "jobs", "constraints.txt", "pyproject.toml"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


def cluster(manifest):
    return manifest["spec"]["rayClusterSpec"]


def head(manifest):
    return cluster(manifest)["headGroupSpec"]


def workers(manifest):
    return cluster(manifest)["workerGroupSpecs"][0]


def container(group):
    return group["template"]["spec"]["containers"][0]


def edit_entrypoint(old, new):
    return lambda manifest: manifest["spec"].update(entrypoint=manifest["spec"]["entrypoint"].replace(old, new))


MISTAKES = {
    "a typo": ("fields", lambda m: workers(m).update(minReplica=0)),
    "a field one floor too high": ("fields", lambda m: m["spec"].update(rayVersion="2.60.0")),
    "a number in quotes": ("fields", lambda m: workers(m).update(maxReplicas="8")),
    "another kind": ("lifetime", lambda m: m.update(kind="RayCluster")),
    "a cluster that stays": ("lifetime", lambda m: m["spec"].update(shutdownAfterJobFinishes=False)),
    "a job without end": ("lifetime", lambda m: m["spec"].pop("activeDeadlineSeconds")),
    "no autoscaling": ("groups", lambda m: cluster(m).update(enableInTreeAutoscaling=False)),
    "idle nodes for hours": ("groups", lambda m: cluster(m)["autoscalerOptions"].update(idleTimeoutSeconds=7200)),
    "no authentication": ("groups", lambda m: cluster(m).pop("authOptions")),
    "rollouts on the head": ("groups", lambda m: head(m)["rayStartParams"].pop("num-cpus")),
    "a GPU for the head": (
        "groups",
        lambda m: container(head(m))["resources"]["limits"].update({"nvidia.com/gpu": "1"}),
    ),
    "a worker that never goes": ("groups", lambda m: workers(m).update(minReplicas=1)),
    "workers without a GPU": ("groups", lambda m: container(workers(m))["resources"]["limits"].pop("nvidia.com/gpu")),
    "workers at full price": ("groups", lambda m: workers(m)["template"]["spec"].pop("nodeSelector")),
    "another Ray": ("versions", lambda m: cluster(m).update(rayVersion="2.59.0")),
    "an image without a version": ("versions", lambda m: container(workers(m)).update(image="sadt-ray:latest")),
    "checkpoints on the pod's disk": ("entrypoint", edit_entrypoint("s3://", "/tmp/")),
    "results on the pod's disk": ("entrypoint", edit_entrypoint("/home/ray/runs/", "/tmp/")),
    "a volume that is not claimed": ("entrypoint", lambda m: head(m)["template"]["spec"].pop("volumes")),
    "workers by the room there is": ("entrypoint", edit_entrypoint("--num-workers 8", "")),
    "more workers than may come": ("entrypoint", edit_entrypoint("--num-workers 8", "--num-workers 9")),
    "another program": ("entrypoint", edit_entrypoint("jobs.search", "jobs.bench")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake):
    kind, make = MISTAKES[mistake]
    manifest = copy.deepcopy(load())  # anchors share parts of the loaded file
    make(manifest)
    assert kind in {problem.split(":")[0] for problem in problems_of(manifest, VERSIONS)}
