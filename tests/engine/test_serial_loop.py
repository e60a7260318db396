"""One loop drives any executor: budgets are spent exactly, and what was found survives interruptions and failures."""

import numpy as np
import pytest
from observing import Calls

from sadt_ray.config import SearchConfig
from sadt_ray.engine.executor import Finished
from sadt_ray.engine.loop import RolloutFailed, Tolerance, run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Problem
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rollout.rollout import rollout
from sadt_ray.tree.search import Search

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
SUM = FunctionReward(lambda samples, problem: samples.sum(1).astype(float))


def fresh(**settings):
    chain = PROCESS.bind(PROBLEMS)
    return Search(SearchConfig(**settings), [p.name for p in PROBLEMS], chain.root_states(), PROCESS.num_levels)


def assert_nothing_in_flight(search):
    assert len(search.open_tickets()) == 0
    np.testing.assert_array_equal(search.tree.column("in_flight"), 0)
    np.testing.assert_array_equal(search.tree.column("pending"), 0)
    np.testing.assert_array_equal(search.told + search.forgotten, search.asked)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1_000])
def test_a_search_ends_with_every_budget_spent(batch_size):
    search = fresh(n_rollouts=100)
    run_search(search, SerialExecutor(PROCESS, SUM, PROBLEMS, batch_size))
    np.testing.assert_array_equal(search.told, 100)
    np.testing.assert_array_equal(search.forgotten, 0)
    assert_nothing_in_flight(search)
    assert search.nfe.sum() == sum(4 - level for level in fresh_levels(search))


def fresh_levels(search):
    """The level below which each rollout of a finished search began: that of the parent of its first node."""
    level, parent, slot = (search.tree.column(name) for name in ("level", "parent", "slot"))
    first = [n for n in range(3, len(level)) if parent[n] != n - 1 or slot[n] > 0 or parent[n] < 3]
    return [level[parent[n]] for n in first]


def test_running_a_finished_search_again_changes_nothing():
    search = fresh(n_rollouts=20)
    executor = SerialExecutor(PROCESS, SUM, PROBLEMS)
    run_search(search, executor)
    nodes = len(search.tree)
    run_search(search, executor)
    assert len(search.tree) == nodes


def test_progress_is_told_after_every_batch():
    search, seen = fresh(n_rollouts=100, widen_c=np.inf), []
    run_search(search, SerialExecutor(PROCESS, SUM, PROBLEMS, 64), [Calls(lambda s: seen.append(s.simulations))])
    assert seen == [64, 128, 192, 256, 300]


class Impatient(Exception):
    """Someone pressed Ctrl-C."""


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, Impatient])
def test_an_interrupted_search_is_consistent_and_goes_on_to_the_same_budget(interrupt):
    search = fresh(n_rollouts=100)

    def stop_in_the_middle(search):
        if search.simulations >= 150:
            raise interrupt

    executor = SerialExecutor(PROCESS, SUM, PROBLEMS, 16)
    with pytest.raises(interrupt):
        run_search(search, executor, [Calls(stop_in_the_middle)])
    assert_nothing_in_flight(search)
    assert 150 <= search.simulations < 170
    for samples in search.samples():
        assert abs(samples.weights.sum() - 1) < 1e-12
        assert len(samples.samples) > 30
    run_search(search, executor)
    np.testing.assert_array_equal(search.told, 100)


def test_a_search_interrupted_inside_a_rollout_forgets_what_was_running():
    calls = []

    def interrupted_at_the_fifth_call(samples, problem):
        calls.append(len(samples))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return samples.sum(1).astype(float)

    search = fresh(n_rollouts=100)
    with pytest.raises(KeyboardInterrupt):
        run_search(search, SerialExecutor(PROCESS, FunctionReward(interrupted_at_the_fifth_call), PROBLEMS[:3], 16))
    assert_nothing_in_flight(search)
    assert search.forgotten.sum() == 16
    assert all(len(samples.samples) for samples in search.samples())


def only_small_sums(samples, problem):
    """Cannot score about an eighth of the samples, and never the same one."""
    rewards = samples.sum(1).astype(float)
    return np.where(rewards > 3, np.nan, rewards)


def test_a_reward_that_fails_too_often_ends_the_search_and_keeps_what_was_told():
    def broken_for_b_after_a_while(samples, problem):
        if problem.name == "b" and len(told) > 3:
            raise ValueError("cannot score this")
        told.append(len(samples))
        return samples.sum(1).astype(float)

    told = []
    search = fresh(n_rollouts=100)
    with pytest.raises(RolloutFailed, match=r"ticket \d+ of problem 'b': .*cannot score this.*and \d+ more") as failed:
        run_search(search, SerialExecutor(PROCESS, FunctionReward(broken_for_b_after_a_while), PROBLEMS, 16))
    assert {failure.problem for failure in failed.value.failures} == {1}
    assert_nothing_in_flight(search)
    assert search.failures == list(failed.value.failures)
    assert 10 < len(search.failures) < 30
    assert search.told[0] > search.told[1] > 0
    assert search.samples()[2].weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("slots", [1, 3])
def test_tickets_that_fail_three_times_are_set_aside_and_others_asked_in_their_place(slots):
    attempts = {}

    def counting(samples, problem):
        for row in samples:
            key = (problem.name, row.tobytes())
            attempts[key] = attempts.get(key, 0) + 1
        return only_small_sums(samples, problem)

    search = fresh(n_rollouts=100, widen_c=np.inf)
    executor = SerialExecutor(PROCESS, FunctionReward(counting), PROBLEMS, 16, slots)
    run_search(search, executor, tolerance=Tolerance(share=1.0))
    np.testing.assert_array_equal(search.told, 100)
    assert_nothing_in_flight(search)
    assert len(search.failures) == search.forgotten.sum() > 3
    assert len({failure.ticket for failure in search.failures}) == len(search.failures)
    assert all(failure.nfe == 3 * 4 for failure in search.failures)  # three attempts at four levels
    assert search.sample_store.rewards()[1].max() == 3


