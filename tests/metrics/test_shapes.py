"""The shapes written as types are true: a whole search with every annotated call checked at run time."""

import subprocess
import sys

MODULES = ("numerics.logspace", "numerics.psd", "metrics", "rewards", "processes", "data", "smc", "rollout", "engine",
           "flow", "trajectories", "runs", "api", "comparison", "forecasting", "methods", "interfaces")  # fmt: skip

CHECKED_SEARCH = f"""
from jaxtyping import install_import_hook
hook = install_import_hook({[f"sadt_ray.{name}" for name in MODULES]!r}, "beartype.beartype")
import sys
from jobs import search
from sadt_ray.numerics.logspace import effective_sample_size
try:
    effective_sample_size(0.5)
except Exception as error:
    assert "type" in type(error).__name__.lower(), error
else:
    raise SystemExit("the hook checks nothing")
sys.argv[1:] = {{arguments!r}}
search.main()
"""


def test_a_search_with_the_default_reward_keeps_to_its_annotations(tmp_path):
    arguments = ["--dataset", "synthetic", "--num-windows", "1", "--channels", "channel_6", "--max-nfe", "480"]
    arguments += [
        "--method",
        "snis",
        "dts",
        "dts-late",
        "smc-debiased",
        "sadt",
        "--no-report",
        "--out",
        str(tmp_path / "run"),
    ]
    code = CHECKED_SEARCH.replace("{arguments!r}", repr(arguments))
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
