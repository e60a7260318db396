"""Machine code on disk is used again by later processes, and never after a kernel anywhere has changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sadt_ray
from sadt_ray.compiled import compiled, fingerprint

PACKAGE = Path(sadt_ray.__file__).parent
PROBE = '''"""A kernel in tree/ that contains machine code of rng.py."""
import sys
import numpy as np
from sadt_ray.compiled import compiled
from sadt_ray.rng import uniform_at

@compiled
def probe(seed):
    return uniform_at(seed, 3, 5)
'''


def test_any_change_of_any_kernel_file_changes_the_fingerprint(tmp_path):
    one, other = tmp_path / "rng.py", tmp_path / "select.py"
    one.write_text("a = 1\n")
    other.write_text("b = 2\n")
    before = fingerprint((one, other))
    assert fingerprint((one, other)) == before
    other.write_text("b = 3\n")
    assert fingerprint((one, other)) != before
    other.write_text("b = 2\n")
    assert fingerprint((one, other)) == before
    assert fingerprint((one, other.rename(tmp_path / "draw.py"))) != before


def test_every_module_with_kernels_is_under_the_fingerprint():
    for file in PACKAGE.rglob("*.py"):
        if "@compiled" in file.read_text() and file.name != "compiled.py":
            assert file.parent.name == "tree" or file == PACKAGE / "rng.py"


def test_a_kernel_in_a_file_outside_the_fingerprint_is_refused():
    with pytest.raises(ValueError, match="not in a file under the kernels' fingerprint"):
        compiled(lambda x: x)


def a_copy(tmp_path, probe):
    """A package of two kernel files, rng.py and the probe."""
    package = tmp_path / "sadt_ray"
    (package / "tree").mkdir(parents=True)
    for name in ("compiled.py", "rng.py"):
        shutil.copy(PACKAGE / name, package / name)
    (package / "__init__.py").write_text("")
    (package / "tree" / "__init__.py").write_text("")
    (package / "tree" / "probe.py").write_text(probe)
    return package


def run_probe(root):
    """What the probe returns in a fresh process, and whether its machine code came from the cache."""
    code = (
        "import numpy as np; from sadt_ray.tree.probe import probe; value = probe(np.uint64(7)); "
        "print(value.hex(), sum(probe.stats.cache_hits.values()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(root / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    value, hits = done.stdout.split()
    return value, int(hits)


def test_a_later_process_runs_the_cached_code_and_a_changed_callee_is_noticed(tmp_path):
    """probe.py itself stays as it is: numba alone would go on running the old rng.py inside it."""
    package = a_copy(tmp_path, PROBE)
    first, hits = run_probe(tmp_path)
    assert hits == 0
    assert run_probe(tmp_path) == (first, 1)
    source = (package / "rng.py").read_text()
    changed = source.replace("_TWO_POW_MINUS_53 = 2.0**-53", "_TWO_POW_MINUS_53 = 2.0**-54")
    assert changed != source
    (package / "rng.py").write_text(changed)
    halved, hits = run_probe(tmp_path)
    assert hits == 0
    assert float.fromhex(halved) == pytest.approx(float.fromhex(first) / 2)


TUPLE_PROBE = """
from typing import NamedTuple
import numpy as np
from sadt_ray.compiled import compiled

class Before(NamedTuple):
    a: float

@compiled
def add_one(t):
    return t.a + 1.0

def probe(seed):
    return np.float64(add_one(Before(1.0)))
probe.stats = add_one.stats
"""


def test_a_renamed_tuple_does_not_break_what_an_older_version_cached(tmp_path):
    package = a_copy(tmp_path, TUPLE_PROBE)
    assert run_probe(tmp_path) == ((2.0).hex(), 0)
    (package / "tree" / "probe.py").write_text(TUPLE_PROBE.replace("Before", "After"))
    assert run_probe(tmp_path) == ((2.0).hex(), 0)
