"""A program: a search whose workers ask for GPUs on a cluster that has none yet. Prints what happened as JSON.

python scaled_search.py ADDRESS
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import ray
from fake_autoscaling import wait_until

from actors.executor import RayExecutor
from actors.pacing import BatchSize
from actors.rollout_worker import RolloutWorker, start_workers
from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import StatsTo, run_search
from sadt_ray.interfaces import Problem
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rollout.spec import RolloutSpec
from sadt_ray.tree.search import Search

PROCESS = MarkovChainProcess.random(3, 4, seed=0)
PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
N_ROLLOUTS = 640  # 120 batches
BATCH_SIZE = 16
NUM_WORKERS = 2
ALONE_SECONDS, TOGETHER_SECONDS = 1.0, 0.05  # a batch, before all workers are there and after: nobody comes too late


class SlowWorker(RolloutWorker):
    """Keeps a diary. Only the first node's worker loads at once; others wait until it is in mid-search."""

    diaries = Path()  # set before workers are sent out

    def __init__(self, process, reward, problems, device):
        super().__init__(process, reward, problems, device)
        node = ray.get_runtime_context().get_node_id()
        while int(node[-5:]) > 1 and not self.in_mid_search():
            time.sleep(0.05)
        self.diary = {"node": node, "ready": time.time(), "first_run": None, "rows": 0}
        self.write()

    def run(self, rollout_spec, tickets, flow=None):
        self.diary["first_run"] = self.diary["first_run"] or time.time()
        self.diary["rows"] += len(tickets)
        self.write()
        together = len(list(self.diaries.iterdir())) == NUM_WORKERS
        time.sleep(TOGETHER_SECONDS if together else ALONE_SECONDS)
        return super().run(rollout_spec, tickets, flow)

    def in_mid_search(self):
        """Whether some batch is told: a worker gets its fourth only then."""
        diaries = [json.loads(text) for diary in self.diaries.iterdir() if (text := diary.read_text())]
        return any(diary["rows"] > 3 * BATCH_SIZE for diary in diaries)

    def write(self):
        (self.diaries / self.diary["node"]).write_text(json.dumps(self.diary))


def total(samples, problem):
    return samples.sum(1).astype(float)


def workers_up() -> int:
    return sum(node["Alive"] for node in ray.nodes()) - 1


def main(address: str, diaries: Path) -> dict:
    ray.init(address, log_to_driver=False, logging_level="error")
    SlowWorker.diaries = diaries
    before, began = workers_up(), time.time()
    reward = FunctionReward(total)
    workers = start_workers(NUM_WORKERS, PROCESS, reward, PROBLEMS, worker=SlowWorker, num_cpus=1, num_gpus=1)
    config = SearchConfig(n_rollouts=N_ROLLOUTS)
    roots = PROCESS.bind(PROBLEMS).root_states()
    search = Search(config, [problem.name for problem in PROBLEMS], roots, PROCESS.num_levels)
    executor = RayExecutor(workers, RolloutSpec(PROCESS.branch_steps), BatchSize(BATCH_SIZE, BATCH_SIZE))
    told = [(0.0, 0)]
    told_at = StatsTo(lambda stats: told.append((time.time(), stats.simulations)))
    run_search(search, executor, [told_at])
    ended, during = time.time(), workers_up()
    for worker in workers:
        worker.end()
    down = wait_until(lambda: workers_up() == 0, seconds=90, what="nodes go down")
    diaries_kept = [json.loads(diary.read_text()) for diary in diaries.iterdir()]
    for diary in diaries_kept:
        diary["told_when_ready"] = max(count for at, count in told if at <= diary["ready"])
    return {
        "nodes": {"before": before, "during": during, "after": workers_up()},
        "seconds": {"up": min(d["ready"] for d in diaries_kept) - began, "search": ended - began, "down": down},
        "workers": diaries_kept,
        "told": search.told.tolist(),
        "ignored": search.ignored_tells,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(main(sys.argv[1], Path(directory))))
    ray.shutdown()
