"""Machine code on disk is used again by later processes, and never after a kernel anywhere has changed."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sadt_ray
from sadt_ray.engine.serial import start_search
from sadt_ray.interfaces import Problem, Tickets
from sadt_ray.methods import dts
from sadt_ray.numerics import rng
from sadt_ray.numerics.compiled import compiled, fingerprint
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.tree import simulate

PACKAGE = Path(sadt_ray.__file__).parent
PROBE = '''"""A kernel in tree/ that contains machine code of rng.py."""
import sys
import numpy as np
from sadt_ray.numerics.compiled import compiled
from sadt_ray.numerics.rng import uniform_at

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
            assert file.parent.name == "tree" or file == PACKAGE / "numerics" / "rng.py"


def test_a_kernel_in_a_file_outside_the_fingerprint_is_refused():
    with pytest.raises(ValueError, match="not in a file under the kernels' fingerprint"):
        compiled(lambda x: x)


def a_copy(tmp_path, probe):
    """A package of two kernel files, rng.py and the probe."""
    package = tmp_path / "sadt_ray"
    for room in ("tree", "numerics"):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text("")
    for name in ("compiled.py", "rng.py"):
        shutil.copy(PACKAGE / "numerics" / name, package / "numerics" / name)
    (package / "__init__.py").write_text("")
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
    source = (package / "numerics" / "rng.py").read_text()
    changed = source.replace("_TWO_POW_MINUS_53 = 2.0**-53", "_TWO_POW_MINUS_53 = 2.0**-54")
    assert changed != source
    (package / "numerics" / "rng.py").write_text(changed)
    halved, hits = run_probe(tmp_path)
    assert hits == 0
    assert float.fromhex(halved) == pytest.approx(float.fromhex(first) / 2)


TUPLE_PROBE = """
from typing import NamedTuple
import numpy as np
from sadt_ray.numerics.compiled import compiled

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


def test_results_and_seeds_that_are_read_only_need_no_kernels_of_their_own():
    """What arrives from another process lies in shared memory. A kernel for it would be compiled in mid-search."""
    search, executor = start_search(
        MarkovChainProcess.random(3, 4, seed=0), [Problem("a", np.zeros(0))], FunctionReward(total), dts(n_rollouts=40)
    )
    kernels = (simulate.tell_batch, simulate.close_tickets, simulate.count_batch, rng._fill_uniforms)
    for turn in range(2):
        tickets = search.ask(10)
        if turn:
            before = [len(kernel.signatures) for kernel in kernels]
            tickets = Tickets(*(_read_only(column) for column in vars(tickets).values()))
        executor.submit(tickets)
        (finished,) = executor.collect()
        columns = {
            name: _read_only(column)
            for name, column in vars(finished.results).items()
            if isinstance(column, np.ndarray)
        }
        search.tell(replace(finished.results, **columns) if turn else finished.results)
    assert search.simulations == 20
    assert [len(kernel.signatures) for kernel in kernels] == before


def total(samples, problem):
    return samples.sum(1).astype(float)


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array
