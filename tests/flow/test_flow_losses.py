"""Every loss is 0 at the exact soft values, with no gradient there, and leads to them: the enumerable chain knows them.

The small chain is laid out as examples: every prefix a row, every family whole, probabilities as ratios to a uniform
proposal. A table of one number a prefix is the flow.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from sadt_ray.flow.losses import (
    REGRESSIONS,
    linex,
    log_mean,
    parse_loss,
    path_loss,
    sub_trajectory_residuals,
    trajectory_residual,
    variance_residual,
)
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.gaussian_mixture import (
    DensityRatioReward,
    GaussianMixtureProcess,
    grid_prior,
    nine_mode_posterior,
)
from sadt_ray.processes.markov_chain import MarkovChainProcess

TOKENS, DEPTH, LAM = 3, 4, 3.0
PROCESS = MarkovChainProcess.random(TOKENS, DEPTH, seed=3)
LOSSES = ["db", "tb", "tb-var", "subtb-0.5", "subtb-2", "0.3*tb-var + db", "tb + 0.5*db"]


def reward(sequence):
    return float(np.sin(3.0 * sum((i + 1) * token for i, token in enumerate(sequence))))


VALUES = PROCESS.soft_values(reward, LAM)
PREFIXES = [prefix for d in range(DEPTH + 1) for prefix in itertools.product(range(TOKENS), repeat=d)]
INNER = [prefix for prefix in PREFIXES if len(prefix) < DEPTH]
ROW = {prefix: row for row, prefix in enumerate(PREFIXES)}
EXACT = torch.tensor([LAM * VALUES[prefix] for prefix in PREFIXES], dtype=torch.float64)
CHILDREN = torch.tensor([[ROW[(*prefix, token)] for token in range(TOKENS)] for prefix in INNER])
LOG_RATIO = torch.from_numpy(
    np.stack([np.log(PROCESS.probs[len(p)][PROCESS._row(p)]) + math.log(TOKENS) for p in INNER])
)
PATHS = torch.tensor([[ROW[leaf[:d]] for d in range(DEPTH)] for leaf in PROCESS.sequences()])
ALL = torch.ones(len(INNER), TOKENS, dtype=torch.bool)


def loss_of(text, table, log_z, regression="squared"):
    """Of a flow that is a table over inner prefixes; the root has none, x_0 has lambda r."""
    log_flow = torch.cat([table, EXACT[len(INNER) :]])
    delta = log_flow[: len(INNER)] - log_mean(log_flow[CHILDREN], LOG_RATIO, ALL)
    steps = delta[PATHS].clone()
    steps[:, 0] -= table[0]
    held, group = torch.ones(PATHS.shape, dtype=torch.bool), torch.zeros(len(PATHS), dtype=torch.long)
    total = torch.zeros((), dtype=torch.float64)
    for term in parse_loss(text):
        if term.of_paths:
            part = path_loss(term, steps, held, group, log_z.expand(len(PATHS)), REGRESSIONS[regression])
        else:
            part = REGRESSIONS[regression](delta[1:]).mean()
        total = total + term.weight * part
    return total


@pytest.mark.parametrize("regression", REGRESSIONS)
@pytest.mark.parametrize("text", LOSSES)
def test_a_loss_is_zero_at_the_soft_values_without_a_gradient_and_positive_elsewhere(text, regression):
    table = EXACT[: len(INNER)].clone().requires_grad_(True)
    log_z = EXACT[:1].clone().requires_grad_(True)
    loss = loss_of(text, table, log_z, regression)
    loss.backward()
    assert abs(loss.item()) < 1e-12
    assert table.grad.abs().max() < 1e-10
    assert log_z.grad is None or log_z.grad.abs().max() < 1e-10
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, len(INNER)))
    assert loss_of(text, EXACT[: len(INNER)] + noise, EXACT[:1], regression) > 1e-4


@pytest.mark.parametrize("text", LOSSES)
def test_a_table_that_minimises_a_loss_is_the_soft_value_up_to_what_the_loss_leaves_free(text):
    table = torch.zeros(len(INNER), dtype=torch.float64, requires_grad=True)
    log_z = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([table, log_z], max_iter=300, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = loss_of(text, table, log_z)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    error = table.detach() - EXACT[: len(INNER)]
    families = CHILDREN[CHILDREN[:, 0] < len(INNER)]
    if text in ("tb", "tb-var"):
        assert np.ptp(error[families].numpy(), axis=1).max() < 1e-3
        assert np.ptp(error[families].numpy()) > 0.1, "from a table of zeros it does not find what it cannot see"
    else:
        assert error[families].abs().max() < 1e-3
    if text == "tb + 0.5*db":
        assert log_z.item() == pytest.approx(EXACT[0].item(), abs=1e-3)


def test_trajectory_balance_leaves_a_constant_a_family_free_and_one_step_does_not():
    shifted, rng = EXACT[: len(INNER)].clone(), np.random.default_rng(6)
    for family in CHILDREN[CHILDREN[:, 0] < len(INNER)]:
        shifted[family] += rng.normal()
    shifted[CHILDREN[0]] = EXACT[CHILDREN[0]]  # that of the root's children is in log Z
    assert loss_of("tb-var", shifted, EXACT[:1]) < 1e-20
    assert loss_of("tb", shifted, EXACT[:1]) < 1e-20
    assert loss_of("db", shifted, EXACT[:1]) > 0.1
    assert loss_of("subtb-0.5", shifted, EXACT[:1]) > 0.1


def test_trajectory_balance_is_the_formula_of_the_seed():
    rng = np.random.default_rng(1)
    table, log_z = torch.from_numpy(rng.normal(size=len(INNER))), torch.tensor([0.4], dtype=torch.float64)
    flow = torch.cat([table, EXACT[len(INNER) :]]).numpy()
    total = 0.0
    for leaf in PROCESS.sequences():
        residual = log_z.item()
        for t in range(1, DEPTH + 1):
            above = ROW[leaf[: t - 1]]
            expected = logsumexp(flow[CHILDREN[above]] + LOG_RATIO[above].numpy()) - math.log(TOKENS)
            residual += flow[ROW[leaf[:t]]] - expected
        total += (residual - LAM * reward(leaf)) ** 2 / 2 / TOKENS**DEPTH
    assert loss_of("tb", table, log_z).item() == pytest.approx(total)


def test_parts_of_a_path_are_its_steps_when_the_decay_is_small_and_itself_when_it_is_large():
    steps = torch.from_numpy(np.random.default_rng(2).normal(size=(5, 4)))
    held = torch.ones(5, 4, dtype=torch.bool)
    held[0, 3] = False  # a path that ends a step earlier
    small, large = (sub_trajectory_residuals(steps, held, decay) for decay in (1e-9, 1e9))
    by_step, by_path = ((w * r.square()).sum(1) for r, w in (small, large))
    assert by_step[1:].tolist() == pytest.approx(steps[1:, 1:].square().mean(1).tolist())
    assert by_step[0].item() == pytest.approx(steps[0, 1:3].square().mean().item())
    whole = steps[:, 1:].sum(1)
    whole[0] = steps[0, 1:3].sum()
    assert by_path.tolist() == pytest.approx(whole.square().tolist())


def test_the_variance_form_subtracts_the_mean_of_each_group():
    steps = torch.from_numpy(np.random.default_rng(3).normal(size=(6, 3)))
    held, group = torch.ones(6, 3, dtype=torch.bool), torch.tensor([0, 0, 0, 1, 1, 1])
    residual = variance_residual(steps, held, group)
    total = trajectory_residual(steps, held, torch.zeros(6)) - steps[:, 0]
    for g in (0, 1):
        assert residual[group == g].tolist() == pytest.approx((total[group == g] - total[group == g].mean()).tolist())


def test_residuals_vanish_at_the_closed_form_soft_values_of_a_mixture_within_the_error_of_many_siblings():
    process = GaussianMixtureProcess(grid_prior(), num_steps=100, branch_steps=(10, 30, 50, 60, 100))
    ratio = DensityRatioReward(grid_prior(), nine_mode_posterior())
    chain, siblings = process.bind([None]), 2000
    for level in (1, 3):
        zeros = np.zeros(20, np.int64)
        states = np.repeat(chain.root_states(), 20, 0)
        for at in range(level):
            states = chain.advance(states, zeros + at, zeros, derive_seeds(1, at, np.arange(20))).states
        many = np.zeros(20 * siblings, np.int64)
        below = chain.advance(
            states.repeat(siblings, 0), many + level, many, derive_seeds(2, level, np.arange(len(many)))
        )
        value = torch.from_numpy(ratio.soft_value(below.states, process.level_sigma(level + 1))).reshape(20, siblings)
        log_e = log_mean(value, torch.zeros_like(value), torch.ones_like(value, dtype=torch.bool))
        residual = torch.from_numpy(ratio.soft_value(states, process.level_sigma(level))) - log_e
        weights = torch.softmax(value, 1)
        error = (siblings * weights.square().sum(1) - 1).clamp_min(1e-12).sqrt() / math.sqrt(siblings)
        assert error.max() < 0.1
        assert (residual / error).abs().max() < 4
        assert 0.3 < (residual / error).square().mean() < 2.5


def test_the_correction_takes_most_of_the_bias_of_few_siblings():
    rng = np.random.default_rng(4)
    values = torch.from_numpy(rng.normal(0, 0.7, (40_000, 8)))
    exact = 0.7**2 / 2
    held, none = torch.ones_like(values, dtype=torch.bool), torch.zeros_like(values)
    plain = (log_mean(values, none, held) - exact).mean().item()
    corrected = (log_mean(values, none, held, corrected=True) - exact).mean().item()
    assert plain == pytest.approx(-(math.exp(0.49) - 1) / 16, abs=0.01)
    assert abs(corrected) < abs(plain) / 3


def test_missing_siblings_are_not_there():
    values = torch.tensor([[1.0, 2.0, 50.0], [3.0, -7.0, 9.0]])
    held = torch.tensor([[True, True, False], [True, False, False]])
    log_e = log_mean(values, torch.zeros_like(values), held, corrected=False)
    assert log_e.tolist() == pytest.approx([math.log((math.e + math.e**2) / 2), 3.0])
    assert log_mean(values, torch.zeros_like(values), held, corrected=True)[1].item() == pytest.approx(3.0)


def test_the_gradient_of_linex_is_unbiased_for_a_single_child():
    rng = np.random.default_rng(5)
    below = torch.from_numpy(rng.normal(0, 0.5, 200_000))
    own = torch.tensor(0.5**2 / 2, dtype=torch.float64, requires_grad=True)  # log E exp
    linex(own - below).mean().backward()
    assert abs(own.grad.item()) < 0.01
    own.grad = None
    REGRESSIONS["squared"](own - below).mean().backward()
    assert own.grad.item() > 0.1, "the square is not"


@pytest.mark.parametrize("text", ["", "mse", "subtb-", "db +", "db-0.9", "-1*db"])
def test_a_loss_that_does_not_exist_is_refused_by_name(text):
    with pytest.raises(ValueError, match="use db, tb, tb-var"):
        parse_loss(text)
