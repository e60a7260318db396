"""How close does a search come to a target that is known exactly, for the function evaluations it spends?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.benches import BenchResult
from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Problem
from sadt_ray.metrics import mmd_rbf, total_variation
from sadt_ray.processes.gaussian_mixture import (
    DensityRatioReward,
    GaussianMixture,
    GaussianMixtureProcess,
    grid_prior,
    nine_mode_posterior,
)
from sadt_ray.rollout import rollout
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search

QUESTION = "25 -> 9 Gaussian mixture: how far from the exact target is each search at equal function evaluations?"

# sigma = 8 -> 1.1: there the KL divergence of the noisy target from the noisy prior grows from .05 to 1.02 of 1.16 nats
LATE = (40, 45, 50, 55, 60, 65, 100)
_BANDWIDTH = 2.5  # of the MMD, half the distance of two modes
_MMD_SEEDS = 10


@dataclass(frozen=True)
class Method:
    """A search as the bench runs it: where its tree branches, how it selects, widens and draws."""

    label: str
    branch_steps: Sequence[int] | str
    config: SearchConfig
    sigma_max: float = 80.0
    key: str = ""


def _config(**settings: object) -> SearchConfig:
    return SearchConfig(n_rollouts=None, max_nfe=1, **settings)  # type: ignore[arg-type]


METHODS = (
    Method("best-of-N", "none", _config(widen_c=np.inf, draw="argmax"), key="best_of_n"),
    Method("SNIS", "none", _config(widen_c=np.inf), key="snis"),
    Method("DTS", "published", _config(), key="dts"),
    Method("DTS, selection at 0.3 lambda", "published", _config(selection_inv_temperature=0.3), key="dts_03"),
    Method("DTS*", "published", _config(selection="uct", draw="argmax"), key="dts_star"),
    Method("late DTS", LATE, _config(), key="late"),
    Method("late DTS, selection at 0.3 lambda", LATE, _config(selection_inv_temperature=0.3), key="late_03"),
)


def run(quick: bool) -> BenchResult:
    seeds = 12 if quick else 100
    rows, figures = [], {}
    for method in METHODS:
        for nfe in (1_000, 10_000, 100_000) if quick else (1_000, 10_000, 100_000, 300_000):
            row = measure(method, nfe, seeds)
            rows.append(row)
            name = f"{method.key}_{nfe:.0e}".replace("+0", "")
            for figure, column in (("tv", "TV"), ("log_z_error", "log Z error"), ("value_bias", "value bias")):
                figures[f"{figure}_{name}"] = float(row[column])  # type: ignore[arg-type]
                figures[f"{figure}_{name}_se"] = float(row[f"{column} se"])  # type: ignore[arg-type]
    notes = (
        f"{seeds} seeds a row; se = standard error of their mean. TV: total variation between the weights that samples "
        "give to the 25 prior modes (nearest) and the exact masses. log Z error: mean |log Z_hat|, exact log Z = 0.",
        f"value bias: mean of V_hat(root), exactly 0. MMD^2: kernel width {_BANDWIDTH}, against 1,000 exact draws, "
        f"{min(seeds, _MMD_SEEDS)} seeds. 100 steps, sigma 80 -> 0.02; published: nodes at steps 0, 25, 50, 75, 100; "
        f"late: at {', '.join(map(str, LATE))}. A search overspends its evaluations by less than one rollout.",
    )
    return BenchResult(rows, figures, notes)


def measure(method: Method, nfe: int, seeds: int) -> dict[str, object]:
    """One row of the table: a forest of ``seeds`` independent problems, each with ``nfe`` evaluations to spend."""
    searched = search_forest(method, nfe, seeds)
    truth = _true_masses()
    tv = [total_variation(_mode_masses(one), truth) for one in searched]
    log_z = np.array([one.log_z for one in searched])
    exact = exact_draws(nine_mode_posterior(), 1_000)
    mmd = [mmd_rbf(one.samples, exact, _BANDWIDTH, one.weights) for one in searched[:_MMD_SEEDS]]
    row: dict[str, object] = {
        "method": method.label,
        "NFE": nfe,
        "samples": float(np.mean([len(s.samples) for s in searched])),
    }
    for name, values in (("TV", tv), ("log Z error", np.abs(log_z)), ("value bias", log_z), ("MMD^2", mmd)):
        row[name] = float(np.mean(values))
        row[f"{name} se"] = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    row["ESS"] = float(np.mean([one.ess for one in searched]))
    row["root ESS"] = float(np.mean([one.root_ess for one in searched]))
    return row


def search_forest(method: Method, nfe: int, seeds: int) -> list[WeightedSamples]:
    """Every problem of the forest asks for one rollout at a time, so no search is disturbed by rollouts in flight."""
    process = GaussianMixtureProcess(grid_prior(), sigma_max=method.sigma_max, branch_steps=method.branch_steps)
    problems = [Problem(f"seed {seed}", np.zeros(0)) for seed in range(seeds)]
    chain = process.bind(problems)
    scorer = DensityRatioReward(grid_prior(), nine_mode_posterior()).bind(problems)
    config = SearchConfig(**{**vars(method.config), "max_nfe": nfe})
    search = Search(config, [problem.name for problem in problems], chain.root_states(), process.num_levels)
    while len(tickets := search.ask(int(search.wanting().sum()))):
        search.tell(rollout(chain, scorer, process.num_levels, tickets))
    return search.samples()


def exact_draws(mixture: GaussianMixture, n: int) -> np.ndarray:
    """Independent samples of a mixture: [n, W]."""
    rng = np.random.default_rng(0)
    means = mixture.means[rng.choice(len(mixture.weights), n, p=mixture.weights)]
    return means + mixture.sd * rng.standard_normal(means.shape)


def _mode_masses(drawn: WeightedSamples) -> np.ndarray:
    return np.bincount(grid_prior().nearest_mode(drawn.samples), drawn.weights, minlength=25)


def _true_masses() -> np.ndarray:
    posterior = nine_mode_posterior()
    return np.bincount(grid_prior().nearest_mode(posterior.means), posterior.weights, minlength=25)
