"""The file of batches says who had what when, and stays small however long a run is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sadt_ray import FunctionReward, Problem, snis
from sadt_ray.engine.executor import BatchTimes
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import start_search
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.runs import batch_log
from sadt_ray.runs.batch_log import BatchLog
from sadt_ray.runs.recorder import Recorder


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "batches.jsonl").read_text().splitlines()]


def batch(number: int, workers: int = 2, lost: bool = False) -> BatchTimes:
    """Batches of two seconds; workers take turns, each having one batch after the other."""
    began = 100.0 + number
    return BatchTimes(number % workers, 16, began - 0.5, began, began + 2, 3, lost)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(batch_log, "MAX_LINES", 40)
    return 40


def test_a_line_says_all_of_a_batch_in_seconds_of_its_method(tmp_path: Path) -> None:
    BatchLog(tmp_path, "dts").append([batch(7)._replace(lost=True, restarted=True)], began=100.0)
    said = {"method": "dts", "worker": 1, "rows": 16, "sent": 6.5, "began": 7.0, "finished": 9.0, "weights_version": 3}
    assert lines(tmp_path) == [said | {"lost": True, "restarted": True, "one_in": 1}]


def test_many_batches_leave_few_lines_as_many_of_each_worker(tmp_path: Path, limit: int) -> None:
    log = BatchLog(tmp_path, "dts")
    for number in range(0, 1_000, 10):
        log.append([batch(n) for n in range(number, number + 10)], began=100.0)
    kept = lines(tmp_path)
    assert limit / 2 <= len(kept) <= limit
    assert {line["one_in"] for line in kept} == {32}
    for worker in (0, 1):
        began = [line["began"] for line in kept if line["worker"] == worker]
        assert len(began) == pytest.approx(len(kept) / 2, abs=1)
        assert np.diff(began).max() <= 2 * 64  # evenly over the run


def test_a_batch_that_was_lost_and_other_methods_stay_when_lines_are_dropped(tmp_path: Path, limit: int) -> None:
    BatchLog(tmp_path, "snis").append([batch(n) for n in range(30)], began=100.0)
    log = BatchLog(tmp_path, "dts")
    for number in range(200):
        log.append([batch(number, lost=number % 50 == 3)], began=100.0)
    kept = lines(tmp_path)
    assert Counter(line["method"] for line in kept)["snis"] == 30
    assert [line["began"] for line in kept if line["lost"]] == [3, 53, 103, 153]


def test_a_search_that_is_resumed_forgets_what_came_after_its_checkpoint(tmp_path: Path, limit: int) -> None:
    log = BatchLog(tmp_path, "dts")
    for number in range(100):
        log.append([batch(number)], began=100.0)
    with (tmp_path / "batches.jsonl").open("a") as file:
        file.write('{"method": "dts", "wor')  # it was killed
    again = BatchLog(tmp_path, "dts", resumed_at=60.0)
    assert max(line["finished"] for line in lines(tmp_path)) <= 60
    again.append([batch(number) for number in range(60, 68)], began=100.0)
    assert [line["one_in"] for line in lines(tmp_path) if line["began"] >= 60] == [4, 4]


def test_a_search_in_this_process_has_one_batch_after_the_other(tmp_path: Path) -> None:
    reward = FunctionReward(lambda samples, problem: np.zeros(len(samples)))
    process = MarkovChainProcess.random(3, 3, seed=0)
    search, executor = start_search(process, [Problem("a", np.zeros(1))], reward, snis(n_rollouts=100))
    executor.batch_size = 16
    recorder = Recorder(tmp_path, "snis", keep_trajectories=False, batch_times=executor.batch_times)
    run_search(search, executor, [recorder])
    batches = lines(tmp_path)
    assert [line["rows"] for line in batches] == [16] * 6 + [4]
    times = [line[name] for line in batches for name in ("began", "finished")]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= recorder.seconds
