"""Worlds in which particle sweeps have a known truth: the enumerable chain, the mixture, a Gaussian x_0."""

from types import SimpleNamespace

import numpy as np
import torch
from scipy.special import logsumexp

from sadt_ray.interfaces import Problem, Step, Tickets
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import DiffusionProcess, SamplerConfig
from sadt_ray.processes.gaussian_mixture import (
    DensityRatioReward,
    GaussianMixtureProcess,
    grid_prior,
    nine_mode_posterior,
)
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.processes.walk import LevelWalk
from sadt_ray.smc.config import SMCConfig
from sadt_ray.smc.sampler import ParticleSampler
from sadt_ray.smc.twists import NoTwist

PROBLEMS = [Problem("near", np.array([0.5, -1.0])), Problem("far", np.array([-2.0, 3.0]))]


def tickets_at(chain, level, count, seed=0, problem=0, state=None):
    """``count`` tickets of one problem at one level: each with a seed of its own, all from one node."""
    problem = np.full(count, problem)
    if state is None:
        state, start = chain.root_states()[problem[:1]], 0
        for at in range(start, level):
            state = chain.advance(state, np.array([at]), problem[:1], derive_seeds(7, 9, np.arange(1))).states
    return Tickets(
        id=np.arange(count),
        problem=problem,
        node=np.zeros(count, np.int64),
        level=np.full(count, level),
        state=np.repeat(np.asarray(state).reshape(1, -1), count, axis=0),
        seed=derive_seeds(seed, 2, np.arange(count)),
    )


def sampler(process, scorer, twist=None, lam=1.0, guided=False, chooses=False, problems=PROBLEMS, **config):
    """Sweeps of a process, whatever twist is given."""
    config = SMCConfig(**config)
    return ParticleSampler(
        process.bind(problems), scorer, process.num_levels, config, twist or NoTwist(), lam, guided, chooses
    )


class KnownTwist:
    """log psi by a function of view and position."""

    idle = False
    differentiable = False

    def __init__(self, function, nfe=0.0, reward_calls=0, tilt=None):
        self.function, self.nfe, self.reward_calls, self.tilt = function, nfe, reward_calls, tilt
        self.asked = 0

    def __call__(self, view):
        self.asked += len(view.problem)
        return torch.as_tensor(self.function(view))


def log_z_hat(results, lam):
    return lam * results.value


def assert_unbiased(log_estimates, log_truth, tolerance=4.0):
    """The mean of exp is exp of the truth, within so many standard errors."""
    ratio = np.exp(log_estimates - log_truth)
    error = ratio.std() / np.sqrt(len(ratio))
    assert abs(ratio.mean() - 1) <= tolerance * error + 1e-9, (ratio.mean(), error)


class Fine:
    """A process that branches at some of its levels only; its walks still stop at every one, as those of diffusion."""

    def __init__(self, process, levels):
        self.process, self.levels = process, levels

    @property
    def num_levels(self):
        return len(self.levels)

    def bind(self, problems):
        return FineChain(self.process.bind(problems), self.levels)


class FineChain:
    supports_guidance = can_choose = False

    def __init__(self, chain, levels):
        self.chain, self.level_positions = chain, np.array([0, *levels])
        self.root_states, self.decode = chain.root_states, chain.decode

    def walk(self, states, position, problem):
        return LevelWalk(self.chain, states, position, problem)

    def advance(self, states, levels, problem, seeds):
        walk = self.walk(states, int(self.level_positions[levels[0]]), problem)
        while walk.position < self.level_positions[levels[0] + 1]:
            walk.step(seeds)
        return Step(walk.states(), levels + 1, walk.take_nfe())

    def features(self, states, levels, problem):
        return self.chain.features(states, self.level_positions[levels], problem)


