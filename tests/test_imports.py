"""What may be imported without what."""

import subprocess
import sys

import pytest

import sadt_ray

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
{statement}
"""


def imports_without(absent, statement):
    code = WITHOUT.format(absent=absent, statement=statement)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_tree_works_where_torch_is_not_installed():
    assert imports_without({"torch", "ray"}, "import sadt_ray.tree.search").returncode == 0
    assert imports_without({"torch"}, "import torch").returncode != 0  # the guard does guard


def test_the_package_and_the_job_work_where_ray_is_not_installed():
    names = ", ".join(sadt_ray.__all__)
    assert imports_without({"ray"}, f"from sadt_ray import {names}; import jobs.search").returncode == 0


@pytest.mark.parametrize("name", sadt_ray.__all__)
def test_every_public_name_exists_and_is_explained(name):
    assert getattr(sadt_ray, name).__doc__


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sadt_ray.nonsense
