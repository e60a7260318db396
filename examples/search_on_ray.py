"""The same search on Ray workers, from Python: this machine by default, a cluster by its address.

What is learned: ``session=ray_session(...)`` is all that changes. A prior and a reward of your own travel by pickle,
workers run the rollouts, the owner of the tree keeps checkpoints and records in the run directory, and what comes back
is the same kind of result.

    python examples/search_on_ray.py             # or: python examples/search_on_ray.py auto
"""

import sys
import tempfile
from pathlib import Path

from actors import ray_session
from sadt_ray import SpectralReward, dts, load_pretrained, sample, synthetic_hourly


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else None
    process, data = load_pretrained("diff-k", "ETTh1"), synthetic_hourly()
    problems = [data.problem("test", window, "channel_0") for window in range(2)]
    with tempfile.TemporaryDirectory() as directory:
        result = sample(
            process,
            problems,
            SpectralReward(),
            dts(inv_temperature=50, n_rollouts=100),
            session=ray_session(num_workers=2, address=address, batch_size=25),
            out=Path(directory) / "run",
        )
    for found in result:
        print(f"{found.name}: {len(found.samples)} samples, log Z {found.log_z:.2f}, ESS {found.ess:.1f}")


if __name__ == "__main__":
    main()