class ChainWorld:
    """3 tokens, 4 steps, rewards by a table: everything by sums."""

    lam = 1.5

    def __init__(self, num_tokens=3, depth=4, seed=1, table=None):
        self.process = MarkovChainProcess.random(num_tokens, depth, seed)
        self.whole = Fine(self.process, (depth,))
        rng = np.random.default_rng(seed)
        self._base = num_tokens ** np.arange(depth)
        self.table = rng.standard_normal(num_tokens**depth)
        if table is not None:
            for sequence in self.process.sequences():
                self.table[np.array(sequence) @ self._base] = table(sequence)
        self.values = self.process.soft_values(self.reward, self.lam)
        self._codes = (num_tokens + 1) ** np.arange(depth)
        size = (num_tokens + 1) ** depth
        self.exact = np.zeros(size)
        for prefix, value in self.values.items():
            self.exact[self.code(prefix)] = self.lam * value
        self.noise = 1.5 * np.random.default_rng(seed + 1).standard_normal(size)

    def reward(self, sequence):
        return self.table[np.asarray(sequence) @ self._base]

    def scorer(self, samples, problem):
        return self.reward(samples)

    def code(self, prefix):
        return int((np.array([*prefix], int) + 1) @ self._codes[: len(prefix)])

    def twist(self, name):
        """exact: lambda V; noise: of the prefix; against: what would be right for -r; none."""
        if name == "none":
            return NoTwist()
        table = {"exact": self.exact, "noise": self.noise, "against": -self.exact}[name]
        tokens, depth = self.process.num_tokens, len(self._codes)

        def of_view(view):
            one_hot = view.features().numpy().reshape(-1, depth, tokens)
            return table[((one_hot @ np.arange(1, tokens + 1)) @ self._codes).astype(int)]

        return KnownTwist(of_view)

    def log_z(self, prefix=()):
        return self.lam * self.values[tuple(int(token) for token in prefix if token >= 0)]

    def masses(self, results):
        """Z_hat of each ticket, split by its weights among all sequences [B, sequences]."""
        out = np.zeros((len(results), len(self.table)))
        ticket = np.repeat(np.arange(len(results)), np.diff(results.sample_splits))
        weight = np.exp(self.lam * results.value[ticket] + results.sample_log_weight)
        np.add.at(out, (ticket, results.samples @ self._base), weight)
        return out

    def target(self, prefix=()):
        """Z times the probability of each sequence under the target below a prefix."""
        out = np.zeros(len(self.table))
        for sequence in self.process.sequences():
            if sequence[: len(prefix)] == tuple(prefix):
                share = self.process.probability(sequence) / self.process.probability(tuple(prefix))
                out[np.array(sequence) @ self._base] = share * np.exp(self.lam * self.reward(sequence))
        return out


class MixtureWorld:
    """25 modes, of which the target has 9; Z = 1, soft values in closed form."""

    lam = 1.0

    def __init__(self, branch_steps=(20, 40, 50, 60, 70, 100)):
        self.process = GaussianMixtureProcess(grid_prior(), branch_steps=branch_steps)
        self.whole = Fine(self.process, (self.process.num_levels,))
        self.ratio = DensityRatioReward(grid_prior(), nine_mode_posterior())

    def scorer(self, samples, problem):
        return self.ratio.soft_value(samples, 0.0)

    def soft_value(self, states, level):
        return self.ratio.soft_value(states, self.process.level_sigma(level))

    def twist(self, name):
        if name == "none":
            return NoTwist()
        sign, lowest = {"exact": (1.0, -np.inf), "half": (0.5, -np.inf), "against": (-0.5, -3.0)}[name]

        def of_view(view):
            value = self.soft_value(view.features().double().numpy()[:, :2], view.position)
            return sign * np.maximum(value, lowest)

        return KnownTwist(of_view)


