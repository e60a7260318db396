"""The wheel holds what the package reads and nothing else, and what is an extra is needed by nobody who did not ask."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("sadt_ray", "actors", "jobs")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {name: [*map(Requirement, listed)] for name, listed in PROJECT["optional-dependencies"].items()}
IMPORTED_AS = {"scikit-learn": "sklearn", "mlflow-skinny": "mlflow"}
READ = (
    "sadt_ray/opentslm/data/prompts.json",
    "sadt_ray/report/page.css",
    "sadt_ray/report/page.html",
    "sadt_ray/report/tree/view.js",
    "sadt_ray/weights/diff_k_etth1.safetensors",
    "sadt_ray/weights/flow_etth1.safetensors",
    "sadt_ray/weights/stand-in-har/base/tokenizer.json",
    "sadt_ray/weights/stand-in-har/model_checkpoint.pt",
)
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError("forbidden: " + name, name=name)
sys.meta_path.insert(0, Absent())
{statement}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, cwd=out)
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def optional_modules():
    """What nobody has who installed no extra. Ray is in the base."""
    listed = [each.name for name in EXTRAS.keys() - {"all", "dev", "docs"} for each in EXTRAS[name]]
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in listed} - {"ray"} | {"tensorboardX"}


def python_without_extras(statement, *arguments):
    code = WITHOUT.format(absent=optional_modules(), statement=statement)
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()]
    ours = {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == ours
    assert held.issuperset(READ)


def test_every_console_command_of_the_wheel_is_a_function(wheel):
    (listed,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    lines = wheel.read(listed).decode().split("[console_scripts]\n")[1].splitlines()
    commands = dict(line.split(" = ") for line in lines)
    assert commands == PROJECT["scripts"]
    for name, where in commands.items():
        assert callable(EntryPoint(name, where, "console_scripts").load())
        assert where.partition(":")[0].replace(".", "/") + ".py" in wheel.namelist()


def test_imports_need_no_extra():
    modules = ", ".join(where.partition(":")[0] for where in PROJECT["scripts"].values())
    assert python_without_extras(f"from sadt_ray import *; import {modules}").stderr == ""
    assert python_without_extras("import matplotlib").returncode != 0  # the guard does guard


def test_a_search_without_extras_ends_and_says_how_to_have_its_report(tmp_path):
    tiny = ("--executor", "serial", "--dataset", "synthetic", "--num-windows", 1, "--channels", "channel_6")
    few = ("--method", "snis", "--n-rollouts", 8, "--reward", "none", "--out", tmp_path / "run")
    done = python_without_extras("from jobs.search import main; main()", *tiny, *few)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "samples.parquet").exists()
    assert "pip install 'sadt-ray[report]'" in done.stdout.splitlines()[-1]
    report = python_without_extras("from jobs.report import main; main()", tmp_path / "run")
    assert report.returncode == 1
    assert "jobs.report: reports need matplotlib: pip install 'sadt-ray[report]'" in report.stderr


def test_every_dependency_is_pinned_to_a_version_that_is_allowed():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    wanted = [*map(Requirement, PROJECT["dependencies"]), *(each for listed in EXTRAS.values() for each in listed)]
    for each in wanted:
        if each.name != PROJECT["name"]:
            assert each.specifier.contains(pins[canonicalize_name(each.name)]), each


def test_the_extra_all_is_every_extra_for_use():
    (everything,) = EXTRAS["all"]
    assert everything.extras == EXTRAS.keys() - {"all", "dev", "docs"}
