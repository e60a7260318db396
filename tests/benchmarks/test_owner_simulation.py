"""The simulated owner agrees with queueing theory, and the search it drives loses nothing."""

import math

import numpy as np
import pytest

from benchmarks import owner_simulation
from benchmarks.apparatus.owner_queue import load_of, run_load, saturating_workers, simulate_queue
from benchmarks.owner_simulation import Setting, TreeOwner, simulate_forest, simulate_owner

ROLLOUT, COST = 0.1, 2e-3  # seconds; the owner's limit is fifty busy workers


def _load(workers, in_flight=2, cost=COST, spread=0.0, seed=0):
    return run_load(lambda slot: cost, workers, in_flight, ROLLOUT, spread, np.random.default_rng(seed))


def _setting(call_seconds=COST, timed=40, clock=lambda: 0.0):
    return Setting(4, ROLLOUT, call_seconds, 0.3, timed, 0, clock)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_an_owner_without_cost_keeps_every_worker_busy(in_flight):
    load = _load(30, in_flight, cost=0.0, spread=0.5)
    assert load.efficiency == pytest.approx(1, abs=1e-9)
    assert load.batches_per_second == pytest.approx(30 / ROLLOUT, rel=0.05)
    assert (load.owner_busy, load.median_wait) == (0, 0)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_many_workers_get_one_batch_in_the_owners_time_for_one_and_wait_for_the_rest_of_a_cycle(spread):
    workers = 2_000
    load = _load(workers, spread=spread)
    assert load.batches_per_second == pytest.approx(1 / COST, rel=1e-9)
    assert load.owner_busy == pytest.approx(1, abs=1e-9)
    assert load.efficiency == pytest.approx(ROLLOUT / COST / workers, rel=0.02)
    assert load.median_wait == pytest.approx((2 * workers - 1) * COST - ROLLOUT, rel=0.01)


def test_a_lone_worker_with_one_batch_in_flight_waits_for_the_owner_every_time():
    load = _load(1, in_flight=1)
    assert load.efficiency == pytest.approx(ROLLOUT / (ROLLOUT + COST), rel=1e-9)
    assert load.owner_busy == pytest.approx(COST / (ROLLOUT + COST), rel=1e-9)


def test_a_second_batch_in_flight_hides_the_owners_time():
    assert _load(1).efficiency == pytest.approx(1, abs=1e-9)
    one, two = (_load(40, in_flight, spread=0.5).efficiency for in_flight in (1, 2))
    assert two > one + 0.02


@pytest.mark.parametrize("workers", [5, 20, 60])
def test_exponential_times_give_the_machine_repairmans_throughput(workers):
    """Machines that run for Exp(ROLLOUT) and one repairman who needs Exp(COST), here a tenth: a birth-death chain."""
    cost, rng, services = ROLLOUT / 10, np.random.default_rng(1), 60_000
    rollouts = rng.exponential(ROLLOUT, workers + services)
    timeline = simulate_queue(lambda slot: rng.exponential(cost), workers, 1, rollouts, services)
    log_weights = [n * math.log(cost / ROLLOUT) - math.lgamma(workers - n + 1) for n in range(workers + 1)]
    idle = math.exp(log_weights[0]) / sum(map(math.exp, log_weights))
    load = load_of(timeline, workers, warm_up=1_000)
    assert load.owner_busy == pytest.approx(1 - idle, rel=0.02)
    assert load.batches_per_second == pytest.approx((1 - idle) / cost, rel=0.02)


def test_a_worker_runs_its_batches_one_after_the_other():
    rollouts = np.random.default_rng(2).exponential(ROLLOUT, 6 + 300)
    timeline = simulate_queue(lambda slot: COST, 3, 2, rollouts, 300)
    running = (timeline.rollout_start[:, None] <= timeline.rollout_start) & (
        timeline.rollout_start < timeline.rollout_end[:, None]
    )
    assert running.sum(0).max() == 3
    assert (timeline.taken_up >= timeline.finished).all()
    assert (timeline.taken_up[1:] >= timeline.sent[:-1]).all()


def test_saturation_begins_where_efficiency_falls_below_nine_tenths():
    found = saturating_workers(lambda workers: _load(workers, spread=0.3), guess=10)
    assert 48 < found < ROLLOUT / COST / 0.9 + 2
    assert _load(found, spread=0.3).efficiency < 0.9 <= _load(round(0.96 * found), spread=0.3).efficiency


