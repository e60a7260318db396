"""A process that searches with checkpoints, and may kill itself in the worst moments: see ``test_killed``."""

import os
import signal
import sys
import time

import numpy as np

import sadt_ray.engine.checkpoint as checkpoint
from sadt_ray.config import SearchConfig
from sadt_ray.engine.checkpoint import Checkpoints, CheckpointTimes
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Problem
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recording import begin_or_resume
from sadt_ray.tree.search import Search

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
CONFIG = SearchConfig(n_rollouts=400, selection_inv_temperature=0.5)
PROCESS = MarkovChainProcess.random(3, 6, seed=0)
MOMENTS = ("in a write", "between trajectories and checkpoint", "between checkpoint and clearing up")


def reward(samples, problem):
    return samples.sum(1).astype(float)


def slow_reward(samples, problem):
    time.sleep(0.003)
    return reward(samples, problem)


def new_search(executor):
    return Search(CONFIG, [problem.name for problem in PROBLEMS], executor.root_states(), PROCESS.num_levels)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number, function, instead):
    """``function``, but at its call of this number ``instead``."""
    calls = []

    def wrapped(*arguments):
        calls.append(1)
        return (instead if len(calls) == number else function)(*arguments)

    return wrapped


def half_a_write(sink, arrays, metadata):
    class Half:
        written = 0

        def write(self, data):
            sink.write(data)
            self.written += len(data)
            if self.written > 5_000:
                sink.flush()
                die()

    write_tensors(Half(), arrays, metadata)


write_tensors = checkpoint.write_tensors


def die_at(moment):
    if moment == "in a write":
        checkpoint.write_tensors = at_call(3, write_tensors, half_a_write)
    elif moment == "between trajectories and checkpoint":
        Checkpoints.save = at_call(3, Checkpoints.save, die)
    elif moment == "between checkpoint and clearing up":
        Checkpoints._delete = at_call(2, Checkpoints._delete, die)


def go_on(directory, moment, told, errors):
    """Search to the end or to the moment.

    Args:
        told: connection that gets the number of simulations of the last checkpoint.
        errors: file that gets what is written to stderr.
    """
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    die_at(moment)
    executor = SerialExecutor(PROCESS, FunctionReward(slow_reward), PROBLEMS, batch_size=8, slots=2)
    checkpoints = Checkpoints(directory / "checkpoints")
    times = CheckpointTimes(every_simulations=20)
    search, recorder, observers = begin_or_resume(new_search(executor), directory, "dts", checkpoints, times=times)
    told.send(search.simulations)
    run_search(search, executor, observers, seconds_before=recorder.seconds)
