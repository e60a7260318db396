"""What `ray job submit --working-dir .` would send."""

import shutil
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def upload(tmp_path_factory):
    """The archive of a working tree with what people have in theirs beside the code."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("sadt_ray", "actors", "jobs"):
        shutil.copytree(ROOT / name, tree / name)
    shutil.copy(ROOT / ".gitignore", tree)
    for clutter in (".venv/lib/torch.so", ".git/objects/pack", "runs/search/tree.npz", ".mypy_cache/cache.json"):
        (tree / clutter).parent.mkdir(parents=True)
        (tree / clutter).write_bytes(b"0" * 1000)
    archive = tmp_path_factory.mktemp("archive") / "tree.zip"
    create_package(str(tree), archive, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    return archive


def test_the_upload_is_far_below_rays_limit_of_100_mib(upload):
    assert upload.stat().st_size < 20 * 2**20


def test_the_upload_holds_the_code_and_the_weights_and_no_clutter(upload):
    names = zipfile.ZipFile(upload).namelist()
    assert "jobs/search.py" in names
    assert any(name.startswith("sadt_ray/weights/") and name.endswith(".safetensors") for name in names)
    clutter = (".venv", ".git/", "runs", ".mypy_cache")
    assert not [name for name in names if name.startswith(clutter) or "__pycache__" in name]