class GaussianDenoiser:
    """The exact denoiser of N(m, s^2), m the problem's context; it glances at ``glanced`` times what it would say."""

    spread = torch.tensor([0.7, 1.6])
    width = 2

    def encode(self, problems, device):
        return (torch.from_numpy(np.stack([p.context for p in problems]).astype(np.float32)).to(device),)

    def initial(self, noise, sigma, conditioning):
        return conditioning[0] + torch.sqrt(self.spread**2 + sigma**2) * noise

    def denoised(self, x, sigma, conditioning):
        weight = self.spread**2 / (self.spread**2 + sigma[:, None] ** 2)
        return conditioning[0] + weight * (x - conditioning[0])

    def decode(self, x, conditioning):
        return 2 * x + 1

    def features(self, x, sigma, conditioning):
        return torch.cat([x, sigma[:, None].expand(len(x), 1)], dim=1)

    def clean_spread(self, sigma, conditioning):
        sigma = sigma[:, None]
        return sigma * self.spread / torch.sqrt(sigma**2 + self.spread**2)


class GlancingDenoiser(GaussianDenoiser):
    """The same, with a forerunner that need not be right."""

    def __init__(self, glanced=1.0):
        self.glanced = glanced

    def draft_denoised(self, x, sigma, conditioning):
        return self.glanced * self.denoised(x, sigma, conditioning)


class Quadratic:
    """r = a . x - sum_d k_d (x_d - t_d)^2 / 2 of decoded samples: linear for k = 0; differentiable, no look-ahead."""

    def __init__(self, slope=(0.6, -0.4), curvature=(0.0, 0.0), centre=(1.0, -2.0)):
        self.slope, self.curvature, self.centre = (np.array(v, float) for v in (slope, curvature, centre))

    def __call__(self, samples, problem):
        return self.score_tensor(torch.as_tensor(np.asarray(samples, float)), problem).numpy()

    def score_tensor(self, x, problem):
        a, k, t = (torch.as_tensor(v).to(x.dtype) for v in (self.slope, self.curvature, self.centre))
        return (x * a).sum(-1) - (k * (x - t).square()).sum(-1) / 2

    def tilted(self, mean, sd, lam):
        """log E exp(lambda r), and mean and sd of the target, for a decoded x_0 of N(mean, sd^2)."""
        k, variance = lam * self.curvature, np.square(sd)
        precision = 1 / variance + k
        centre = (mean / variance + k * self.centre + lam * self.slope) / precision
        constant = (np.square(mean) / variance + k * np.square(self.centre)).sum(-1)
        log_z = (np.square(centre) * precision).sum(-1) / 2 - constant / 2 - np.log(precision * variance).sum(-1) / 2
        return log_z, centre, 1 / np.sqrt(precision)


class GaussianWorld:
    """A diffusion chain that is exact for its Gaussian x_0, in few steps."""

    sampler = SamplerConfig(num_steps=5, sigma_min=0.1, sigma_max=6.0)

    def __init__(self, denoiser=None, branch_steps="none"):
        self.denoiser = denoiser or GaussianDenoiser()
        self.process = DiffusionProcess(self.denoiser, self.sampler, branch_steps)
        self.chain = self.process.bind(PROBLEMS)

    def law(self, problem, level=0, state=None):
        """Mean and sd of the decoded x_0 below a node."""
        mean, sd = torch.from_numpy(PROBLEMS[problem].context).float(), self.denoiser.spread
        if level > 0:
            sigma = torch.tensor([self.sampler.sigmas[self.process.branch_steps[level - 1]]]).float()
            mean = self.denoiser.denoised(torch.as_tensor(state)[None], sigma, (mean[None],))[0]
            sd = self.denoiser.clean_spread(sigma, ())[0]
        return 2 * mean.double().numpy() + 1, 2 * sd.double().numpy()


def pooled(results, lam):
    """Weights of all samples of independent sweeps together, and their effective number."""
    ticket = np.repeat(np.arange(len(results)), np.diff(results.sample_splits))
    log_weights = lam * results.value[ticket] + results.sample_log_weight
    weights = np.exp(log_weights - logsumexp(log_weights))
    return SimpleNamespace(weights=weights, ess=1 / np.square(weights).sum(), ticket=ticket)


def is_bare(denoiser):
    """Whether a denoiser has no more than the protocol asks for."""
    return not any(hasattr(denoiser, name) for name in ("clean_spread", "draft_denoised", "to_coordinates", "scores"))
