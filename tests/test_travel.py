"""What a remote worker will be sent survives the journey and gives the same rollouts there."""

import pickle

import numpy as np

from sadt_ray import SpectralReward, WeightedSum, dts, load_pretrained, search
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.tree.search import Search


def test_process_reward_problems_tickets_and_results_travel():
    data = synthetic_hourly()
    problems = [data.problem("test", 0, channel) for channel in (0, 1)]
    sent = (load_pretrained().with_branch_steps("late"), WeightedSum((1.0, SpectralReward())), problems)
    home, away = SerialExecutor(*sent), SerialExecutor(*pickle.loads(pickle.dumps(sent)))
    tree = Search(dts(n_rollouts=50).search, [p.name for p in problems], home.root_states(), sent[0].num_levels)
    tickets = tree.ask(20)
    home.submit(tickets)
    away.submit(pickle.loads(pickle.dumps(tickets)))
    (here,), (there,) = ([f.results for f in e] for e in (home.collect(), pickle.loads(pickle.dumps(away.collect()))))
    for name, column in vars(here).items():
        if isinstance(column, np.ndarray):
            np.testing.assert_array_equal(column, getattr(there, name), err_msg=name)
    tree.tell(there)
    assert tree.simulations == 20


def test_one_problem_after_the_other_or_all_in_a_forest_give_the_same_trees():
    """With one rollout in flight a problem: then a tree sees the same tells in the same order."""
    data = synthetic_hourly()
    problems = [data.problem("test", 0, channel) for channel in (0, 1, 2)]
    arguments = (load_pretrained(), SpectralReward(), dts(inv_temperature=20, n_rollouts=60))
    together = search(arguments[0], problems, *arguments[1:], batch_size=3)
    for i, problem in enumerate(problems):
        alone = search(arguments[0], [problem], *arguments[1:], batch_size=1)
        np.testing.assert_allclose(alone.samples()[0].rewards, together.samples()[i].rewards, atol=1e-3)
        np.testing.assert_allclose(alone.samples()[0].log_z, together.samples()[i].log_z, atol=1e-2)
