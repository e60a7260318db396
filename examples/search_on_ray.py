"""The same search on Ray workers, from Python: this machine by default, a cluster by its address.

What is learned: a prior and a reward of your own travel by pickle, a crew of workers runs rollouts, the owner of the
tree keeps checkpoints and recorded trajectories, and what comes back is an ordinary search.

    python examples/search_on_ray.py             # or: python examples/search_on_ray.py auto
"""

import sys
import tempfile
from pathlib import Path

from actors.cluster import connect, disconnect


def main():
    resources = connect(sys.argv[1] if len(sys.argv) > 1 else None)  # before anything else imports Ray
    from actors.session import RaySession, WorkerSpec
    from actors.tree_owner import BatchPolicy
    from sadt_ray.data.synthetic import synthetic_hourly
    from sadt_ray.engine.plan import plan_search
    from sadt_ray.methods import dts
    from sadt_ray.processes.pretrained import load_pretrained
    from sadt_ray.rewards.spectral import SpectralReward
    from sadt_ray.runs.recording import Recording

    process, data = load_pretrained("diff-k", "ETTh1"), synthetic_hourly()
    problems = [data.problem("test", window, "channel_0") for window in range(2)]
    plan = plan_search(process, problems, dts(inv_temperature=50, n_rollouts=100))
    with tempfile.TemporaryDirectory() as run:
        recording = Recording(Path(run), checkpoint_to=f"{run}/checkpoints")
        crew = WorkerSpec(num_workers=2)
        with RaySession(
            process, SpectralReward(), problems, crew, recording, BatchPolicy(batch_size=25), resources
        ) as session:
            ended = session.search(plan)
    disconnect()
    for problem, found in zip(problems, ended.search.samples(), strict=True):
        print(f"{problem.name}: {len(found.samples)} samples, log Z {found.log_z:.2f}, ESS {found.ess:.1f}")


if __name__ == "__main__":
    main()
