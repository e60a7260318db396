"""cluster.yaml and its sibling for Google Cloud: right as they are, and every mistake looked for is found."""

import copy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from launcher_checks import problems_of
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FILES = ["cluster.yaml", "deploy/cluster-gcp.yaml"]


def pinned_versions():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def load(file):
    return yaml.safe_load((ROOT / file).read_text())


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_wrong_with_the_file(file):
    assert problems_of(load(file), pinned_versions()) == []


@pytest.mark.parametrize("file", FILES)
def test_a_new_pin_of_ray_must_be_followed_by_the_images(file):
    problems = problems_of(load(file), pinned_versions() | {"ray": "2.60.1"})
    assert [problem.split(":")[0] for problem in problems] == ["versions", "versions"]


def test_the_pinned_ray_is_one_that_the_package_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [project["dependencies"], project["optional-dependencies"]["cluster"]]
    for requirements in listed:
        (ray,) = [each for each in map(Requirement, requirements) if each.name == "ray"]
        assert ray.specifier.contains(pinned_versions()["ray"])
        assert not ray.specifier.contains("2.61.0")


@pytest.mark.parametrize("file", FILES)
def test_the_setup_commands_list_what_the_package_depends_on(file, tmp_path):
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (command,) = [each for each in load(file)["setup_commands"] if "> requirements.txt" in each]
    command = command.replace("~/", f"{tmp_path}/").replace("python -c", f"{sys.executable} -c")
    subprocess.run(["bash", "-c", command], check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["report"], "ray[default]"]
    assert (tmp_path / "requirements.txt").read_text().split("\n") == [*wanted, ""]


def head(config):
    return config["available_node_types"]["head"]


def worker(config):
    return config["available_node_types"]["gpu.l4"]


def edit_start(kind, old, new):
    def edit(config):
        commands = config[f"{kind}_start_ray_commands"]
        config[f"{kind}_start_ray_commands"] = [command.replace(old, new) for command in commands]

    return edit


MISTAKES = {
    "a key that Ray does not know": ("ray", lambda c: c.update(idle_timeout=5)),
    "a wrong type": ("ray", lambda c: c.update(max_workers="8")),
    "a head type that does not exist": ("ray", lambda c: c.update(head_node_type="boss")),
    "no provider": ("ray", lambda c: c.pop("provider")),
    "min_workers at the top": ("limits", lambda c: c.update(min_workers=1)),
    "more at least than at most": ("limits", lambda c: worker(c).update(min_workers=3, max_workers=2)),
    "a type larger than the cluster": ("limits", lambda c: worker(c).update(max_workers=9)),
    "nodes that never go": ("limits", lambda c: worker(c).update(min_workers=1)),
    "idle nodes for hours": ("limits", lambda c: c.update(idle_timeout_minutes=120)),
    "a typo in node_config": ("node_config", lambda c: worker(c)["node_config"].update(InstanceTyp="g6.xlarge")),
    "workers of the head's type": ("head", lambda c: head(c).pop("max_workers")),
    "rollouts on the head": ("head", lambda c: head(c)["resources"].update(CPU=4)),
    "a GPU on the head": ("head", lambda c: head(c)["resources"].update(GPU=1)),
    "a head that counts its CPUs itself": ("head", edit_start("head", "--num-cpus=0", "")),
    "workers on demand": (
        "spot",
        lambda c: [worker(c)["node_config"].pop(key, None) for key in ("InstanceMarketOptions", "scheduling")],
    ),
    "workers without a GPU": ("spot", lambda c: worker(c)["resources"].update(GPU=0)),
    "a head without authentication": ("start", edit_start("head", "RAY_AUTH_MODE=token", "")),
    "workers without authentication": ("start", edit_start("worker", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled")),
    "the cloud's own start commands": ("start", lambda c: c.pop("worker_start_ray_commands")),
    "a dashboard for everyone": ("start", edit_start("head", "=127.0.0.1", "=0.0.0.0")),
    "a dashboard where Ray likes": ("start", edit_start("head", "--dashboard-host=127.0.0.1", "")),
    "no token on the nodes": ("start", lambda c: c["file_mounts"].pop("/home/ray/.ray/auth_token")),
    "another Ray": ("versions", lambda c: c["docker"].update(worker_image="rayproject/ray:2.59.0-py311-gpu")),
    "the newest Ray": ("versions", lambda c: c["docker"].update(head_image="rayproject/ray:latest")),
    "an install without pins": ("installs", lambda c: c["setup_commands"].append("pip install torch")),
    "a nightly wheel": ("installs", lambda c: c["setup_commands"].append("pip install -c constraints.txt r/ray-3.whl")),
    "the cloud's own setup commands": ("installs", lambda c: c.pop("worker_setup_commands")),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(file, mistake):
    kind, make = MISTAKES[mistake]
    config = copy.deepcopy(load(file))  # anchors share parts of the loaded file
    make(config)
    assert kind in {problem.split(":")[0] for problem in problems_of(config, pinned_versions())}
