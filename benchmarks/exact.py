"""How close does a search come to a target that is known exactly, for the function evaluations it spends?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from benchmarks import BenchResult
from benchmarks.posterior.mixture_flow import WALK, guided, learn_mixture_flow, search_mixture
from sadt_ray.interfaces import Chain, Problem, Scorer
from sadt_ray.methods import Method, best_of_n, dts, dts_late, dts_star, snis
from sadt_ray.metrics import mmd_rbf, total_variation
from sadt_ray.processes.gaussian_mixture import (
    DensityRatioReward,
    GaussianMixture,
    GaussianMixtureProcess,
    grid_prior,
    nine_mode_posterior,
)
from sadt_ray.rollout.rollout import rollout
from sadt_ray.training.fit import FlowFit
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search

QUESTION = "How far is each method from an exactly known target, at equal evaluations? (25 -> 9 Gaussian mixture)"

# sigma = 8 -> 1.1: there the KL divergence of the noisy target from the noisy prior grows from .05 to 1.02 of 1.16 nats
LATE = (40, 45, 50, 55, 60, 65, 100)
ONE_LEVEL = (40, 100)  # nothing is decided before sigma = 8, so that 40 of the 100 steps can be shared
_METHODS: dict[str, tuple[str, Callable[..., Method]]] = {
    "best_of_n": ("best-of-N", best_of_n),
    "snis": ("SNIS", snis),
    "dts": ("DTS", dts),
    "dts_03": ("DTS, 0.3 lambda", partial(dts, selection_inv_temperature=0.3)),
    "dts_star": ("DTS*", dts_star),
    "late": ("DTS, late branching", partial(dts, branch_steps=LATE)),
    "late_03": (
        "DTS, late branching, 0.3 lambda",
        partial(dts, branch_steps=LATE, selection_inv_temperature=0.3),
    ),
    "dts_late": ("dts-late", partial(dts_late, branch_steps=LATE)),
    "counts": (
        "DTS, one late level, by counts",
        partial(dts, branch_steps=ONE_LEVEL, selection_inv_temperature=0.0, widen_c=1.0, widen_alpha=0.7),
    ),
}
_BANDWIDTH = 2.5  # of the MMD, half the distance of two modes
_MMD_SEEDS = 10
_MOST_GUIDED = 100_000  # evaluations; a larger budget would only repeat the same particle systems
_COLUMNS = {"tv": "TV", "log_z_error": "log Z error", "value_bias": "value bias", "mmd": "MMD^2"}


def run(quick: bool) -> BenchResult:
    seeds = 12 if quick else 100
    budgets = {"1e3": 1_000, "1e4": 10_000, "1e5": 100_000} | ({} if quick else {"3e5": 300_000})
    learned = learn_mixture_flow(*((512, 600) if quick else (2_048, 3_000)))
    searches: dict[str, tuple[str, Callable[[int], list[WeightedSamples]]]] = {
        key: (label, partial(_tree_searches, method, seeds)) for key, (label, method) in _METHODS.items()
    }
    searches["sadt"] = ("S-ADT", lambda nfe: search_mixture(guided(nfe), range(seeds), learned.flow))
    searches["sweep_exact"] = ("the same, exact values", lambda nfe: search_mixture(guided(nfe), range(seeds)))
    rows, figures = [], {"training_nfe": learned.nfe, "training_seconds": learned.seconds}
    for key, (label, searched) in searches.items():
        for budget, nfe in budgets.items():
            if key in ("sadt", "sweep_exact") and nfe > _MOST_GUIDED:
                continue
            statistics = measure(searched(nfe))
            rows.append({"method": label, "NFE": nfe, **{name: value for name, (value, _) in statistics.items()}})
            for figure, column in _COLUMNS.items():
                value, error = statistics[column]
                rows[-1][column] = f"{value:.4f} +- {error:.4f}"
                figures[f"{figure}_{key}_{budget}"], figures[f"{figure}_{key}_{budget}_se"] = value, error
    return BenchResult(rows, figures, _notes(seeds, learned))


def _tree_searches(method: Callable[..., Method], seeds: int, nfe: int) -> list[WeightedSamples]:
    return search_forest(method(n_rollouts=None, max_nfe=nfe), seeds)


def _notes(seeds: int, learned: FlowFit) -> tuple[str, ...]:
    return (
        f"{seeds} seeds per row, +- standard error of their mean. TV: total variation between the weights that samples "
        "give to the 25 prior modes (nearest) and the exact masses. log Z error: mean |log Z_hat|; exactly, log Z = 0.",
        f"value bias: mean V_hat(root), exactly 0. MMD^2: kernel width {_BANDWIDTH}, against 1,000 exact draws, "
        f"{min(seeds, _MMD_SEEDS)} seeds. 100 steps, sigma 80 -> 0.02; DTS: nodes at steps 0, 25, 50, 75, 100; late "
        f"branching: at {', '.join(map(str, LATE))}; one late level: at {', '.join(map(str, ONE_LEVEL))}.",
        "0.3 lambda: inverse temperature of the selection. dts-late: the shipped preset, alpha = .5 and selection at "
        "lambda / 2, with late branching. By counts: selection at inverse temperature 0, C = 1, alpha = .7; where "
        "simulations go then depends on visits alone, and E[Z_hat] = Z.",
        "Searches have one rollout in flight, sometimes two or three: a simulation that ends at an x_0 seen before "
        "costs nothing and gives its place to another search. A search overspends by less than one rollout.",
        f"S-ADT: systems of up to 250 particles, weighted from step {WALK[0]} to {WALK[-2]}, each next state chosen "
        "among four by F. F reads the state alone and costs no evaluation, so it is not charged. Training, on "
        f"trajectories of its own: {learned.about()} The same, exact values: V in closed form instead of F.",
    )


def search_forest(method: Method, seeds: int) -> list[WeightedSamples]:
    """Search one problem per seed, with as many rollouts in flight as problems that want one: mostly one each.

    A simulation that ends at a known x_0 needs no rollout and gives its place to another problem, which then has two or
    three in flight.
    """
    search, chain, scorer = new_search(method, range(seeds))
    while len(tickets := search.ask(int(search.wanting().sum()))):
        search.tell(rollout(chain, scorer, search.num_levels, tickets))
    return search.samples()


def new_search(method: Method, seeds: Iterable[int]) -> tuple[Search, Chain, Scorer]:
    """A search with one problem per seed, and the chain and scorer of its rollouts."""
    process = GaussianMixtureProcess(grid_prior(), branch_steps=method.branch_steps)
    problems = [Problem(f"seed {seed}", np.zeros(0)) for seed in seeds]
    chain = process.bind(problems)
    scorer = DensityRatioReward(grid_prior(), nine_mode_posterior()).bind(problems)
    search = Search(method.search, [problem.name for problem in problems], chain.root_states(), process.num_levels)
    return search, chain, scorer


def measure(searched: list[WeightedSamples]) -> dict[str, tuple[float, float]]:
    """Column -> mean over the searches and its standard error."""
    exact, log_z = exact_draws(nine_mode_posterior(), 1_000), np.array([one.log_z for one in searched])
    columns: dict[str, Sequence[float] | np.ndarray] = {
        "samples": [len(one.samples) for one in searched],
        "TV": mode_errors(searched),
        "log Z error": np.abs(log_z),
        "value bias": log_z,
        "MMD^2": [mmd_rbf(one.samples, exact, _BANDWIDTH, one.weights) for one in searched[:_MMD_SEEDS]],
        "ESS": [one.ess for one in searched],
        "root ESS": [one.root_ess for one in searched],
    }
    return {name: mean_and_error(values) for name, values in columns.items()}


def mode_errors(searched: Sequence[WeightedSamples]) -> list[float]:
    """Total variation between the weights that each search gives to the 25 modes and the exact masses."""
    posterior, prior = nine_mode_posterior(), grid_prior()
    truth = np.bincount(prior.nearest_mode(posterior.means), posterior.weights, minlength=25)
    masses = [np.bincount(prior.nearest_mode(one.samples), one.weights, minlength=25) for one in searched]
    return [total_variation(mass, truth) for mass in masses]


def mean_and_error(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean over searches and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def exact_draws(mixture: GaussianMixture, n: int) -> np.ndarray:
    """Independent samples of a mixture: [n, W]."""
    rng = np.random.default_rng(0)
    means = mixture.means[rng.choice(len(mixture.weights), n, p=mixture.weights)]
    return means + mixture.sd * rng.standard_normal(means.shape)
