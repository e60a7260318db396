"""What is recorded while a search runs."""

import json

import numpy as np
import pytest

from sadt_ray import Problem, snis
from sadt_ray.api import start_search
from sadt_ray.executor import run_search
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.runs.directory import create_run_directory, write_json
from sadt_ray.runs.recorder import Recorder

PROCESS = MarkovChainProcess.random(3, 3, seed=0)


class NoTwos:
    """-1 where no token is 2, else probability zero."""

    oracle = False

    def bind(self, problems):
        return lambda samples, problem: np.where((samples == 2).any(1), -np.inf, -1.0)


def test_samples_of_probability_zero_do_not_make_the_mean_reward_look_better(tmp_path):
    search, executor = start_search(PROCESS, [Problem("a", np.zeros(1))], NoTwos(), snis(n_rollouts=100))
    recorder = Recorder(tmp_path, "snis", keep_trajectories=False)
    run_search(search, executor, recorder)
    recorder.close(search)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert np.isneginf(search.sample_store.rewards()[1]).any()
    assert last["mean_reward"] == last["best_reward"] == -1
    assert last["simulations"] == 100
    assert not (tmp_path / "trajectories").exists()


def test_a_directory_with_anything_in_it_is_refused(tmp_path):
    assert create_run_directory(tmp_path / "new") == create_run_directory(tmp_path / "new")
    (tmp_path / "new" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        create_run_directory(tmp_path / "new")


def test_json_holds_what_python_holds(tmp_path):
    write_json(
        tmp_path / "a.json", {"inf": np.inf, "nan": np.nan, "array": (np.int64(3), np.float32(0.5)), "path": tmp_path}
    )
    back = json.loads((tmp_path / "a.json").read_text())
    assert back == {"inf": "inf", "nan": None, "array": [3, 0.5], "path": str(tmp_path)}
