"""Particle systems: a rollout of n particles by twisted Sequential Monte Carlo (SMC), from a node to x_0.

    w_t = psi_t(x_t) / psi_{t+1}(x_{t+1}) * p(x_t | x_{t+1}) / q(x_t | x_{t+1}),   psi_0 = exp(lambda r),
    Z_hat = prod_t (1/n) sum_i w_t^i,                                             E[Z_hat] = exp(lambda V(node))

This holds for any twist psi and any proposal q with the prior's support (Whiteley & Lee, *Twisted particle filters*,
2014). The weighted particles at x_0 are samples of the target below the node. Several particle systems of one node are
pooled with weights Z_hat, in any order. One particle without a twist is the plain rollout of DTS.

Twist and proposal define the method: psi = exp(lambda r(x0_hat)) is Feynman-Kac steering, the same with a guided
proposal is TDS, r~ is debiased SMC, and the learned flow is S-ADT.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import logsumexp, softmax
from torch import Tensor

from sadt_ray.interfaces import Chain, Failure, Results, Scorer, States, Tickets
from sadt_ray.numerics.rng import derive_seed_grid, uniforms
from sadt_ray.processes.walk import Choice, StartsFromNoise, View, Walk, level_positions, walk_from
from sadt_ray.rewards.terminal import evaluate_terminal
from sadt_ray.smc.batches import concatenated
from sadt_ray.smc.config import SMCConfig
from sadt_ray.smc.genealogy import Genealogy
from sadt_ray.smc.resampling import scheme_named
from sadt_ray.smc.root import RootProposal
from sadt_ray.smc.schedule import num_candidates_at, split_position
from sadt_ray.smc.twists import LOWEST, Twist

_PARTICLES, _RECORDED = 5, 1 << 26  # streams of a ticket's seed
_RESAMPLING = 1 << 24  # plus the position; the chain uses lower streams of uniforms


@dataclass(frozen=True)
class ParticleSampler:
    """Runs each ticket as a particle system.

    Args:
        chain, scorer: bound to the same problems.
        num_levels: number of branch levels below the root.
        config: number of particles, proposal and resampling.
        twist: twist for the same problems.
        lam: inverse temperature lambda.
        guided: whether the proposal follows the gradient of the twist.
        chooses: whether the proposal chooses among candidates.
        root: proposals of x_T; None to draw it from the prior.
        setup_nfe: evaluations that each ticket carries of what was prepared once.
        proposes_root: whether these tickets take x_T from ``root``.
    """

    chain: Chain
    scorer: Scorer
    num_levels: int
    config: SMCConfig
    twist: Twist
    lam: float
    guided: bool = False
    chooses: bool = False
    root: RootProposal | None = None
    setup_nfe: float = 0.0
    proposes_root: bool = True

    def __call__(self, tickets: Tickets) -> Results:
        """Run one particle system per ticket; tickets of one level run together.

        A single particle from the prior gives a node at every branch level. Several particles, or a proposal other than
        the prior, give two nodes: the ticket's new child, drawn from the prior, and one x_0 that represents all
        particles. A ticket fails if one of its particles cannot be scored.
        """
        started = time.perf_counter()
        groups = [
            sampler._same_level(some.take(some.level == level), int(level))
            for each, part in self._with_recording(tickets)
            for sampler, some in each._with_root(part)
            for level in np.unique(some.level)
        ]
        return replace(concatenated(groups), seconds=time.perf_counter() - started)

    def _with_recording(self, tickets: Tickets) -> list[tuple[ParticleSampler, Tickets]]:
        """The recorded and the other tickets, each with the sampler that runs them."""
        config = self.config
        if not config.record_particles:
            return [(self, tickets)]
        chosen = uniforms(tickets.seed, np.full(len(tickets), _RECORDED), 1)[:, 0] < config.record_share
        recorder = replace(self, config=replace(config, resampling=config.record_resampling or config.resampling))
        other = replace(self, config=replace(config, record_particles=False))
        return [(recorder, tickets.take(chosen)), (other, tickets.take(~chosen))]

    def _with_root(self, tickets: Tickets) -> list[tuple[ParticleSampler, Tickets]]:
        """The tickets whose x_T is proposed and the others, each with the sampler that runs them."""
        root = self.root
        if root is None or self.config.record_particles:
            return [(replace(self, proposes_root=False), tickets)]
        problems = np.unique(tickets.problem[tickets.level == 0]).tolist()
        guided = np.isin(tickets.problem, [problem for problem in problems if root.guides(problem)])
        guided &= tickets.level == 0
        return [(self, tickets.take(guided)), (replace(self, proposes_root=False), tickets.take(~guided))]

    @property
    def proposes(self) -> bool:
        """Whether particles are drawn from another distribution than the prior."""
        proposes_root = self.root is not None and self.proposes_root
        return self.guided or proposes_root or (self.chooses and self.config.num_candidates > 1)

    def _same_level(self, tickets: Tickets, level: int) -> Results:
        positions, single = level_positions(self.chain, self.num_levels), self.config.particles == 1
        every_level = single and not self.proposes  # every node of the tree must be a draw from the prior
        alone = not every_level and level + 1 < self.num_levels
        system = ParticleSystem(self, tickets, int(positions[level]), start=int(positions[level + alone]))
        if alone:
            system.descend_alone(int(positions[level + 1]), level + 1)
        below = range(level + 1, self.num_levels) if every_level else ()
        system.run(int(positions[-1]), {int(positions[lower]): lower for lower in below})
        return system.results()


@dataclass(frozen=True)
class _Nodes:
    """One new node per ticket."""

    level: int
    states: States
    log_flow: Float[np.ndarray, " B"]


class ParticleSystem:
    """n particles for each of B tickets, all at one position, with their weights since the last resampling.

    Args:
        sampler: chain, twist and settings.
        tickets: tickets of one level.
        position: position of the tickets' nodes.
        start: position at which one particle per ticket becomes n.
    """

    def __init__(self, sampler: ParticleSampler, tickets: Tickets, position: int, start: int) -> None:
        self._sampler, self._tickets = sampler, tickets
        self._resample = scheme_named(sampler.config.resampling)
        self._from_root = start == 0
        self._walk: Walk = walk_from(sampler.chain, tickets.state, position, tickets.problem)
        self._shape = (len(tickets), sampler.config.particles)
        splits = sampler.config.split_factor > 1 and sampler.config.particles > 1
        self._split_at = split_position(start, sampler.twist.tilt) if splits else None
        if self._split_at is not None:
            self._shape = (len(tickets), sampler.config.particles // sampler.config.split_factor)
        self._log_z = np.zeros(len(tickets))
        self._log_weights, self._log_twist = np.zeros((2, *self._shape))
        self._nfe, self._calls = np.full(len(tickets), sampler.setup_nfe), np.zeros(len(tickets), np.int64)
        self._start = np.tile(np.arange(self._shape[1]), (len(tickets), 1))  # which x_T each particle descends from
        self._path: list[_Nodes] = []
        self._genealogy = Genealogy(self._shape) if sampler.config.record_particles else None

    def descend_alone(self, position: int, level: int) -> None:
        """Step from the prior to the new node of each ticket, with one particle per ticket."""
        while self._walk.position < position:
            self._walk.step(self._tickets.seed)
        log_flow, _ = self._look(with_gradient=False)
        self._path.append(_Nodes(level, self._walk.states(), log_flow))
        if self._genealogy is not None:
            self._genealogy.below_new_nodes()

    def run(self, last: int, level_at: dict[int, int]) -> None:
        """Run the particles to x_0, at position ``last``. States at the positions in ``level_at`` become nodes."""
        start = self._walk.position
        root = self._sampler.root if start == 0 else None
        if root is not None and self._sampler.proposes_root:
            self._start_guided(root)
        else:
            self._branch_off()
        if root is not None:
            nfe, calls = root.setup(self._tickets.problem)
            self._nfe, self._calls = self._nfe + nfe, self._calls + calls
        while True:
            gradient = self._arrive(start, level_at)
            if self._walk.position == self._split_at:
                gradient = self._split(gradient)
            log_ratio = self._walk.step(self._seeds(), gradient, self._choice(last))
            if log_ratio is not None:
                self._log_weights += log_ratio.reshape(self._shape)
            self._count_nfe()
            if self._genealogy is not None:
                self._genealogy.born(self._walk.position, self._walk.states(), log_ratio)
            if self._walk.position == last:
                return

    def _start_guided(self, root: RootProposal) -> None:
        """Draw x_T of all particles from a pool of proposals, by their weights p/q psi."""
        tickets, (batch, n), pool = self._tickets, self._shape, self._sampler.config.root_pool
        noise, log_ratio, log_psi = root.propose(tickets.problem, tickets.seed, pool * n)
        self._nfe += self._sampler.twist.nfe * pool * n
        self._calls += self._sampler.twist.reward_calls * pool * n
        log_psi = nothing_ruled_out(log_psi)
        log_weights = log_ratio + log_psi
        self._log_z += logsumexp(log_weights, axis=1) - np.log(pool * n)
        places = (np.arange(n) + uniforms(tickets.seed, np.full(batch, _RESAMPLING), 1)) / n
        cumulative = np.cumsum(softmax(log_weights, axis=1), axis=1)
        ancestors = np.stack([np.searchsorted(c / c[-1], p) for c, p in zip(cumulative, places, strict=True)])
        ancestors = ancestors.clip(0, pool * n - 1)
        self._log_twist, self._start = np.take_along_axis(log_psi, ancestors, axis=1), ancestors
        self._walk.take(np.repeat(np.arange(batch), n))
        assert isinstance(self._walk, StartsFromNoise)
        chosen = noise[torch.arange(batch)[:, None], torch.as_tensor(ancestors)].flatten(0, 1)
        self._walk.start(chosen)

    def _arrive(self, start: int, level_at: dict[int, int]) -> Tensor | None:
        """Evaluate the twist, update the weights and resample, before the next step. Returns the gradient."""
        position, sampler = self._walk.position, self._sampler
        wanted = not sampler.twist.idle or position in level_at or sampler.config.siblings
        if position == 0 or not (sampler.guided if position == start else wanted):
            return None
        log_twist, gradient = self._look(sampler.guided)
        if position == start:
            return gradient  # all particles share this state, so its psi is in no weight
        if position in level_at:
            self._path.append(_Nodes(level_at[position], self._walk.states(), log_twist))
        if self._genealogy is not None:
            self._genealogy.know(log_twist)
        log_psi = nothing_ruled_out(log_twist.reshape(self._shape))
        self._log_weights += log_psi - self._log_twist
        self._log_twist = log_psi
        return self._resampled(gradient)

    def _look(self, with_gradient: bool) -> tuple[Float[np.ndarray, " N"], Tensor | None]:
        """log psi of every row, and its gradient times the guidance scale."""
        twist = self._sampler.twist
        if twist.idle:
            return np.zeros(len(self._walk.states())), None
        view = self._walk.look(with_gradient)
        with torch.set_grad_enabled(with_gradient):
            log_twist = twist(view)
        self._calls += twist.reward_calls * (len(view.problem) // self._shape[0])
        self._nfe += twist.nfe * (2 if with_gradient else 1) * (len(view.problem) // self._shape[0])
        gradient = self._walk.gradient(log_twist) * self._sampler.config.guidance_scale if with_gradient else None
        return log_twist.detach().double().cpu().numpy(), gradient

    def _choice(self, last: int) -> Choice | None:
        """The choice among candidates for the next step; None for one candidate, as at x_0."""
        sampler, position = self._sampler, self._walk.position
        if not sampler.chooses or position in (0, last - 1):
            return None
        count = num_candidates_at(position + 1, sampler.config.num_candidates, sampler.twist.tilt)
        if count == 1:
            return None
        self._nfe += sampler.twist.nfe * count * self._shape[1]
        self._calls += sampler.twist.reward_calls * count * self._shape[1]

        def log_twist(view: View) -> Tensor:
            psi = sampler.twist(view).detach()
            known = nothing_ruled_out(psi.double().cpu().numpy().reshape(-1, count))
            return torch.as_tensor(known.ravel(), dtype=psi.dtype, device=psi.device)

        return Choice(count, log_twist)

    def _resampled(self, gradient: Tensor | None) -> Tensor | None:
        """Resample the tickets whose effective sample size is too small. Returns the gradient of the new particles."""
        config, (batch, n) = self._sampler.config, self._shape
        log_total = logsumexp(self._log_weights, axis=1)
        alive = np.isfinite(log_total)
        weights = np.where(alive[:, None], softmax(np.where(alive[:, None], self._log_weights, 0.0), axis=1), 1 / n)
        due = 1 / np.square(weights).sum(1) < config.ess_threshold * n
        due |= config.siblings
        due &= alive & config.weighted & (n > 1)
        if not due.any():
            return gradient
        u = uniforms(self._tickets.seed, np.full(batch, _RESAMPLING + self._walk.position), n)
        ancestors = np.where(due[:, None], self._resample(weights, u), np.arange(n))
        self._log_z[due] += log_total[due] - np.log(n)
        self._log_weights[due] = 0.0
        self._log_twist = np.take_along_axis(self._log_twist, ancestors, axis=1)
        self._start = np.take_along_axis(self._start, ancestors, axis=1)
        rows = (ancestors + n * np.arange(batch)[:, None]).ravel()
        return self._take(rows, gradient)

    def _split(self, gradient: Tensor | None) -> Tensor | None:
        """Replace each particle by ``split_factor`` copies of the same weight, and n by n times that factor."""
        (batch, n), times = self._shape, self._sampler.config.split_factor
        self._walk.evaluate()
        self._count_nfe()
        self._shape = (batch, n * times)
        self._log_weights = np.repeat(self._log_weights, times, axis=1)
        self._log_twist = np.repeat(self._log_twist, times, axis=1)
        self._start = np.repeat(self._start, times, axis=1)
        return self._take(np.repeat(np.arange(batch * n), times), gradient)

    def _take(self, rows: Int[np.ndarray, " N"], gradient: Tensor | None) -> Tensor | None:
        self._walk.take(rows)
        if self._genealogy is not None:
            self._genealogy.take(rows)
        return None if gradient is None else gradient[torch.as_tensor(rows, device=gradient.device)]

    def _branch_off(self) -> None:
        """Make n copies of each row. The copies share the evaluation of the row."""
        self._walk.evaluate()
        self._count_nfe()
        self._walk.take(np.repeat(np.arange(self._shape[0]), self._shape[1]))

    def _count_nfe(self) -> None:
        self._nfe += self._walk.take_nfe().reshape(self._shape[0], -1).sum(1)

    def _seeds(self) -> np.ndarray:
        seed, n = self._tickets.seed, self._shape[1]
        return seed if n == 1 else derive_seed_grid(seed, _PARTICLES, n).ravel()

    def results(self) -> Results:
        """Score x_0, and return samples, weights, values and new nodes."""
        sampler, (batch, n) = self._sampler, self._shape
        states, problem = self._walk.states(), np.repeat(self._tickets.problem, n)
        ends = evaluate_terminal(sampler.chain, sampler.scorer, states, problem, sampler.lam)
        failed = {row // n: ends.messages[row] for row in sorted(ends.messages, reverse=True)}  # keeps the first
        good = np.array([b not in failed for b in range(batch)])
        log_weights, value = self._final(ends.value.reshape(batch, n))
        held = (good & np.isfinite(log_weights).any(1))[:, None] & np.ones(n, bool)
        samples, rewards, log_share, counts = ends.samples_of(held.ravel())
        held_counts = np.zeros(held.size, np.int64)
        held_counts[held.ravel()] = counts
        nfe = np.ceil(self._nfe - 1e-9).astype(np.int64) + ends.nfe.reshape(batch, n).sum(1)
        heaviest = np.arange(batch) * n + np.where(held, log_weights, -np.inf).argmax(1)
        leaf = _Nodes(sampler.num_levels, states[heaviest], sampler.lam * value)
        path, tickets = [*self._path, leaf], self._tickets
        return Results(
            id=tickets.id[good],
            value=value[good],
            path_splits=len(path) * np.arange(good.sum() + 1),
            path_level=np.tile([nodes.level for nodes in path], good.sum()),
            path_state=np.stack([nodes.states for nodes in path], axis=1)[good].reshape(-1, *states.shape[1:]),
            path_log_flow=np.stack([nodes.log_flow for nodes in path], axis=1)[good].reshape(-1),
            sample_splits=np.concatenate([[0], np.cumsum(held_counts.reshape(batch, n).sum(1)[good])]),
            samples=samples,
            rewards=rewards,
            sample_log_weight=np.repeat(log_weights.ravel()[held.ravel()], counts) + log_share,
            sample_start=np.repeat(self._start.ravel()[held.ravel()], counts) if self._from_root else None,
            nfe=nfe[good],
            reward_calls=(self._calls + ends.reward_calls.reshape(batch, n).sum(1))[good],
            particle_record=None if self._genealogy is None else self._genealogy.particle_record(good, ends.value),
            failures=tuple(
                Failure(int(tickets.id[b]), int(tickets.problem[b]), message, int(nfe[b]))
                for b, message in sorted(failed.items())
            ),
        )

    def _final(self, rewards: Float[np.ndarray, "B n"]) -> tuple[Float[np.ndarray, "B n"], Float[np.ndarray, " B"]]:
        """Normalised log-weights of the particles, and the value of each ticket, log Z_hat / lambda."""
        lam, n = self._sampler.lam, self._shape[1]
        if not self._sampler.config.weighted:
            return np.full(self._shape, -np.log(n)), rewards.mean(1)
        log_weights = self._log_weights + lam * rewards - self._log_twist
        log_total = logsumexp(log_weights, axis=1)
        value = rewards[:, 0] if n == 1 and not self._sampler.proposes else (self._log_z + log_total - np.log(n)) / lam
        with np.errstate(invalid="ignore"):
            return log_weights - log_total[:, None], value


def nothing_ruled_out(log_twist: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
    """Replace unknown values (``LOWEST``) by the lowest known value of the row, or by 0 if none is known.

    A row holds the particles of one ticket, or the candidates of one particle. psi > 0 keeps Z_hat unbiased: every
    state that the prior can reach stays within reach of the proposal.
    """
    known = log_twist > LOWEST
    lowest = np.where(known, log_twist, np.inf).min(1, keepdims=True)
    return np.where(known, log_twist, np.where(np.isfinite(lowest), lowest, 0.0))
