"""What can be wrong with a file for `ray up`: Ray's own validation, and what that lets pass."""

import copy
import logging
import re
from collections.abc import Iterator

from ray.autoscaler._private.util import prepare_config, validate_config

NODE_CONFIG_KEYS = {  # of those that the cloud knows, the ones in use; a typo would be found by the cloud only
    "aws": {"InstanceType", "ImageId", "BlockDeviceMappings", "MetadataOptions", "InstanceMarketOptions"},
    "gcp": {"machineType", "disks", "metadata", "scheduling"},
}


def problems_of(config: dict, versions: dict[str, str]) -> list[str]:
    """One line for each thing that is wrong. `versions`: what constraints.txt pins, by name."""
    if rejected := [*_rejected_by_ray(config)]:
        return rejected  # what is not there cannot be looked at
    found = [*_limits(config), *_node_configs(config), *_work_on_the_head(config), *_workers_at_full_price(config)]
    return [*found, *_starts(config), *_versions(config, versions), *_installs(config)]


def _rejected_by_ray(config: dict) -> Iterator[str]:
    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except Exception as error:  # a ValidationError, ValueError, KeyError or AssertionError
        yield f"ray: {type(error).__name__}: {str(error).splitlines()[0]}"


def _limits(config: dict) -> Iterator[str]:
    if "min_workers" in config:
        yield "limits: min_workers belongs to a node type; at the top level Ray drops it"
    for name, node_type in config["available_node_types"].items():
        low, high = node_type.get("min_workers", 0), node_type.get("max_workers", config["max_workers"])
        if low > 0:
            yield f"limits: {name} keeps {low} nodes for ever"
        if not low <= high <= config["max_workers"]:
            yield f"limits: {name} wants {low} to {high} nodes, the cluster has at most {config['max_workers']}"
    if not 0 < config.get("idle_timeout_minutes", 5) <= 15:
        yield "limits: idle nodes should go within minutes"


def _node_configs(config: dict) -> Iterator[str]:
    known = NODE_CONFIG_KEYS[config["provider"]["type"]]
    for name, node_type in config["available_node_types"].items():
        for key in node_type["node_config"].keys() - known:
            yield f"node_config: {name} has the unknown key {key}"


def _work_on_the_head(config: dict) -> Iterator[str]:
    head = config["available_node_types"][config["head_node_type"]]
    if head.get("max_workers") != 0:
        yield "head: max_workers is not 0, so workers of its type may come"
    if head["resources"].get("GPU") != 0 or head["resources"].get("CPU") != 0:
        yield "head: its resources invite rollouts"
    if not all(flag in _start(config, "head") for flag in ("--num-cpus=0", "--num-gpus=0")):
        yield "head: ray start does not say --num-cpus=0 --num-gpus=0"


def _workers_at_full_price(config: dict) -> Iterator[str]:
    for name, node_type in _workers(config).items():
        node = node_type["node_config"]
        market = node.get("InstanceMarketOptions", {}).get("MarketType", "")
        if "spot" not in (market, node.get("scheduling", {}).get("provisioningModel", "").lower()):
            yield f"spot: {name} is bought at full price"
        if node_type["resources"].get("GPU", 0) < 1:
            yield f"spot: {name} has no GPU"


def _starts(config: dict) -> Iterator[str]:
    for kind in ("head", "worker"):
        for command in config.get(f"{kind}_start_ray_commands", [""]):
            if "RAY_AUTH_MODE=token" not in command:
                yield f"start: a command of the {kind} does not set RAY_AUTH_MODE=token: {command!r}"
    if "--dashboard-host=127.0.0.1" not in _start(config, "head"):
        yield "start: the dashboard is not on 127.0.0.1"
    if "0.0.0.0" in str(config):
        yield "start: something is bound to 0.0.0.0"
    if "/home/ray/.ray/auth_token" not in config.get("file_mounts", {}):
        yield "start: the token does not reach the nodes"


def _versions(config: dict, versions: dict[str, str]) -> Iterator[str]:
    for kind in ("head", "worker"):
        image = config.get("docker", {}).get(f"{kind}_image", "")
        if not image.startswith(f"rayproject/ray:{versions['ray']}-py311-"):
            yield f"versions: the {kind}'s image {image!r} is not Ray {versions['ray']} with Python 3.11"


def _installs(config: dict) -> Iterator[str]:
    commands = [command for key, value in config.items() if key.endswith("setup_commands") for command in value]
    for command in commands:
        if "pip install" in command and "-c constraints.txt" not in command and "==" not in command:
            yield f"installs: not pinned: {command!r}"
        if re.search(r"ray-wheels|\.whl|nightly", command):
            yield f"installs: a wheel by address: {command!r}"
    for kind in ("head", "worker"):
        if not any("-r requirements.txt" in command for command in config.get(f"{kind}_setup_commands", [])):
            yield f"installs: the {kind} gets no dependencies"


def _workers(config: dict) -> dict:
    return {name: each for name, each in config["available_node_types"].items() if name != config["head_node_type"]}


def _start(config: dict, kind: str) -> str:
    return " ".join(config.get(f"{kind}_start_ray_commands", []))