def test_thousands_of_workers_saturate_as_evenly_as_is_assumed():
    cost = ROLLOUT / 5_000
    found = saturating_workers(lambda workers: pytest.fail("simulated"), guess=ROLLOUT / cost * 1.01)
    assert _load(found, cost=cost, spread=0.3).efficiency == pytest.approx(0.9 / 1.01, rel=0.01)


def test_the_search_gets_every_simulation_back_that_is_not_in_flight():
    owner = TreeOwner(problems=8, slots=12, timed=40, setting=_setting(), rng=np.random.default_rng(0))
    run_load(owner, 6, 2, ROLLOUT, 0.3, np.random.default_rng(0))
    search = owner.search
    assert search.nfe.sum() >= 40 * 4
    assert search.reward_calls.sum() == 40 * 4
    assert len(search.open_tickets()) == 12 * 4
    assert search.told.sum() + 12 * 4 == search.asked.sum()
    assert (search.forgotten == 0).all()
    assert search.ignored_tells == 0


def test_later_batches_take_as_long_as_one_of_those_that_were_timed():
    ticks = iter(np.cumsum(np.arange(1, 1_000)) / 1_000)  # of the n-th reading of the clock, each later than the last
    setting = _setting(call_seconds=0.0, timed=10, clock=lambda: next(ticks))
    owner = TreeOwner(problems=2, slots=1, timed=10, setting=setting, rng=np.random.default_rng(0))
    timed = [owner(0) for _ in range(10)]
    assert timed == owner.seconds
    np.testing.assert_allclose(timed, 2e-3 * np.arange(1, 11))
    assert {owner(0) for _ in range(200)} == set(timed[5:])
    assert owner.search.reward_calls.sum() == 40


def test_owners_that_share_a_forest_multiply_its_limit(monkeypatch):
    monkeypatch.setattr(owner_simulation, "_PROBLEMS", 16)
    one, four = (simulate_forest(800, owners, _setting()) for owners in (1, 4))
    assert one.simulations_per_second == pytest.approx(4 / COST, rel=1e-6)
    assert four.simulations_per_second == pytest.approx(4 * one.simulations_per_second, rel=1e-6)
    assert four.limit == pytest.approx(4 * one.limit)
    assert four.efficiency == pytest.approx(4 * one.efficiency, rel=0.05)
    assert four.saturating_workers == pytest.approx(4 * one.saturating_workers, rel=0.1)
    assert [one.owner_seconds, four.owner_seconds] == pytest.approx([COST, COST])


def test_owners_share_the_problems_and_the_batches_that_are_timed(monkeypatch):
    made = []

    class Watched(TreeOwner):
        def __init__(self, problems, slots, timed, *others):
            made.append((problems, slots, timed))
            super().__init__(problems, slots, timed, *others)

    monkeypatch.setattr(owner_simulation, "_PROBLEMS", 16)
    monkeypatch.setattr(owner_simulation, "TreeOwner", Watched)
    simulate_forest(8, 4, _setting(timed=40))
    assert made == [(4, 4, 10)] * 4


def test_workers_that_cannot_be_shared_evenly_are_all_there(monkeypatch):
    monkeypatch.setattr(owner_simulation, "_PROBLEMS", 16)
    outcome = simulate_forest(10, 4, _setting(call_seconds=1e-6))
    assert outcome.efficiency == pytest.approx(1, abs=1e-6)
    assert outcome.simulations_per_second == pytest.approx(10 * 4 / ROLLOUT, rel=0.05)


def test_owners_without_workers_are_refused():
    with pytest.raises(ValueError, match="4 owners for 3 workers"):
        simulate_forest(3, 4, _setting())


def test_the_table_has_a_row_a_case_and_a_seed_repeats_it(monkeypatch):
    monkeypatch.setattr(owner_simulation, "_PROBLEMS", 16)
    settings = {"workers": (1, 10), "owners": (1, 2), "timed": 20, "clock": lambda: 0.0}
    result = simulate_owner(((4, ROLLOUT), (8, ROLLOUT)), **settings)
    cases = [(row["batch"], row["workers"], row["owners"]) for row in result.rows]
    assert cases == [(batch, *case) for batch in (4, 8) for case in ((1, 1), (10, 1), (10, 2))]
    assert len({tuple(row) for row in result.rows}) == 1
    assert all(np.isfinite(value) for value in result.figures.values())
    assert result.figures["simulated_efficiency_batch4_100ms_1_owners_1_workers"] == result.rows[0]["efficiency"]
    assert result == simulate_owner(((4, ROLLOUT), (8, ROLLOUT)), **settings)