def test_a_reward_that_fails_now_and_then_costs_nothing_but_another_attempt():
    calls = []

    def flaky(samples, problem):
        calls.append(len(samples))
        if len(calls) % 5 == 0:
            raise ConnectionError("the service did not answer")
        return samples.sum(1).astype(float)

    search = fresh(n_rollouts=100)
    run_search(search, SerialExecutor(PROCESS, FunctionReward(flaky), PROBLEMS, 16))
    np.testing.assert_array_equal(search.told, 100)
    assert search.failures == []


def test_a_search_that_stopped_at_its_failures_goes_on_once_what_failed_is_mended():
    search = fresh(n_rollouts=100)

    def broken(samples, problem):
        raise ConnectionError("the service is down")

    with pytest.raises(RolloutFailed):
        run_search(search, SerialExecutor(PROCESS, FunctionReward(broken), PROBLEMS, 16))
    before = len(search.failures)
    assert before > 10
    resumed = Search.restored(search.state())
    run_search(resumed, SerialExecutor(PROCESS, SUM, PROBLEMS, 16))
    np.testing.assert_array_equal(resumed.told, 100)
    assert len(resumed.failures) == before


@pytest.mark.parametrize("bad", [{"count": -1}, {"share": 1.5}])
def test_a_tolerance_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match="tolerance"):
        Tolerance(**bad)


class LosesBatches(SerialExecutor):
    """Loses every batch that holds the cursed ticket, and every seventh batch whatever it holds."""

    cursed, turn = 42, 0

    def collect(self):
        (finished,) = super().collect()
        self.turn += 1
        if self.cursed in finished.tickets.id or self.turn % 7 == 0:
            return [Finished(finished.tickets, None, "the worker died")]
        return [finished]


@pytest.mark.parametrize("slots", [1, 4])
def test_a_ticket_that_kills_its_worker_is_set_aside_and_its_neighbours_are_not(slots):
    search = fresh(n_rollouts=100)
    run_search(search, LosesBatches(PROCESS, SUM, PROBLEMS, 16, slots))
    np.testing.assert_array_equal(search.told, 100)
    assert [failure.ticket for failure in search.failures] == [42]
    assert search.failures[0].message == "the worker died"
    assert_nothing_in_flight(search)


class TwoSlots:
    """An executor with two batches in flight that returns the newer one first, both at once, or a batch twice."""

    slots, batch_size = 2, 8

    def __init__(self, reward=SUM):
        self.chain, self.scorer, self.waiting, self.turn = PROCESS.bind(PROBLEMS), reward.bind(PROBLEMS), [], 0

    def submit(self, tickets):
        assert len(self.waiting) < 2
        self.waiting.append(tickets)

    def collect(self):
        self.turn += 1
        batches = [self.waiting.pop() for _ in range(len(self.waiting) if self.turn % 3 == 0 else 1)]
        return [Finished(t, rollout(self.chain, self.scorer, PROCESS.num_levels, t)) for t in batches]

    def cancel(self):
        self.waiting.clear()

    def gauges(self):
        return {}


def test_an_executor_may_keep_several_batches_in_flight_and_return_them_in_any_order():
    search = fresh(n_rollouts=90)
    run_search(search, TwoSlots())
    np.testing.assert_array_equal(search.told, 90)
    assert_nothing_in_flight(search)


def test_batches_collected_together_with_a_failed_one_are_told_as_well():
    search, told = fresh(n_rollouts=90), []
    executor = TwoSlots(FunctionReward(only_small_sums))
    collect = executor.collect

    def counting():
        batches = collect()
        told.extend(len(finished.results) for finished in batches)
        return batches

    executor.collect = counting
    executor.turn = 2  # the first collect returns both batches
    with pytest.raises(RolloutFailed):
        run_search(search, executor, tolerance=Tolerance(0, 0.0))
    assert search.simulations == sum(told)
    assert_nothing_in_flight(search)


def test_an_executor_knows_the_roots_of_its_problems():
    executor = SerialExecutor(PROCESS, SUM, PROBLEMS)
    assert executor.root_states().shape == (3, 4)


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        SerialExecutor(PROCESS, SUM, PROBLEMS, batch_size=0)


def test_an_interrupted_search_leaves_the_executor_empty_for_the_next_one():
    """A batch left over would be collected in place of a batch of the next search, which would end short."""
    executor = TwoSlots()

    def interrupt(search):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(fresh(n_rollouts=90), executor, [Calls(interrupt)])
    again = fresh(n_rollouts=90)
    run_search(again, executor)
    np.testing.assert_array_equal(again.told, 90)


class LosesEveryBatch(SerialExecutor):
    """As workers do that die of every rollout."""

    lost = 0

    def collect(self):
        self.lost += 1
        return [Finished(self._waiting.popleft(), None, "its worker was lost")]


def test_a_search_that_kills_all_its_workers_ends_soon():
    search, executor = fresh(n_rollouts=100), LosesEveryBatch(PROCESS, SUM, PROBLEMS, 16, slots=5)
    with pytest.raises(RolloutFailed, match="its worker was lost"):
        run_search(search, executor)
    assert len(search.failures) == 11
    assert executor.lost < 100
    assert_nothing_in_flight(search)
