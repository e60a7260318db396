"""Methods side by side in Python, cell by cell: sample, look, compare, save, read again. No data needed.

What is learned: everything that the commands do is a call of the library, and what comes back is a table in a notebook.
Each ``# %%`` begins a cell, for editors that run them one by one; ``jupytext --to ipynb`` makes a notebook of the file.

    python examples/in_a_notebook.py
"""

# %% A series, the prior that ships, and the reward that the command line has by default
import tempfile
from pathlib import Path

import sadt_ray
from sadt_ray import default_reward, dts, load_pretrained, prior, snis, synthetic_hourly

data, process = synthetic_hourly(), load_pretrained("diff-k", "ETTh1")
problems = [data.problem("test", window, "channel_0") for window in (3, 9)]
reward, problems = default_reward(data, process, problems, inv_temperature=50)

# %% One method: a table, one row per problem
result = sadt_ray.sample(process, problems, reward, dts(inv_temperature=50, n_rollouts=200), seed=1)
print(result)

# %% Quantiles of one forecast, hour by hour: [3, 96]
low, median, high = result["synthetic/test/0003/channel_0"].quantiles([0.1, 0.5, 0.9])
print(f"first hour: {median[0]:.2f}, between {low[0]:.2f} and {high[0]:.2f}")

# %% Several methods at the same budget: a table, one row per method
methods = [make(inv_temperature=50, n_rollouts=200) for make in (prior, snis, dts)]
with tempfile.TemporaryDirectory() as directory:
    found = sadt_ray.compare(process, problems, reward, methods, seed=1, out=Path(directory) / "run")
    print(found)
    again = sadt_ray.read_run(Path(directory) / "run")  # the same numbers, from the files
    print(f"read again: {again['dts'][0].mean_reward():.6f}, {found['dts'][0].mean_reward():.6f}")
